"""Cgroups of version 2: a folder for the job, below a group that was delegated to this process or that root may use."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from fairgrid.runtime.process.controls import Caps, JobGroup, Reading, kill_all, listed, remove_stale

__all__ = ["CgroupV2", "find_v2"]

_CONTROLLERS: Final = ("cpu", "memory", "pids")
_PERIOD_US: Final = 100_000
_OWN_LEAF: Final = "fairgrid-agent"
_REMOVE_S: Final = 2.0


def find_v2(mounts: str, own_groups: str) -> CgroupV2 | None:
    """The controls, from the texts of ``/proc/self/mounts`` and ``/proc/self/cgroup``; None if they are not ours.

    A group that holds processes cannot give controllers to groups below it, so this process, if it is alone in a group
    that it may write, moves to a group of its own below.
    """
    points = [line.split(" ")[1] for line in mounts.splitlines() if line.split(" ")[2] == "cgroup2"]
    own = [line.removeprefix("0::") for line in own_groups.splitlines() if line.startswith("0::")]
    if not points or not own:
        return None
    base = Path(points[0] + own[0].rstrip("/"))
    if base.name == _OWN_LEAF:
        base = base.parent
    try:
        offered = (base / "cgroup.controllers").read_text().split()
        if not all(name in offered for name in _CONTROLLERS):
            return None
        _delegate(base)
    except OSError:
        return None
    return CgroupV2(base)


def _delegate(base: Path) -> None:
    """Give the controllers to groups below ``base``.

    Raises:
        OSError: it is not ours to give.
    """
    control = base / "cgroup.subtree_control"
    missing = [name for name in _CONTROLLERS if name not in control.read_text().split()]
    if not missing:
        return
    inside = (base / "cgroup.procs").read_text().split()
    if inside == [str(os.getpid())]:
        leaf = base / _OWN_LEAF
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    control.write_text(" ".join(f"+{name}" for name in missing))


class CgroupV2:
    """Implements `Controls`; groups are made below ``base``."""

    limits_memory = True
    limits_processes = True

    def __init__(self, base: Path) -> None:
        self._base = base
        remove_stale(base)

    @property
    def summary(self) -> str:
        """What it is, for people."""
        return "cgroups v2"

    def new_group(self, name: str, caps: Caps) -> JobGroup:
        """Make a group with limits.

        Raises:
            OSError: the machine refuses.
        """
        group = _Group(self._base / name)
        try:
            group.make(caps)
        except OSError:
            group.remove()
            raise
        return group


class _Group:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, caps: Caps) -> None:
        self._folder.mkdir()
        self._write("memory.max", str(caps.memory_bytes))
        with contextlib.suppress(OSError):
            self._write("memory.swap.max", "0")
        with contextlib.suppress(OSError):
            self._write("memory.oom.group", "1")
        self._write("pids.max", str(caps.processes))
        self._write("cpu.max", f"{_PERIOD_US * caps.cpus} {_PERIOD_US}")

    def add(self, pid: int) -> None:
        self._write("cgroup.procs", str(pid))

    def read(self) -> Reading:
        return Reading(
            cpu_s=self._field("cpu.stat", "usage_usec") / 1e6,
            peak_memory_bytes=self._peak(),
            out_of_memory=self._field("memory.events", "oom_kill") > 0,
            refused_processes=self._field("pids.events", "max"),
        )

    def pids(self) -> list[int]:
        return listed(self._folder / "cgroup.procs")

    def suspend(self) -> None:
        with contextlib.suppress(OSError):
            self._write("cgroup.freeze", "1")

    def resume(self) -> None:
        with contextlib.suppress(OSError):
            self._write("cgroup.freeze", "0")

    def kill(self) -> None:
        try:
            # One step on kernels from 5.14 on.
            if not (self._folder / "cgroup.kill").exists():
                raise FileNotFoundError
            self._write("cgroup.kill", "1")
        except OSError:
            kill_all(self._folder / "cgroup.procs")
        self.resume()

    def remove(self) -> None:
        until = time.monotonic() + _REMOVE_S
        while self._folder.exists():
            try:
                self._folder.rmdir()
            except OSError:
                if time.monotonic() > until:
                    break
                time.sleep(0.005)

    def _write(self, name: str, value: str) -> None:
        (self._folder / name).write_text(value)

    def _peak(self) -> int:
        for name in ("memory.peak", "memory.current"):
            with contextlib.suppress(OSError, ValueError):
                return int((self._folder / name).read_text())
        return 0

    def _field(self, file: str, name: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            for line in (self._folder / file).read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == name:
                    return int(value)
        return 0
