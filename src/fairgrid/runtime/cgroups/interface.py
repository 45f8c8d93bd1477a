"""What a group of processes is to a sandbox, whoever keeps it: cgroups of either version, an engine, or a look at
``/proc``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Caps", "Controls", "JobGroup", "OpenGroup", "Reading"]


@dataclass(frozen=True, slots=True)
class Caps:
    """What one job's processes may use together; None: somebody else limits it."""

    memory_bytes: int
    processes: int | None = None
    cpus: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What they used until now."""

    cpu_s: float
    peak_memory_bytes: int
    out_of_memory: bool
    """The memory limit struck."""
    refused_processes: int = 0
    """How often a process or thread was refused; 0 where nobody counts it."""


class JobGroup(Protocol):
    """The processes of one job."""

    def read(self) -> Reading: ...

    def pids(self) -> Collection[int]:
        """The processes that there are at this moment, as this machine numbers them."""
        ...

    def suspend(self) -> None:
        """Let every process stand still. Never raises."""
        ...

    def resume(self) -> None: ...

    def kill(self) -> None:
        """Kill every process, suspended or not. Never raises."""
        ...

    def remove(self) -> None:
        """Forget the group, whose processes are gone. Blocking, for seconds at most. Never raises; what cannot be
        removed now, a later worker removes."""
        ...


class OpenGroup(JobGroup, Protocol):
    """One that its maker puts the first process into."""

    def add(self, pid: int) -> None:
        """Take a process in; all that it starts from now on belongs to the group.

        Raises:
            OSError: it cannot be.
        """
        ...


class Controls(Protocol):
    """One way to limit and to meter the processes that this process starts."""

    @property
    def summary(self) -> str:
        """What it is, for people."""
        ...

    @property
    def limits_memory(self) -> bool:
        """True: the kernel keeps the memory limit itself."""
        ...

    @property
    def limits_processes(self) -> bool: ...

    def new_group(self, name: str, caps: Caps) -> OpenGroup:
        """Make a group with limits.

        Raises:
            OSError: the machine refuses.
        """
        ...
