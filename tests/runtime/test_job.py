"""From manifest to digest: layout, rules of results, error documents, callbacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, ManifestError
from fairgrid.protocol.archive import archive_digest, extract_archive, write_archive
from fairgrid.protocol.canonical import read_rule
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.hexes import keccak, to_hex32
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources, TaskRef, hashed_name
from fairgrid.protocol.results import MAX_CALLBACK_BYTES, error_in_folder, error_to_bytes, exit_error, parse_error
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.job import TaskContext, run_job, task_environment
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.twin import FunctionSandbox
from fairgrid.runtime.wasm.sandbox import WasmSandbox

RUNTIME = "twin-1/function/none"
DEAL, TASK = "0x" + "11" * 32, "0x" + "22" * 32
CALLBACK = "0x" + "Ab" * 20
CONTEXT = TaskContext(deal_id=DEAL, task_id=TASK, index=0, bot_first=0, bot_size=1)
CALLBACK_CONTEXT = TaskContext(deal_id=DEAL, task_id=TASK, index=0, bot_first=0, bot_size=1, callback=CALLBACK)
FUEL = 30_000_000_000

Job = Callable[[SandboxJob], bytes | Outcome]


class Bench:
    """A script, inputs and a work folder, ready to run."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.files: dict[str, Path] = {}
        (base / "blobs").mkdir(parents=True)

    def file(self, name: str, content: bytes) -> FileRef:
        """Store a file as if it was fetched."""
        reference = FileRef(name, cid_of(content), len(content))
        self.files[reference.cid] = self.base / "blobs" / reference.cid
        self.files[reference.cid].write_bytes(content)
        return reference

    def manifest(
        self,
        source: str = "",
        *,
        runtime: str = RUNTIME,
        inputs: Mapping[str, bytes] | None = None,
        items: tuple[Item, ...] = (),
        resources: Resources | None = None,
    ) -> Manifest:
        """A manifest of a script."""
        return Manifest(
            script=self.file("script.py", source.encode()),
            runtime=runtime,
            resources=resources or Resources(fuel=FUEL),
            inputs=tuple(self.file(name, content) for name, content in (inputs or {}).items()),
            items=items,
        )

    async def run(
        self, manifest: Manifest, sandbox: WasmSandbox | FunctionSandbox, context: TaskContext = CONTEXT
    ) -> JobResult:
        """Run a task of the manifest."""
        return await run_job(
            manifest, manifest.cid(), context, inputs=self.files, workdir=self.base / "work", sandbox=sandbox, wall_s=40
        )

    async def run_function(self, job: Job, context: TaskContext = CONTEXT) -> JobResult:
        """Run a Python function as the job."""
        return await self.run(self.manifest(), FunctionSandbox(job, runtime_id=RUNTIME), context)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench")


def write(job: SandboxJob, files: Mapping[str, str]) -> bytes:
    """The usual job: write these files and print nothing."""
    for name, content in files.items():
        target = job.output_folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    return b""


def stopped(stop: Stop, detail: str = "") -> Outcome:
    return Outcome(stop, 0, b"some", b"log", 5, 1.0, 6, detail)


# --- layout -----------------------------------------------------------------------------------------------------------


async def test_inputs_lie_under_their_own_and_under_their_hashed_names(bench: Bench) -> None:
    found: dict[str, bytes] = {}

    def look(job: SandboxJob) -> bytes:
        for path in job.input_folder.rglob("*"):
            if path.is_file():
                found[str(path.relative_to(job.input_folder))] = path.read_bytes()
        return b""

    contents = {"data.csv": b"1,2", "sub/ü" + "x" * 200: b"deep", "same.csv": b"1,2"}
    manifest = bench.manifest(inputs=contents)
    await bench.run(manifest, FunctionSandbox(look, runtime_id=RUNTIME))
    hashed = {hashed_name(reference.cid): contents[reference.name] for reference in manifest.inputs}
    assert found == contents | hashed and len(hashed) == 2


