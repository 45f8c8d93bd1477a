"""Limits and meters of all processes of one job together: cgroups of either version, or `/proc` without them."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

__all__ = [
    "GROUP_PREFIX",
    "Caps",
    "Controls",
    "JobGroup",
    "Reading",
    "group_name",
    "kill_all",
    "listed",
    "remove_stale",
]

GROUP_PREFIX: Final = "fairgrid-"


@dataclass(frozen=True, slots=True)
class Caps:
    """What one job's processes may use together."""

    memory_bytes: int
    processes: int
    cpus: int


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

    def add(self, pid: int) -> None:
        """Take a process in; all that it starts from now on belongs to the group.

        Raises:
            OSError: it cannot be.
        """
        ...

    def read(self) -> Reading: ...

    def pids(self) -> list[int]:
        """The processes that there are at this moment."""
        ...

    def suspend(self) -> None:
        """Let every process stand still. Never raises."""
        ...

    def resume(self) -> None: ...

    def kill(self) -> None:
        """Kill every process. Never raises."""
        ...

    def remove(self) -> None:
        """Forget the group, whose processes are gone. Never raises."""
        ...


class Controls(Protocol):
    """One way to limit and to meter."""

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

    def new_group(self, name: str, caps: Caps) -> JobGroup:
        """Make a group with limits.

        Raises:
            OSError: the machine refuses.
        """
        ...


def group_name(number: int) -> str:
    """The name of this process's group ``number``; it tells later whether who made it still lives."""
    return f"{GROUP_PREFIX}{os.getpid()}-{_started(os.getpid())}-{number}"


def remove_stale(folder: Path) -> None:
    """Remove groups below ``folder`` whose maker is gone; what still runs in one is killed."""
    with contextlib.suppress(OSError):
        for group in folder.glob(f"{GROUP_PREFIX}*-*-*"):
            pid, started = group.name.removeprefix(GROUP_PREFIX).split("-")[:2]
            if not pid.isdigit() or _started(int(pid)) == started:
                continue
            kill_all(group / "cgroup.procs")
            with contextlib.suppress(OSError):
                group.rmdir()


def listed(listing: Path) -> list[int]:
    """The processes that a ``cgroup.procs`` file lists."""
    try:
        return [int(line) for line in listing.read_text().split()]
    except (OSError, ValueError):
        return []


def kill_all(listing: Path) -> None:
    """Kill every process that a ``cgroup.procs`` file lists."""
    for pid in listed(listing):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
