"""What is seen of a running job, and asked of it, with the real sandbox; none of it changes the job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.runtime.interface import Limits, Stop
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from fairgrid.runtime.watch import JobProgress, JobWatch, read_progress
from tests.runtime.conftest import job_in

LONG = """
    import os, sys
    for step in range(1, 5):
        print("step", step, flush=True)
        print("careful", step, file=sys.stderr)
        with open(os.environ.get("FAIRGRID_PROGRESS", "/.fairgrid/progress"), "a") as progress:
            progress.write(f"{step / 4} step {step}\\n")
        with open(f"part{step}.txt", "w") as part:
            part.write(str(step) * 100)
        total = 0
        for number in range(400_000):
            total += number
"""


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.01)


@pytest.fixture
def watch(tmp_path: Path) -> JobWatch:
    (tmp_path / "live").mkdir()
    return JobWatch(tmp_path / "live")


async def test_output_and_progress_are_seen_while_the_job_runs(
    sandbox: WasmSandbox, tmp_path: Path, watch: JobWatch
) -> None:
    job = replace(job_in(tmp_path / "job", LONG), watch=watch)
    running = asyncio.create_task(sandbox.run(job))
    await until(lambda: read_progress(watch.folder / "progress") == JobProgress(500_000, "step 2"))
    assert not running.done()
    assert (watch.folder / "stdout").read_bytes().startswith(b"step 1\nstep 2\n")
    assert b"careful 1\n" in (watch.folder / "stderr").read_bytes()
    outcome = await running
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0)
    assert (watch.folder / "stdout").read_bytes() == outcome.stdout
    assert read_progress(watch.folder / "progress") == JobProgress(1_000_000, "step 4")
    assert outcome.cpu_s > 0


async def test_partial_result_is_copied_while_the_job_goes_on(
    sandbox: WasmSandbox, tmp_path: Path, watch: JobWatch
) -> None:
    job = replace(job_in(tmp_path / "job", LONG), watch=watch)
    running = asyncio.create_task(sandbox.run(job))
    await until(lambda: (read_progress(watch.folder / "progress") or JobProgress(0, "")).ppm >= 750_000)
    assert await watch.snapshot(tmp_path / "seen", 10_000)
    assert {path.name: path.read_text() for path in (tmp_path / "seen").iterdir() if path.name < "part3"} == {
        "part1.txt": "1" * 100,
        "part2.txt": "2" * 100,
    }
    # A smaller limit takes fewer files, whole ones only.
    assert await watch.snapshot(tmp_path / "small", 150)
    assert [path.read_text() for path in (tmp_path / "small").iterdir()] == ["1" * 100]
    await running
    assert not await watch.snapshot(tmp_path / "late", 10_000)


async def test_being_watched_changes_neither_result_nor_fuel(
    sandbox: WasmSandbox, tmp_path: Path, watch: JobWatch
) -> None:
    alone = job_in(tmp_path / "alone", LONG)
    seen = replace(job_in(tmp_path / "seen", LONG), watch=watch)
    one, other = await sandbox.run(alone), await sandbox.run(seen)
    assert one.fuel_used == other.fuel_used
    assert (one.stdout, one.stderr) == (other.stdout, other.stderr)
    assert tree_digest_of_folder(alone.output_folder) == tree_digest_of_folder(seen.output_folder)
    assert not any("progress" in path.name for path in alone.output_folder.rglob("*"))


async def test_progress_counts_in_the_output_cap_and_cannot_be_replaced(sandbox: WasmSandbox, tmp_path: Path) -> None:
    flood = "open('/.fairgrid/progress', 'w').write('x' * 5000)"
    outcome = await sandbox.run(job_in(tmp_path / "flood", flood, limits=Limits(fuel=30 * 10**9, output_bytes=4000)))
    assert (outcome.stop, outcome.detail) == (Stop.OUTPUT, "bytes")
    for number, attempt in enumerate(
        ("os.remove('/.fairgrid/progress')", "os.rename('x', '/.fairgrid/progress')", "open('/.fairgrid/other', 'w')")
    ):
        source = (
            f"import os\nopen('x', 'w').close()\ntry:\n    {attempt}\nexcept OSError as error:\n    print(error.errno)"
        )
        outcome = await sandbox.run(job_in(tmp_path / str(number), source))
        assert outcome.stdout == b"69\n"


async def test_log_beyond_its_limit_is_seen_up_to_the_limit(
    sandbox: WasmSandbox, tmp_path: Path, watch: JobWatch
) -> None:
    limits = Limits(fuel=30 * 10**9, log_bytes=1000)
    job = replace(job_in(tmp_path / "job", "print('x' * 5000)", limits=limits), watch=watch)
    outcome = await sandbox.run(job)
    assert (watch.folder / "stdout").read_bytes() == b"x" * 1000 == outcome.stdout[:1000]


async def test_folder_that_is_gone_does_not_stop_the_job(sandbox: WasmSandbox, tmp_path: Path, watch: JobWatch) -> None:
    source = "import os\nprint('fine')"
    job = replace(job_in(tmp_path / "job", source), watch=watch)
    running = asyncio.create_task(sandbox.run(job))
    outcome = await running
    assert outcome.stdout == b"fine\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("half", None),
        ("1.5 too much", None),
        ("-0.1", None),
        ("nan", None),
        ("0.25", JobProgress(250_000, "")),
        ("0.25 a\n0.5 b\n", JobProgress(500_000, "b")),
        ("0.25 a\n0.5 cut in the mid", JobProgress(250_000, "a")),
        ("0.25 a\nnoise\n", JobProgress(250_000, "a")),
        ("x" * 10_000 + "\n1 done\n", JobProgress(1_000_000, "done")),
        ("0.1 " + "m" * 300 + "\n", JobProgress(100_000, "m" * 200)),
    ],
)
def test_last_whole_line_that_says_a_fraction_is_the_progress(
    tmp_path: Path, text: str, expected: JobProgress | None
) -> None:
    (tmp_path / "progress").write_text(text)
    assert read_progress(tmp_path / "progress") == expected


def test_progress_of_nobody_is_none(tmp_path: Path) -> None:
    assert read_progress(tmp_path / "none") is None
