"""A job goes on from its checkpoint after a kill, and its result is the one of a run that was never stopped."""

from __future__ import annotations

import asyncio
import json
import os
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.manifest import Manifest, Resources, parse_manifest
from fairgrid.runtime.checkpoints import CheckpointFolder
from fairgrid.runtime.interface import Limits, Outcome, SandboxJob, Stop
from fairgrid.runtime.job import TaskContext, run_job
from fairgrid.runtime.twin import FunctionSandbox
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.runtime.conftest import job_in
from tests.runtime.job_bench import RUNTIME, Bench
from tests.runtime.test_watch import until

COUNTING = """
    import json, os
    folder = os.environ.get("FAIRGRID_CHECKPOINT", "/fairgrid_checkpoint")
    path = os.path.join(folder, "state.json")
    state = {"step": 0, "total": 0}
    if os.path.exists(path):
        with open(path) as file:
            state = json.load(file)
    while state["step"] < 6:
        for number in range(150_000):
            state["total"] += number * state["step"]
        state["step"] += 1
        print("finished step", state["step"], flush=True)
        with open(path + ".new", "w") as file:
            json.dump(state, file)
        os.replace(path + ".new", path)
    with open("total.txt", "w") as file:
        file.write(str(state["total"]))
"""


def versions(checkpoint: Path) -> str:
    """Which version counts."""
    current = checkpoint / "current"
    return current.read_text() if current.exists() else ""


def moved_on(running: asyncio.Task[Outcome], checkpoint: Path, known: str) -> bool:
    return running.done() or versions(checkpoint) != known


def job_with(tmp_path: Path, name: str, source: str, checkpoint: Path | None, **limits: int) -> SandboxJob:
    allowed = Limits(fuel=limits.pop("fuel", 30_000_000_000), wall_s=50.0, **limits)
    return replace(job_in(tmp_path / name, source, limits=allowed), checkpoint=True, checkpoint_folder=checkpoint)


async def test_killed_job_goes_on_and_gives_the_same_digest_as_one_that_ran_through(
    sandbox: WasmSandbox, tmp_path: Path
) -> None:
    through = job_with(tmp_path, "through", COUNTING, None)
    whole = await sandbox.run(through)
    checkpoint = tmp_path / "checkpoint"
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    checkpoint.mkdir()
    kills = 0
    while True:
        job = job_with(tmp_path, f"turn{kills}", COUNTING, checkpoint)
        known = versions(checkpoint)
        running = asyncio.create_task(sandbox.run(job))
        if kills < 4:
            await until(partial(moved_on, running, checkpoint, known))
        await asyncio.wait((running,), timeout=chance.uniform(0.0, 0.3) if kills < 4 else 50)
        if running.done():
            break
        running.cancel()  # Kills the job's process group, at whatever it does.
        await asyncio.gather(running, return_exceptions=True)
        kills += 1
    last = running.result()
    assert (last.stop, last.exit_code) == (Stop.EXITED, 0), f"seed {seed}"
    assert last.stdout == whole.stdout == b"".join(b"finished step %d\n" % step for step in range(1, 7)), f"seed {seed}"
    assert tree_digest_of_folder(job.output_folder) == tree_digest_of_folder(through.output_folder)
    assert last.resumed == (kills > 0) and kills > 0, f"seed {seed}"