def other_result(base: Path, files: Mapping[str, str]) -> Path:
    """The folder of another task's result."""
    for name, content in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(content)
    return base


async def run_after(bench: Bench, tmp_path: Path, files: Mapping[str, str], job: Job) -> JobResult:
    """Run a job that depends on a task with these files as its result."""
    task = "0x" + "ab" * 32
    manifest = replace(bench.manifest(inputs={"a.csv": b"1"}), dependencies=(TaskRef("before", task),))
    return await run_job(
        manifest,
        manifest.cid(),
        CONTEXT,
        inputs=bench.files,
        workdir=bench.base / "work",
        sandbox=FunctionSandbox(job, runtime_id=RUNTIME),
        dependencies={task: other_result(tmp_path / "other", files)},
    )


async def test_result_of_another_task_lies_in_the_folder_that_the_manifest_names(bench: Bench, tmp_path: Path) -> None:
    def job(job: SandboxJob) -> bytes:
        assert job.environment["IEXEC_INPUT_FILES_NUMBER"] == "1"
        before = job.input_folder / "before"
        found = sorted(path.relative_to(before).as_posix() for path in before.rglob("*") if path.is_file())
        return write(job, {"found": "\n".join(found), "copy": (before / "deep/x.txt").read_text()})

    result = await run_after(bench, tmp_path, {"out.txt": "1", "deep/x.txt": "two"}, job)
    assert (result.result_folder / "found").read_text() == "deep/x.txt\nout.txt"
    assert (result.result_folder / "copy").read_text() == "two"


async def test_job_after_a_failed_task_is_not_run_and_everybody_agrees_why(bench: Bench, tmp_path: Path) -> None:
    def job(job: SandboxJob) -> bytes:
        raise AssertionError("it ran")

    failed = error_to_bytes(exit_error(1, b"", b"typo")).decode()
    result = await run_after(bench, tmp_path, {"error.json": failed}, job)
    assert result.error == {
        "fairgrid": "error/1",
        "kind": "dependency",
        "message": f"The job depends on task 0x{'ab' * 32} (before), which ended with an error.",
    }
    assert result.covered == ("error.json",)
    assert parse_error((result.result_folder / "error.json").read_bytes()) == result.error


async def test_result_of_another_task_that_was_not_fetched_is_a_host_failure(bench: Bench) -> None:
    manifest = replace(bench.manifest(), dependencies=(TaskRef("before", "0x" + "ab" * 32),))
    with pytest.raises(HostFailure, match="was not fetched"):
        await bench.run(manifest, FunctionSandbox(lambda job: b"", runtime_id=RUNTIME))


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


async def test_input_that_was_not_fetched_is_a_host_failure(bench: Bench) -> None:
    manifest = bench.manifest(inputs={"data": b"data"})
    del bench.files[manifest.inputs[0].cid]
    with pytest.raises(HostFailure, match="was not fetched"):
        await bench.run(manifest, FunctionSandbox(lambda job: b"", runtime_id=RUNTIME))


async def test_size_that_does_not_fit_the_content_is_the_manifests_fault(bench: Bench) -> None:
    manifest = bench.manifest(inputs={"data": b"data"})
    bench.files[manifest.inputs[0].cid].write_bytes(b"dat")
    with pytest.raises(ManifestError, match="has 3 bytes and the manifest says 4"):
        await bench.run(manifest, FunctionSandbox(lambda job: b"", runtime_id=RUNTIME))


async def test_another_runtime_is_refused_before_anything_runs(bench: Bench) -> None:
    with pytest.raises(HostFailure, match="wants the runtime"):
        await bench.run(bench.manifest(runtime="other-1/x/y"), FunctionSandbox(lambda job: b"", runtime_id=RUNTIME))


