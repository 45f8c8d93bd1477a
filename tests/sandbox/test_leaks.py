"""Jobs of each level that are killed at random moments leave nothing: no process, mount, group, container or folder.

Each job leaves children in sessions of their own, as daemons do. A few are killed in every run of the tests;
``FAIRGRID_LEAKS=1`` asks for 530 in all, which takes some twenty minutes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fairgrid.runtime.cgroups.names import is_left_over
from fairgrid.runtime.interface import Sandbox
from tests.containers import home
from tests.sandbox.attacks import LIMITS, LevelUnderTest, job_for

_SIDE_BY_SIDE = 3
_JOBS = {"wasm": 120, "process": 200, "podman": 90, "docker": 60, "gvisor": 30, "vm": 30}
_CHEAP = {"wasm": 6, "process": 6, "podman": 6, "docker": 6, "gvisor": 3, "vm": 3}
_LATEST_S = {"wasm": 0.8, "process": 0.3, "podman": 2.5, "docker": 2.5, "gvisor": 3.0, "vm": 6.0}
"""By when a job of the level runs; a job is killed at any moment before."""
_GONE_S = 60.0
"""For what an engine does in the background when its container is gone."""


async def kill_at_random(
    level: LevelUnderTest, sandbox: Sandbox, program: Path, folder: Path, count: int, word: str
) -> None:
    chance, numbers = random.Random(f"{level.name} {count}"), iter(range(count))
    limits = level.tighter(replace(LIMITS, wall_s=3600.0))
    limits = replace(limits, fuel=limits.fuel * 1000)

    async def slot() -> None:
        for number in numbers:
            job = job_for(program, folder / str(number), limits, "linger", word)
            running = asyncio.ensure_future(sandbox.run(job))
            await asyncio.sleep(chance.uniform(0, _LATEST_S[level.name]))
            running.cancel()
            (result,) = await asyncio.gather(running, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError), result

    await asyncio.gather(*(slot() for _ in range(_SIDE_BY_SIDE)))


def processes(*words: str) -> dict[int, str]:
    """Processes of this machine, other than this one, whose command lines have one of the words in them."""
    found = {}
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(word in line for word in words):
            found[process.pid] = line
    return found


def groups() -> list[str]:
    """cgroups that this process made, or one that is gone."""
    trees = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    mine = f"-{os.getpid()}-"
    found = [path for tree in trees for path in (*tree.glob("**/fairgrid-[0-9]*"), *tree.glob("**/fairgrid-job-*"))]
    return sorted({str(path) for path in found if mine in path.name})


def containers(level: LevelUnderTest) -> list[str]:
    if level.name not in ("podman", "docker", "gvisor"):
        return []
    engine = home() / ("d" if level.name == "docker" else "p")
    command = ["docker"] if level.name == "docker" else ["podman", "--root", str(engine / "store")]
    said = subprocess.run([*command, "ps", "--all", "--format", "{{.Names}}"], capture_output=True, check=True)
    return [name for name in said.stdout.decode().split() if f"-{os.getpid()}-" in name or is_left_over(name)]


@pytest.mark.timeout(1_800 if "FAIRGRID_LEAKS" in os.environ else 240)
async def test_jobs_killed_at_random_moments_leave_nothing(
    level: LevelUnderTest, executable: Path, tmp_path: Path
) -> None:
    sandbox, program = level.sandbox(), level.program(executable, tmp_path / "program")
    word = f"linger-{os.getpid()}-{level.name}"
    # The first job starts threads and services, and fills caches; these stay.
    if not level.own_machine:
        await sandbox.run(job_for(program, tmp_path / "first", level.tighter(LIMITS), "good"))
    await kill_at_random(level, sandbox, program, tmp_path / "warm", _SIDE_BY_SIDE, word)
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    await asyncio.to_thread(_wait_until_gone, tmp_path, word)
    count = (_JOBS if "FAIRGRID_LEAKS" in os.environ else _CHEAP)[level.name]
    await kill_at_random(level, sandbox, program, tmp_path / "jobs", count, word)
    gc.collect()
    assert await asyncio.to_thread(_wait_until_gone, tmp_path, word) == {}
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    assert [line for line in mounts if str(tmp_path) in line or "iexec" in line] == []
    assert groups() == []
    assert containers(level) == []
    assert [path for path in tmp_path.glob("*/*/*") if path.name.startswith(("scratch-", "machine-"))] == []
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1
    after = await sandbox.run(job_for(program, tmp_path / "after", level.tighter(LIMITS), "good"))
    assert after.exit_code == 0


def _wait_until_gone(tmp_path: Path, word: str) -> dict[int, str]:
    """Processes of jobs that are still there after a while."""
    until = time.monotonic() + _GONE_S
    # conmon and containerd-shim tell the engine's folder, QEMU those of the job.
    while (left := processes(word, str(tmp_path), f"fairgrid-job-{os.getpid()}-")) and time.monotonic() < until:
        time.sleep(0.1)
    return left