async def test_run_after_a_finished_checkpoint_skips_what_was_done(sandbox: WasmSandbox, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    first = await sandbox.run(job_with(tmp_path, "first", COUNTING, checkpoint))
    again = job_with(tmp_path, "again", COUNTING, checkpoint)
    second = await sandbox.run(again)
    assert not first.resumed and second.resumed
    assert second.stdout == first.stdout
    assert (again.output_folder / "total.txt").exists()
    assert first.fuel_used < second.fuel_used < first.fuel_used * 1.5, "fuel of both runs is counted"
    assert second.cpu_s < first.cpu_s


async def test_checkpoint_counts_in_the_output_cap_and_is_no_part_of_the_result(
    sandbox: WasmSandbox, tmp_path: Path
) -> None:
    source = "open('/fairgrid_checkpoint/big', 'w').write('x' * 5000)"
    outcome = await sandbox.run(job_with(tmp_path, "big", source, None, output_bytes=4000))
    assert outcome.stop is Stop.OUTPUT
    job = job_with(tmp_path, "fits", source, None)
    assert (await sandbox.run(job)).exit_code == 0
    assert list(job.output_folder.iterdir()) == []


async def test_job_that_does_not_ask_has_no_checkpoint_folder(sandbox: WasmSandbox, tmp_path: Path) -> None:
    source = "import os; print(os.path.exists('/fairgrid_checkpoint'))"
    assert (await sandbox.run(job_in(tmp_path / "job", source))).stdout == b"False\n"


async def test_saving_costs_the_same_fuel_on_machines_that_save_and_those_that_do_not(
    sandbox: WasmSandbox, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint").mkdir()
    one = await sandbox.run(job_with(tmp_path, "saves", COUNTING, tmp_path / "checkpoint"))
    other = await sandbox.run(job_with(tmp_path, "saves-not", COUNTING, None))
    assert one.fuel_used == other.fuel_used


async def test_only_what_was_renamed_into_place_survives(sandbox: WasmSandbox, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    source = """
        import os
        os.chdir("/fairgrid_checkpoint")
        print(sorted(os.listdir(".")), [open(name).read() for name in sorted(os.listdir("."))])
        def put(name, text):
            with open("new", "w") as file:
                file.write(text)
            os.replace("new", name)
        if not os.path.exists("a"):
            put("a", "one")
            put("b", "two")
            os.remove("b")
            os.mkdir("deep")
            put("deep/c", "three")
            os.rename("deep/c", "c")
            open("loose", "w").write("not renamed")
            with open("a", "a") as file:
                file.write(" changed later")
    """
    await sandbox.run(job_with(tmp_path, "first", source, checkpoint))
    second = await sandbox.run(job_with(tmp_path, "second", source, checkpoint))
    assert second.stdout.splitlines()[-1] == b"['a', 'c'] ['one', 'three']"


async def test_run_that_spent_its_fuel_before_begins_anew(sandbox: WasmSandbox, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    first = await sandbox.run(job_with(tmp_path, "first", COUNTING, checkpoint))
    enough = await sandbox.run(job_with(tmp_path, "enough", COUNTING, checkpoint, fuel=first.fuel_used - 10**8))
    assert not enough.resumed or enough.stop is Stop.FUEL


def saved(folder: Path) -> CheckpointFolder:
    """A checkpoint of two files."""
    source = folder / "source"
    source.write_bytes(b"content")
    checkpoint = CheckpointFolder(folder / "checkpoint")
    (folder / "checkpoint").mkdir()
    assert checkpoint.load() is None
    checkpoint.save({"a": source, "sub/b": source}, None, stdout=b"out", stderr=b"", fuel=7)
    return checkpoint


def test_checkpoint_is_read_as_it_was_saved(tmp_path: Path) -> None:
    saved(tmp_path)
    loaded = CheckpointFolder(tmp_path / "checkpoint").load()
    assert loaded is not None
    assert {name: path.read_bytes() for name, path in loaded.files.items()} == {"a": b"content", "sub/b": b"content"}
    assert (loaded.stdout, loaded.stderr, loaded.fuel) == (b"out", b"", 7)


@pytest.mark.parametrize("damage", ["content", "missing", "meta", "current", "number"])
def test_checkpoint_that_rotted_is_not_offered(tmp_path: Path, damage: str) -> None:
    saved(tmp_path)
    folder = tmp_path / "checkpoint"
    match damage:
        case "content":
            (folder / "1/files/a").write_bytes(b"rotten!")
        case "missing":
            (folder / "1/files/sub/b").unlink()
        case "meta":
            (folder / "1/meta.json").write_text('{"files": [')
        case "current":
            (folder / "current").unlink()
        case _:
            (folder / "current").write_text("../../etc")
    assert CheckpointFolder(folder).load() is None


@pytest.mark.parametrize("call", ["_copy", "_write", "os.link"])
@pytest.mark.parametrize("nth", [1, 2])
def test_crash_at_any_step_of_saving_leaves_a_whole_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    checkpoint = saved(tmp_path)
    other = tmp_path / "other"
    other.write_bytes(b"newer")
    calls = 0
    module = "fairgrid.runtime.checkpoints"
    original = os.link if call == "os.link" else getattr(__import__(module, fromlist=["x"]), call)

    def failing(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError("power lost")
        return original(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(f"{module}.{call}", failing)
        try:
            checkpoint.save({"c": other, "d": other}, None, stdout=b"more", stderr=b"", fuel=9)
            crashed = False
        except OSError:
            crashed = True
    loaded = CheckpointFolder(tmp_path / "checkpoint").load()
    assert loaded is not None
    assert set(loaded.files) == ({"a", "sub/b"} if crashed else {"a", "sub/b", "c", "d"})
    assert loaded.stdout == (b"out" if crashed else b"more")
    # The next save works, whatever was left.
    again = CheckpointFolder(tmp_path / "checkpoint")
    again.load()
    again.save({"a": other}, "sub", stdout=b"x", stderr=b"", fuel=10)
    final = again.load()
    assert final is not None
    assert "sub/b" not in final.files and final.files["a"].read_bytes() == b"newer"


# --- the job ----------------------------------------------------------------------------------------------------


async def run_twice(bench: Bench, tmp_path: Path, second: Outcome) -> tuple[int, str]:
    """A job whose run goes on from a checkpoint and ends as ``second``; how often it ran, and its digest."""
    runs: list[bool] = []

    def job(job: SandboxJob) -> Outcome:
        assert job.checkpoint and job.checkpoint_folder is not None
        assert job.environment["FAIRGRID_CHECKPOINT"] == "/fairgrid_checkpoint"
        assert list(job.output_folder.iterdir()) == []
        goes_on = (job.checkpoint_folder / "current").exists()
        runs.append(goes_on)
        (job.output_folder / "out.txt").write_text("result")
        return second if goes_on else Outcome(Stop.EXITED, 0, b"", b"", 0, 0.0, 0)

    manifest = replace(bench.manifest(), checkpoint=True)
    folder = tmp_path / "kept"
    folder.mkdir(parents=True)
    (folder / "current").write_text("1")
    result = await run_job(
        manifest,
        manifest.cid(),
        TaskContext(deal_id=ZERO32, task_id=ZERO32, index=0, bot_first=0, bot_size=1),
        inputs=bench.files,
        workdir=tmp_path / "work",
        sandbox=FunctionSandbox(job, runtime_id=RUNTIME),
        checkpoint=folder,
    )
    return len(runs), result.digest


async def test_resumed_run_that_does_not_end_well_is_done_again_from_the_start(bench: Bench, tmp_path: Path) -> None:
    good = await run_twice(bench, tmp_path / "good", Outcome(Stop.EXITED, 0, b"", b"", 0, 0.0, 0, resumed=True))
    assert good[0] == 1
    for number, stop in enumerate((Stop.EXITED, Stop.FUEL, Stop.MEMORY, Stop.OUTPUT)):
        bad = Outcome(stop, 1, b"", b"", 0, 0.0, 0, resumed=True)
        assert await run_twice(bench, tmp_path / str(number), bad) == (2, good[1])


def test_manifest_without_a_checkpoint_has_the_bytes_that_it_always_had(bench: Bench) -> None:
    plain = bench.manifest()
    asking = replace(plain, checkpoint=True)
    assert b"checkpoint" not in plain.to_bytes()
    assert parse_manifest(asking.to_bytes()) == asking
    assert json.loads(asking.to_bytes())["checkpoint"] is True
    assert plain.cid() != asking.cid()
    assert isinstance(Manifest(plain.script, plain.runtime, Resources(1)).checkpoint, bool)