async def test_what_an_earlier_run_left_is_gone(bench: Bench) -> None:
    await bench.run_function(lambda job: write(job, {"old": "old"}))
    result = await bench.run_function(lambda job: write(job, {"new": "new"}))
    assert result.covered == ("new",)
    assert [path.name for path in (bench.base / "work").iterdir()] == ["result"]
    assert bench.files and all(path.exists() for path in bench.files.values()), "the cache keeps its files"


# --- results ----------------------------------------------------------------------------------------------------------


async def test_without_computed_file_the_whole_folder_and_the_logs_are_the_result(bench: Bench) -> None:
    def job(job: SandboxJob) -> Outcome:
        write(job, {"b": "b", "a/ü.txt": "ü", "a/" + "long" * 60: ""})
        return Outcome(Stop.EXITED, 0, b"printed\n", b"", 1, 1.0, 1)

    result = await bench.run_function(job)
    assert result.covered == ("a/" + "long" * 60, "a/ü.txt", "b", "stdout.txt")
    assert result.digest == tree_digest_of_folder(result.result_folder)
    assert (result.exit_code, result.error, result.callback_data) == (0, None, None)
    assert (result.result_folder / "stdout.txt").read_bytes() == b"printed\n"


async def test_declared_canonical_forms_are_what_is_hashed_and_uploaded(bench: Bench) -> None:
    rules = tuple(read_rule(text) for text in ("round:*.csv:decimals=1:edge=5", "rows:*.csv:header=1", "json:*.json"))
    manifest = replace(bench.manifest(), canonicaliser=rules)
    plain, digests = bench.manifest(), {}
    for name, number in (("one machine", "0.5000000001"), ("another", "0.4999999999")):
        files = {"a.csv": f"n\nb {number}\na 1\n", "b.json": f'{{"z": 1, "a": "{len(number)}"}}', "c.txt": "as it is  "}
        sandbox = FunctionSandbox(partial(write, files=files), runtime_id=RUNTIME)
        result = await bench.run(manifest, sandbox)
        assert result.digest == tree_digest_of_folder(result.result_folder)
        assert (result.result_folder / "a.csv").read_text() == "n\na 1\nb 0.5\n"
        assert (result.result_folder / "b.json").read_text() == '{"a":"12","z":1}'
        assert (result.result_folder / "c.txt").read_text() == "as it is  "
        digests[name] = (result.digest, (await bench.run(plain, sandbox)).digest)
    (first, plain_first), (second, plain_second) = digests.values()
    assert first == second and plain_first != plain_second


async def test_a_file_without_the_declared_form_is_an_error_that_every_machine_writes_alike(bench: Bench) -> None:
    manifest = replace(bench.manifest(), canonicaliser=(read_rule("json:*.json"),))
    result = await bench.run(manifest, FunctionSandbox(lambda job: write(job, {"a.json": "{"}), runtime_id=RUNTIME))
    why = "it is not JSON with numbers that every reader keeps"
    message = f"The manifest wants a.json in the canonical form 'json', but {why}."
    document = {"fairgrid": "error/1", "kind": "canonical", "message": message}
    assert result.error == document == error_in_folder(result.result_folder)


async def test_empty_output_has_the_digest_of_no_files(bench: Bench) -> None:
    result = await bench.run_function(lambda job: b"")
    assert result.digest == to_hex32(keccak(b"\x02"))
    assert result.covered == () and result.error is None


@pytest.mark.parametrize("named", ["/iexec_out/keep", "/iexec_out/keep/", "keep"])
async def test_computed_file_narrows_the_result_to_its_folder(bench: Bench, named: str) -> None:
    def job(job: SandboxJob) -> Outcome:
        computed = json.dumps({"deterministic-output-path": named, "unknown": 1})
        write(job, {"keep/a": "a", "keep/deep/b": "b", "keeper": "no", "computed.json": computed})
        return Outcome(Stop.EXITED, 0, b"out", b"err", 1, 1.0, 1)

    result = await bench.run_function(job)
    assert result.covered == ("keep/a", "keep/deep/b", "stderr.txt", "stdout.txt")
    assert sorted(path.name for path in result.result_folder.iterdir()) == ["keep", "stderr.txt", "stdout.txt"]


