"""Nothing is left of containers that were killed at any moment, nor of those of a worker that was."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairgrid.runtime.cgroups.names import is_left_over
from fairgrid.runtime.container.leftovers import sweep
from tests.runtime.container.conftest import Jobs, Level, groups_left

_SIDE_BY_SIDE = 3

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


async def kill_at_random(level: Level, jobs: Jobs, count: int, seed: int) -> None:
    chance = random.Random(seed)

    async def one() -> None:
        running = asyncio.ensure_future(level.sandbox.run(jobs.job("sleep 300")))
        await asyncio.sleep(chance.uniform(0, 2.5))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    for _ in range(count // _SIDE_BY_SIDE):
        await asyncio.gather(*(one() for _ in range(_SIDE_BY_SIDE)))
    mine = [name for name in level.containers() if name.startswith(f"fairgrid-job-{os.getpid()}-")]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(jobs.base) in line]
    assert (mine, groups_left(), jobs.leftovers(), mounts) == ([], [], [], [])


@pytest.mark.timeout(240)
async def test_nothing_is_left_of_containers_that_are_killed_at_random_moments(level: Level, jobs: Jobs) -> None:
    await kill_at_random(level, jobs, 9, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.skipif("FAIRGRID_LEAKS" not in os.environ, reason="set FAIRGRID_LEAKS=1: it takes many minutes")
async def test_nothing_is_left_of_170_containers_of_each_engine(level: Level, jobs: Jobs) -> None:
    await kill_at_random(level, jobs, 170, seed=2)


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
