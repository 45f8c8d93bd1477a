"""Jobs for engines under test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

from fairgrid.runtime.engines.interface import CellUse
from fairgrid.runtime.interface import Limits, SandboxJob

__all__ = ["SCRIPT", "Uses", "cells_below", "endless_in", "gpu_teller", "job_in", "until"]

SCRIPT = "import sys, random; open('/iexec_out/r', 'w').write(f'{sys.argv[1:]} {random.random()}'); print('hi')"


def job_in(folder: Path, script: str = SCRIPT, *, wall_s: float = 50.0) -> SandboxJob:
    """Lay a job out under ``folder``."""
    for name in ("app", "in", "out"):
        (folder / name).mkdir(parents=True)
    (folder / "app" / "job.py").write_text(script)
    return SandboxJob(
        script=folder / "app" / "job.py",
        arguments=("a", "ü"),
        input_folder=folder / "in",
        output_folder=folder / "out",
        environment={"IEXEC_OUT": "/iexec_out", "IEXEC_TASK_ID": "0x" + "ab" * 32, "IEXEC_TASK_INDEX": "3"},
        seed=bytes(range(32)),
        limits=Limits(fuel=10**10, wall_s=wall_s),
    )


def endless_in(folder: Path) -> SandboxJob:
    """A job that runs until somebody ends it."""
    job = job_in(folder, "while True: pass", wall_s=200.0)
    return replace(job, limits=replace(job.limits, fuel=10**15))


def gpu_teller(folder: Path) -> str:
    """A Python for cells that writes the graphics processors it got to ``gpus``, and ends when there is ``go``."""
    path = folder / "python"
    path.write_text(
        "#!/bin/sh\n"
        'echo "$CUDA_VISIBLE_DEVICES" > "$3/gpus.new" && mv "$3/gpus.new" "$3/gpus"\n'
        f"while [ ! -e {folder}/go ]; do sleep 0.1; done\n"
        'echo "{}" > "$3/outcome.json"\n'
    )
    path.chmod(0o755)
    return str(path)


class Uses(list[CellUse]):
    """What a sandbox is told of its cells."""

    async def take(self, job: SandboxJob, use: CellUse) -> None:
        self.append(use)


async def until(condition: Callable[[], object], within_s: float = 50.0) -> None:
    """Wait for a condition that is looked at in a thread."""
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - it may be anything
            await asyncio.sleep(0.1)


def cells_below(folder: Path) -> list[int]:
    """Processes of this machine that run a cell of that folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any("engines.cell" in word for word in words) and any(str(folder) in word for word in words):
            found.append(process.pid)
    return found