async def test_computed_file_may_name_one_file_or_everything(bench: Bench) -> None:
    one = json.dumps({"deterministic-output-path": "/iexec_out/b.txt"})
    result = await bench.run_function(lambda job: write(job, {"a": "a", "b.txt": "b", "computed.json": one}))
    assert result.covered == ("b.txt",)
    everything = json.dumps({"deterministic-output-path": "/iexec_out"})
    result = await bench.run_function(lambda job: write(job, {"a": "a", "b": "b", "computed.json": everything}))
    assert result.covered == ("a", "b")


@pytest.mark.parametrize(
    "computed",
    [
        "not json",
        "[]",
        '{"deterministic-output-path": 5}',
        '{"deterministic-output-path": "/iexec_out/none"}',
        '{"deterministic-output-path": "/iexec_out/../in"}',
        '{"deterministic-output-path": "/etc/passwd"}',
        '{"deterministic-output-path": "/iexec_out/computed.json"}',
        '{"deterministic-output-path": ""}',
    ],
)
async def test_bad_computed_file_is_an_error_document(bench: Bench, computed: str) -> None:
    result = await bench.run_function(lambda job: write(job, {"a": "a", "computed.json": computed}))
    assert result.error is not None and result.error["kind"] == "computed"
    assert result.covered == ("error.json",)


@pytest.mark.parametrize("name", ["stdout.txt", "stderr.txt"])
async def test_own_file_with_the_name_of_a_log_is_an_error(bench: Bench, name: str) -> None:
    result = await bench.run_function(lambda job: write(job, {name: "mine"}))
    assert result.error is not None and result.error["kind"] == "logName"
    result = await bench.run_function(lambda job: write(job, {"sub/" + name: "mine"}))
    assert result.error is None


async def test_link_in_the_output_is_an_error(bench: Bench) -> None:
    def job(job: SandboxJob) -> bytes:
        (job.output_folder / "link").symlink_to("/etc/passwd")
        return b""

    result = await bench.run_function(job)
    assert result.error is not None and result.error["kind"] == "files"
    assert [path.name for path in result.result_folder.iterdir()] == ["error.json"]


async def test_limits_are_checked_again_for_sandboxes_that_cannot(bench: Bench) -> None:
    manifest = bench.manifest(resources=Resources(fuel=1, output_bytes=5, output_files=2))
    sandbox = FunctionSandbox(lambda job: write(job, {"a": "123456"}), runtime_id=RUNTIME)
    assert (await bench.run(manifest, sandbox)).error == {"fairgrid": "error/1", "kind": "outputBytes", "limit": 5}
    sandbox = FunctionSandbox(lambda job: write(job, {"a": "", "b": "", "c": ""}), runtime_id=RUNTIME)
    assert (await bench.run(manifest, sandbox)).error == {"fairgrid": "error/1", "kind": "outputFiles", "limit": 2}


# --- errors -----------------------------------------------------------------------------------------------------------


async def test_exit_code_makes_a_document_with_the_logs_and_without_the_files(bench: Bench) -> None:
    def job(job: SandboxJob) -> Outcome:
        write(job, {"half": "done"})
        return Outcome(Stop.EXITED, 3, b"out \xff", "grüße\x00".encode(), 9, 1.5, 10)

    result = await bench.run_function(job)
    document = {"fairgrid": "error/1", "kind": "exit", "exitCode": 3, "stdout": "out \\xff", "stderr": "grüße\x00"}
    assert result.error == document == error_in_folder(result.result_folder)
    assert result.exit_code == 3 and result.covered == ("error.json",)
    assert result.digest == tree_digest_of_folder(result.result_folder)


