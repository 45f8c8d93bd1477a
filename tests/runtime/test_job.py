"""From manifest to digest: what a task is told, and the whole way in WebAssembly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, ManifestError
from fairgrid.protocol.archive import archive_digest, extract_archive, write_archive
from fairgrid.protocol.manifest import Item, Resources, hashed_name
from fairgrid.runtime.interface import SandboxJob
from fairgrid.runtime.job import TaskContext, task_environment
from fairgrid.runtime.twin import FunctionSandbox
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.runtime.job_bench import DEAL, RUNTIME, TASK, Bench


async def test_environment_names_the_task_and_its_inputs(bench: Bench) -> None:
    references = (bench.file("a", b"a"), bench.file("b", b"b"))
    context = TaskContext(deal_id=DEAL, task_id=TASK, index=7, bot_first=5, bot_size=10)
    zero = "0x" + "00" * 20
    assert task_environment(context, references) == {
        "IEXEC_DEAL_ID": DEAL,
        "IEXEC_TASK_ID": TASK,
        "IEXEC_TASK_INDEX": "7",
        "IEXEC_BOT_TASK_INDEX": "7",
        "IEXEC_BOT_SIZE": "10",
        "IEXEC_BOT_FIRST_INDEX": "5",
        "IEXEC_IN": "/iexec_in",
        "IEXEC_OUT": "/iexec_out",
        "IEXEC_DATASET_ADDRESS": zero,
        "IEXEC_DATASET_FILENAME": zero,
        "IEXEC_INPUT_FILES_NUMBER": "2",
        "FAIRGRID_PROGRESS": "/.fairgrid/progress",
        "IEXEC_INPUT_FILES_FOLDER": "/iexec_in",
        "IEXEC_INPUT_FILE_NAME_1": hashed_name(references[0].cid),
        "IEXEC_INPUT_FILE_NAME_2": hashed_name(references[1].cid),
    }
    alone = task_environment(context, ())
    assert alone["IEXEC_INPUT_FILES_NUMBER"] == "0" and "IEXEC_INPUT_FILES_FOLDER" not in alone


async def test_each_task_of_a_bag_gets_its_item(bench: Bench) -> None:
    items = (Item(arguments=("first",)), Item(inputs=(bench.file("own", b"own"),)))
    manifest = bench.manifest(inputs={"common": b"common"}, items=items)
    seen: list[tuple[tuple[str, ...], list[str], bytes]] = []

    def look(job: SandboxJob) -> bytes:
        names = sorted(path.name for path in job.input_folder.iterdir() if not path.name.startswith("0x"))
        seen.append((job.arguments, names, job.seed))
        return b""

    for index in (0, 1):
        context = TaskContext(deal_id=DEAL, task_id=TASK, index=index, bot_first=0, bot_size=2)
        await bench.run(manifest, FunctionSandbox(look, runtime_id=RUNTIME), context)
    assert [entry[:2] for entry in seen] == [(("first",), ["common"]), ((), ["own"])]
    assert seen[0][2] != seen[1][2]
    beyond = TaskContext(deal_id=DEAL, task_id=TASK, index=2, bot_first=0, bot_size=3)
    with pytest.raises(ManifestError, match="none for task 2"):
        await bench.run(manifest, FunctionSandbox(look, runtime_id=RUNTIME), beyond)


async def test_another_runtime_is_refused_before_anything_runs(bench: Bench) -> None:
    with pytest.raises(HostFailure, match="wants the runtime"):
        await bench.run(bench.manifest(runtime="other-1/x/y"), FunctionSandbox(lambda job: b"", runtime_id=RUNTIME))


SURVEY = """
import csv, json, os, random, statistics, sys
with open(os.environ["IEXEC_IN"] + "/data.csv", newline="") as file:
    rows = [float(row["value"]) for row in csv.DictReader(file)]
sample = random.sample(rows, 3)
os.makedirs("résumé")
with open("résumé/out.json", "w") as file:
    json.dump({"mean": statistics.mean(rows), "sample": sample, "args": sys.argv[1:]}, file)
print(os.environ["IEXEC_TASK_INDEX"], len(rows))
"""


async def test_two_machines_make_the_same_result_and_the_same_archive(sandbox: WasmSandbox, tmp_path: Path) -> None:
    data = b"value\n" + b"".join(b"%d.5\n" % number for number in range(100))
    archives, results = [], []
    for name in ("here", "there"):
        bench = Bench(tmp_path / name)
        manifest = bench.manifest(SURVEY, runtime=sandbox.runtime_id, inputs={"data.csv": data})
        result = await bench.run(manifest, sandbox)
        archive = tmp_path / f"{name}.zip"
        write_archive(result.result_folder, archive)
        archives.append(archive.read_bytes())
        results.append(result)
    assert archives[0] == archives[1]
    assert results[0].digest == results[1].digest == archive_digest(tmp_path / "here.zip")
    assert results[0].covered == ("résumé/out.json", "stdout.txt")
    assert results[0].usage.fuel == results[1].usage.fuel
    extract_archive(tmp_path / "here.zip", tmp_path / "x", max_bytes=10_000, max_files=10)
    assert json.loads((tmp_path / "x" / "résumé" / "out.json").read_text())["mean"] == 50.0
    assert (tmp_path / "x" / "stdout.txt").read_text() == "0 100\n"


async def test_typo_in_the_script_is_a_result_within_seconds(sandbox: WasmSandbox, bench: Bench) -> None:
    result = await bench.run(bench.manifest("prnt('hello')", runtime=sandbox.runtime_id), sandbox)
    assert result.error is not None and result.error["exitCode"] == 1
    assert "NameError: name 'prnt' is not defined" in result.error["stderr"]


async def test_endless_script_is_a_result_of_its_fuel(sandbox: WasmSandbox, bench: Bench) -> None:
    resources = Resources(fuel=1_000_000_000)
    manifest = bench.manifest("while True: pass", runtime=sandbox.runtime_id, resources=resources)
    result = await bench.run(manifest, sandbox)
    assert result.error == {"fairgrid": "error/1", "kind": "fuel", "limit": 1_000_000_000}
