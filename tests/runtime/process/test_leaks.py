"""Jobs that are killed at random moments leave nothing behind: no process, mount, group, folder or descriptor."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.runtime.cgroups.names import GROUP_PREFIX
from fairgrid.runtime.process.sandbox import ProcessSandbox
from tests.runtime.process.conftest import native_job, running, until

_SIDE_BY_SIDE = 4


async def kill_jobs(sandbox: ProcessSandbox, folder: Path, count: int) -> str:
    """Run jobs and kill each at a moment of its own; returns the word on the command line of all that they start."""
    word, numbers, moments = f"33{os.getpid()}", iter(range(count)), random.Random(5)
    source = f"#!/bin/sh\n(setsid sleep {word} &)\nsleep {word} &\n: > /iexec_out/x\nchmod 0 /iexec_out\nsleep {word}\n"

    async def slot() -> None:
        for number in numbers:
            task = asyncio.ensure_future(sandbox.run(native_job(folder / str(number), source)))
            await asyncio.sleep(moments.random() * 0.15)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(slot() for _ in range(_SIDE_BY_SIDE)))
    return word


def groups() -> set[Path]:
    """Groups of this process in any cgroup hierarchy."""
    return set(Path("/sys/fs/cgroup").rglob(f"{GROUP_PREFIX}-{os.getpid()}-*"))


@pytest.fixture
def before() -> Iterator[set[Path]]:
    yield groups()


async def leaves_nothing(sandbox: ProcessSandbox, folder: Path, count: int, before: set[Path]) -> None:
    # The first jobs start threads and fill caches, which stay.
    await kill_jobs(sandbox, folder / "first", 8)
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    word = await kill_jobs(sandbox, folder / "then", count)
    gc.collect()
    assert running(word) == []
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    assert [line for line in mounts if str(folder) in line or "iexec" in line] == []
    assert groups() == before
    assert [path for path in folder.rglob("*") if path.name.startswith("scratch-")] == []
    assert len(os.listdir("/proc/self/fd")) <= descriptors


async def test_sixty_jobs_killed_at_random_moments_leave_nothing(
    sandbox: ProcessSandbox, tmp_path: Path, before: set[Path]
) -> None:
    await leaves_nothing(sandbox, tmp_path, 60, before)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_five_hundred_jobs_killed_at_random_moments_leave_nothing(
    sandbox: ProcessSandbox, tmp_path: Path, before: set[Path]
) -> None:
    await leaves_nothing(sandbox, tmp_path, 500, before)


_AGENT = """
import asyncio, sys
from pathlib import Path
from fairgrid.runtime.process.sandbox import ProcessSandbox
from tests.runtime.process.conftest import native_job

folder, word = Path(sys.argv[1]), sys.argv[2]
source = f"#!/bin/sh\\n(setsid sleep {word} &)\\n: > /iexec_out/on\\nsleep {word}\\n"
asyncio.run(ProcessSandbox("process/linux").run(native_job(folder / "job", source)))
"""


async def test_an_agent_that_is_killed_takes_its_jobs_with_it_and_the_next_one_tidies_up(
    sandbox: ProcessSandbox, tmp_path: Path
) -> None:
    word = f"34{os.getpid()}"
    agent = await asyncio.create_subprocess_exec(sys.executable, "-c", _AGENT, str(tmp_path), word)
    try:
        await until((tmp_path / "job" / "out" / "on").exists)
        assert len(running(word)) >= 2
    finally:
        agent.kill()
        await agent.wait()
    await until(lambda: running(word) == [])
    left = Path("/sys/fs/cgroup").rglob(f"{GROUP_PREFIX}-{agent.pid}-*")
    outcome = await sandbox.run(native_job(tmp_path / "next", "#!/bin/sh\n"))
    assert outcome.exit_code == 0
    assert [path for path in left if path.exists()] == []
