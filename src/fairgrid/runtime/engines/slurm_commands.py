"""Slurm's own commands: run with a time-out and without this process's secrets, their answers read."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.interface import Cell
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.runtime.engines.queue_engine import Seen, SeenState

__all__ = [
    "NODE_VARIABLES",
    "SlurmJob",
    "cancel",
    "common_lines",
    "end_all",
    "find_slurm",
    "gpu_lines",
    "limits_of",
    "list_jobs",
    "seen_of",
    "slurm_command",
]

_log = structlog.get_logger(__name__)
_COMMAND_S: Final = 60.0
NODE_VARIABLES: Final = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "XDG_CACHE_HOME", "FAIRGRID_CACHE")
"""What a cell gets of the worker's environment, beside Slurm's own; no keys, no passwords."""
_FOR_COMMANDS: Final = (*NODE_VARIABLES, "SLURM_CONF", "SLURM_JWT", "SACK_KEY", "LD_LIBRARY_PATH", "TMPDIR")
_GONE_S: Final = 60.0
_CANCEL_AT_ONCE: Final = 200

_WAITING: Final = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
_RUNNING: Final = frozenset(
    {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING", "RESV_DEL_HOLD"}
)
_WHY: Final[Mapping[str, str]] = {
    "NODE_FAIL": "its node was lost",
    "BOOT_FAIL": "its node did not start",
    "TIMEOUT": "Slurm ended it at its time limit",
    "DEADLINE": "Slurm ended it at its deadline",
    "OUT_OF_MEMORY": "it used more memory than Slurm gave it",
    "PREEMPTED": "other work took its place",
    "CANCELLED": "somebody cancelled it in Slurm",
    "FAILED": "its command failed on the node",
    "REVOKED": "another cluster runs it",
}


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """One line of the queue."""

    job_id: str
    """``17``, or ``17_3`` for one of an array."""
    name: str
    state: str
    nodes: str
    reason: str

    @property
    def is_over(self) -> bool:
        return self.state not in _WAITING and self.state not in _RUNNING


def find_slurm() -> None:
    """Look for the commands.

    Raises:
        HostFailure: Slurm's commands are not on this machine.
    """
    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise HostFailure(
            f"Slurm's {', '.join(missing)} is not on this machine. Start the worker on a login node of the cluster, or "
            f"install its client (Debian: apt install slurm-client)."
        )


async def slurm_command(*command: str, text: bytes = b"") -> str:
    """What a command of Slurm's prints.

    Raises:
        HostFailure: it is not there, failed, or did not answer in time; with its own words.
    """
    environment = {name: os.environ[name] for name in _FOR_COMMANDS if name in os.environ} | {"LC_ALL": "C"}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        raise HostFailure(f"{command[0]} cannot be started: {error}.") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(text), _COMMAND_S)
    except TimeoutError:
        raise HostFailure(f"{command[0]} did not answer within {_COMMAND_S:.0f} s. Is slurmctld up?") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        said = err.decode(errors="replace").strip()[-500:] or f"status {process.returncode}"
        raise HostFailure(f"{command[0]}: {said}")
    return out.decode(errors="replace")


async def list_jobs(prefix: str) -> list[SlurmJob]:
    """This user's jobs whose name begins with ``prefix``, those too that ended in the last minutes; one call.

    Raises:
        HostFailure: Slurm does not answer.
    """
    answer = await slurm_command(
        *("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}"),
        *("-o", "%i|%j|%T|%N|%r"),
    )
    jobs = []
    for line in answer.splitlines():
        words = line.strip().split("|", 4)
        if len(words) == 5 and words[1].startswith(prefix):
            jobs.append(SlurmJob(*words))
    return jobs


def seen_of(job: SlurmJob) -> Seen:
    """The queue's line as the worker sees it."""
    if job.state in _WAITING:
        return Seen(SeenState.WAITING, text=job.reason)
    if job.state in _RUNNING:
        return Seen(SeenState.RUNNING, job.nodes)
    if job.state == "COMPLETED":
        return Seen(SeenState.ENDED, job.nodes)
    return Seen(SeenState.LOST, job.nodes, f"{_WHY.get(job.state, 'it ended')} ({job.state})")


async def cancel(job_ids: Iterable[str]) -> None:
    """End jobs; those that are over already are no failure.

    Raises:
        HostFailure: Slurm does not answer.
    """
    ids = sorted(job_ids)
    for start in range(0, len(ids), _CANCEL_AT_ONCE):
        await slurm_command("scancel", "--quiet", *ids[start : start + _CANCEL_AT_ONCE])


async def end_all(prefix: str, *, poll_s: float) -> int:
    """End this user's jobs whose name begins with ``prefix``, and wait until they are gone; how many there were.

    Raises:
        HostFailure: Slurm does not answer.
    """
    left = {job.job_id.partition("_")[0] for job in await list_jobs(prefix) if not job.is_over}
    if not left:
        return 0
    await cancel(left)
    try:
        async with asyncio.timeout(_GONE_S):
            while any(not job.is_over for job in await list_jobs(prefix)):  # noqa: ASYNC110 - nobody calls back
                await asyncio.sleep(min(poll_s, 1.0))
    except TimeoutError:
        _log.warning("jobs do not end", jobs=sorted(left))
    return len(left)


def limits_of(cell: Cell, options: EngineOptions) -> tuple[int, int, int, int]:
    """Minutes, MiB, processors and graphics processors that a cell is to be given."""
    minutes = math.ceil(cell.limit_s / 60)
    memory = math.ceil((cell.memory_bytes + options.memory_overhead_bytes) / (1 << 20))
    return minutes, memory, cell.cpus, cell.gpus


def gpu_lines(gpus: int, options: EngineOptions) -> Sequence[str]:
    """What a submission says of graphics processors; nothing when it wants none."""
    kind = f"{options.gpu_type}:" if options.gpu_type else ""
    return (f"--gres=gpu:{kind}{gpus}",) if gpus else ()


def common_lines(options: EngineOptions) -> Sequence[str]:
    """What every submission says: where, on whose account, and what the owner adds."""
    lines = ["--parsable", "--no-requeue", "--open-mode=append", "--export=" + ",".join(NODE_VARIABLES)]
    if options.partition:
        lines.append(f"--partition={options.partition}")
    if options.account:
        lines.append(f"--account={options.account}")
    return [*lines, *options.submit]
