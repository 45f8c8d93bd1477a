"""Nothing is left of a container at the moments where that is hardest, nor of those of a worker that was killed.

`tests/sandbox/test_leaks.py` kills at random moments."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fairgrid.runtime.cgroups.names import is_left_over
from fairgrid.runtime.container import machine as machine_module
from fairgrid.runtime.container import sandbox as sandbox_module
from fairgrid.runtime.container.engines import Engine
from fairgrid.runtime.container.folders import make_scratch
from fairgrid.runtime.container.leftovers import sweep
from tests.runtime.container.conftest import Jobs, Level, groups_left

WORKER = """
import asyncio, sys
from pathlib import Path
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.provider import ContainerProvider
from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.runtime.interface import Limits, SandboxJob
runtime, engine, folder, program, base = sys.argv[1:]
base = Path(base)
for part in ("in", "out"):
    (base / part).mkdir(parents=True)
job = SandboxJob(Path(program), ("-c", "echo started > /iexec_out/started; sleep 300"), base / "in", base / "out", {},
                 bytes(32), Limits(fuel=0, memory_bytes=64 << 20))
provider = ContainerProvider(CATALOGUE[runtime], ContainerSettings(engine=engine), folder=Path(folder))
asyncio.run(provider.sandbox().run(job))
"""


def assert_nothing_is_left(level: Level, jobs: Jobs) -> None:
    mine = [name for name in level.containers() if name.startswith(f"fairgrid-job-{os.getpid()}-")]
    assert (mine, groups_left(), jobs.leftovers()) == ([], [], [])


@pytest.mark.timeout(120)
async def test_a_job_that_is_cancelled_while_its_folders_are_made_leaves_none(
    level: Level, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread cannot be cancelled: it made folders in one that was being removed, which so stayed."""
    in_thread, was_there = threading.Event(), []

    def slow(scratch: Path) -> None:
        in_thread.set()
        time.sleep(0.5)
        was_there.append(scratch.is_dir())
        make_scratch(scratch)

    monkeypatch.setattr(sandbox_module, "make_scratch", slow)
    running = asyncio.ensure_future(level.sandbox.run(jobs.job("sleep 300")))
    while not in_thread.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert was_there == [True], "the folder went before the thread ended"
    assert_nothing_is_left(level, jobs)


@pytest.mark.timeout(120)
async def test_a_job_that_is_cancelled_while_its_engine_starts_leaves_no_container(
    level: Level, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the event loop is late, the engine has made the container before its process is known."""
    start = asyncio.create_subprocess_exec
    started = asyncio.Event()

    async def late(*command: str, **options: object) -> asyncio.subprocess.Process:
        process = await start(*command, **options)  # type: ignore[arg-type]
        if "--rm" in command:
            started.set()
            await asyncio.sleep(2.0)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", late)
    running = asyncio.ensure_future(level.sandbox.run(jobs.job("sleep 300")))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert_nothing_is_left(level, jobs)


@pytest.mark.timeout(120)
async def test_a_container_that_the_engine_keeps_for_now_is_removed_before_the_next_job(
    level: Level, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's own clean-up may hold it, so that the removal is refused."""
    asked: list[str] = []

    async def refuses(engine: Engine, name: str) -> bool:
        asked.append(name)
        return False

    monkeypatch.setattr(machine_module, "_INSIST_S", 0.5)
    monkeypatch.setattr(machine_module, "remove_container", refuses)
    outcome = await level.sandbox.run(jobs.job("exit 3"))
    assert outcome.exit_code == 3 and len(asked) >= 2
    monkeypatch.undo()
    said = await level.engine.call("create", "--name", asked[0], *_AS_HERE, _image_of(level))
    assert said.status == 0, said.text
    assert (await level.sandbox.run(jobs.job("true"))).exit_code == 0
    assert_nothing_is_left(level, jobs)


_AS_HERE = ("--pull=never", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")


def _image_of(level: Level) -> str:
    marks = (level.folder / f"images-{level.engine.kind}").iterdir()
    return max(marks, key=lambda mark: mark.stat().st_mtime).name


@pytest.mark.timeout(180)
async def test_what_a_killed_worker_leaves_the_next_one_removes(level: Level, jobs: Jobs, tmp_path: Path) -> None:
    base = tmp_path / "dead"
    worker = subprocess.Popen(  # noqa: ASYNC220
        [
            *(sys.executable, "-c", WORKER, level.provider.info.runtime_id, level.engine.kind.value),
            *(str(level.folder), str(jobs.archive), str(base)),
        ]
    )
    until = time.monotonic() + 90
    while not list(base.glob("scratch-*/out/started")):
        assert worker.poll() is None and time.monotonic() < until
        await asyncio.sleep(0.1)
    assert await sweep(level.engine) == 0, "the worker still lives"
    worker.send_signal(signal.SIGKILL)
    worker.wait(20)
    assert [name for name in level.containers() if is_left_over(name)]
    assert await sweep(level.engine) == 1
    assert not [name for name in level.containers() if is_left_over(name)]
    groups = [path for path in Path("/sys/fs/cgroup").glob("*/fairgrid/*") if path.is_dir() and is_left_over(path.name)]
    assert groups == []
