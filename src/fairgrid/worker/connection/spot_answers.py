"""Answers a pool's test of this machine's speed: one short job in the worker's own sandbox."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.protocol.spot_checks import MAX_ROUNDS, SCRIPT
from fairgrid.runtime.interface import Limits, Sandbox, Stop
from fairgrid.runtime.own_job import own_job
from fairgrid.runtime.removal import remove_tree

__all__ = ["answer_check"]

_WALL_S: Final = 120.0


async def answer_check(folder: Path, sandbox: Sandbox, *, seed: int, rounds: int) -> int:
    """Run the script for ``seed`` and ``rounds``; what it prints.

    Raises:
        HostFailure: the job is larger than a check may be, or the sandbox did not run it.
    """
    if not 0 < rounds <= MAX_ROUNDS:
        raise HostFailure(f"A check of {rounds} rounds is none: at most {MAX_ROUNDS} are run.")
    scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="check-", dir=folder))
    try:
        limits = Limits(fuel=10**12, wall_s=_WALL_S)
        job = own_job(scratch, "check.py", limits=limits, arguments=(str(seed), str(rounds)))
        job.script.write_bytes(SCRIPT)
        outcome = await sandbox.run(job)
    finally:
        await asyncio.to_thread(remove_tree, scratch)
    if outcome.stop is not Stop.EXITED or not outcome.stdout.strip().isdigit():
        raise HostFailure(f"The check did not run: {outcome.stop.value} {outcome.detail}")
    return int(outcome.stdout)