@pytest.mark.parametrize(
    ("outcome", "document"),
    [
        (stopped(Stop.FUEL), {"kind": "fuel", "limit": FUEL}),
        (stopped(Stop.MEMORY), {"kind": "memory", "limit": 1 << 30}),
        (stopped(Stop.OUTPUT, "bytes"), {"kind": "outputBytes", "limit": 256 << 20}),
        (stopped(Stop.OUTPUT, "files"), {"kind": "outputFiles", "limit": 10_000}),
    ],
)
async def test_limit_makes_a_document_of_kind_and_limit_only(
    bench: Bench, outcome: Outcome, document: dict[str, object]
) -> None:
    result = await bench.run_function(lambda job: outcome)
    assert result.error == {"fairgrid": "error/1"} | document
    assert [path.name for path in result.result_folder.iterdir()] == ["error.json"]
    assert result.exit_code is None


@pytest.mark.parametrize("stop", [Stop.WALL_CLOCK, Stop.HOST])
async def test_failure_of_the_machine_is_never_a_result(bench: Bench, stop: Stop) -> None:
    with pytest.raises(HostFailure, match="Nothing is contributed"):
        await bench.run_function(lambda job: stopped(stop, "disk full"))


# --- callbacks --------------------------------------------------------------------------------------------------------


async def test_callback_bytes_are_what_the_digest_covers(bench: Bench) -> None:
    computed = json.dumps({"callback-data": "0x00Ff"})
    result = await bench.run_function(lambda job: write(job, {"computed.json": computed, "a": "a"}), CALLBACK_CONTEXT)
    assert result.callback_data == b"\x00\xff"
    assert result.digest == to_hex32(keccak(b"\x00\xff"))
    assert result.covered == () and (result.result_folder / "a").exists()


async def test_callback_bytes_may_be_as_long_as_the_hub_takes_and_no_longer(bench: Bench) -> None:
    types = (Path(__file__).parents[2] / "contracts" / "lib" / "types.vy").read_text()
    assert f"MAX_RESULT: constant(uint256) = {MAX_CALLBACK_BYTES}\n" in types
    longest = b"\x5a" * MAX_CALLBACK_BYTES
    computed = json.dumps({"callback-data": "0x" + longest.hex()})
    result = await bench.run_function(lambda job: write(job, {"computed.json": computed}), CALLBACK_CONTEXT)
    assert (result.error, result.callback_data) == (None, longest)


@pytest.mark.parametrize("data", [None, 5, "00ff", "0x0", "0xzz", "0x" + "00" * (MAX_CALLBACK_BYTES + 1)])
async def test_callback_without_usable_bytes_is_an_error_that_fits_the_chain(bench: Bench, data: object) -> None:
    files = {} if data is None else {"computed.json": json.dumps({"callback-data": data})}
    result = await bench.run_function(lambda job: write(job, files), CALLBACK_CONTEXT)
    assert result.error is not None and result.error["kind"] == "callback"
    assert result.callback_data is not None and len(result.callback_data) <= MAX_CALLBACK_BYTES
    assert parse_error(result.callback_data) == result.error
    assert result.digest == to_hex32(keccak(result.callback_data))


async def test_error_of_a_callback_task_leaves_the_logs_out_of_its_document(bench: Bench) -> None:
    outcome = Outcome(Stop.EXITED, 1, b"x" * 100_000, b"why", 1, 1.0, 1)
    result = await bench.run_function(lambda job: outcome, CALLBACK_CONTEXT)
    assert result.error == {"fairgrid": "error/1", "kind": "exit", "exitCode": 1}
    assert result.callback_data == b'{"exitCode":1,"fairgrid":"error/1","kind":"exit"}'
    assert (result.result_folder / "stderr.txt").read_bytes() == b"why"


# --- the whole way, in WebAssembly ------------------------------------------------------------------------------------

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
