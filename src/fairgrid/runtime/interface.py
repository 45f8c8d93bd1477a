"""The sandbox seam: run a job with inputs, limits and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.watch import JobWatch

__all__ = ["Limits", "Outcome", "Preparing", "Sandbox", "SandboxJob", "Stop"]


class Stop(StrEnum):
    """Why a job ended. All but CPU, WALL_CLOCK and HOST are deterministic, hence results (decision 6)."""

    EXITED = "exited"
    FUEL = "fuel"
    MEMORY = "memory"
    OUTPUT = "output"
    CPU = "cpu"
    """Processor time, on levels that have no fuel: machines differ in it."""
    WALL_CLOCK = "wall_clock"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one job."""

    fuel: int
    """Units of the engine's fuel; decision 47: 10^9 for each second of timeref by default. Only WebAssembly has it."""
    memory_bytes: int = 1 << 30
    output_bytes: int = 256 << 20
    output_files: int = 10_000
    log_bytes: int = 1 << 20
    """Bytes kept of each of stdout and stderr; the rest is cut with a marker line (decision 40)."""
    wall_s: float = 300.0
    cpus: int = 1
    """Processors that the job may keep busy at once; WebAssembly uses one."""
    cpu_s: float | None = None
    """Seconds of processor time of all its processes together; None: ``wall_s * cpus``. WebAssembly has fuel."""
    processes: int = 256
    """Processes and threads at once. WebAssembly has one."""


@dataclass(frozen=True, slots=True)
class SandboxJob:
    """What the sandbox is to run. Folders are on this machine; the job sees /iexec_in (read-only) and /iexec_out."""

    script: Path
    arguments: tuple[str, ...]
    input_folder: Path
    output_folder: Path
    environment: dict[str, str]
    seed: bytes
    limits: Limits
    checkpoint: bool = False
    """True: the job also sees /fairgrid_checkpoint, a writable folder."""
    checkpoint_folder: Path | None = None
    """Where what the job renames into place there survives, and what it goes on from; None: nothing survives."""
    watch: JobWatch | None = None
    """Who looks on while it runs."""
    gpus: tuple[int, ...] = ()
    """Numbers of the graphics processors that it may use, as the machine's driver counts them."""
    network: NetworkGrant | None = None
    """What deal and owner both allow it to connect to; None: nothing. WebAssembly and virtual machines never can."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. ``stdout`` and ``stderr`` are already cut to the log limit."""

    stop: Stop
    exit_code: int
    stdout: bytes
    stderr: bytes
    fuel_used: int
    wall_s: float
    peak_memory_bytes: int
    detail: str = ""
    resumed: bool = False
    """True when it went on from a checkpoint; ``fuel_used`` then counts what was spent before, too."""
    cpu_s: float = 0.0
    """Processor time of this run, in seconds."""
    written_bytes: int = 0
    """Bytes of the files that it left in its output folder."""
    network_bytes: int = 0
    """What went through its connections, both ways."""


class Sandbox(Protocol):
    """Runs one job at a time per call, in a process of its own; cancelling the call kills the job."""

    @property
    def runtime_id(self) -> str:
        """Engine, version and class, e.g. ``wasmtime-49/py312/deterministic`` (decision 13)."""
        ...

    async def run(self, job: SandboxJob) -> Outcome:
        """Run to the end or to a limit. Never raises for what the job does; `HostFailure` if it cannot start."""
        ...

    async def close(self) -> None:
        """End what is kept ready for jobs to come. Every job has ended before; a closed sandbox starts none ahead."""
        ...

    def suspend(self) -> bool:
        """Stop every running job, and those that start, until `resume`; False where the sandbox cannot.

        Jobs keep their memory. Suspended time does not count towards their wall-clock limits.
        """
        ...

    def resume(self) -> None:
        """Let every job go on."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A sandbox that makes something of a new program, once per machine. Whoever has it done ahead of `Sandbox.run`
    keeps that work out of the job's slot, time and accounts; who does not has it done there."""

    async def is_prepared(self, program: Path) -> bool:
        """Whether nothing is left to be made of it."""
        ...

    async def prepare(self, program: Path, tell: Callable[[str], None]) -> None:
        """Make it; ``tell`` hears now and then how far it is. Cancelling ends it, and leaves nothing half made.

        Raises:
            HostFailure: this machine cannot make it, or not within its limits.
        """
        ...
