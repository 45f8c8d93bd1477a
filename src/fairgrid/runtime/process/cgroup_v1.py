"""Cgroups of version 1: a folder for the job in each controller's hierarchy, below this process's own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fairgrid.runtime.process.controls import Caps, JobGroup, Reading, kill_all, listed, remove_stale

__all__ = ["CgroupV1", "find_v1"]

_NEEDED: Final = ("memory", "pids", "cpuacct")
_HELPFUL: Final = ("cpu", "freezer")
_PERIOD_US: Final = 100_000
_REMOVE_S: Final = 2.0


def find_v1(mounts: str, own_groups: str) -> CgroupV1 | None:
    """The controls, from the texts of ``/proc/self/mounts`` and ``/proc/self/cgroup``; None if they are not ours."""
    own = dict(line.split(":", 2)[1:] for line in own_groups.splitlines() if line.count(":") >= 2)
    places: dict[str, Path] = {}
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split(" ")
        if kind != "cgroup":
            continue
        for joined, path in own.items():
            for name in set(joined.split(",")) & set(options.split(",")) & {*_NEEDED, *_HELPFUL}:
                inside = Path(point + path)
                # In a container the hierarchy may be mounted from the own group on.
                places[name] = inside if inside.is_dir() else Path(point)
    usable = {name: place for name, place in places.items() if _may_make(place)}
    return CgroupV1(usable) if all(name in usable for name in _NEEDED) else None


class CgroupV1:
    """Implements `Controls`. ``places`` gives for each controller the folder below which groups are made."""

    limits_memory = True
    limits_processes = True

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = dict(places)
        for place in set(self._places.values()):
            remove_stale(place)

    @property
    def summary(self) -> str:
        """What it is, for people."""
        return f"cgroups v1 ({', '.join(sorted(self._places))})"

    def new_group(self, name: str, caps: Caps) -> JobGroup:
        """Make a group with limits.

        Raises:
            OSError: the machine refuses.
        """
        group = _Group({controller: place / name for controller, place in self._places.items()})
        try:
            group.make(caps)
        except OSError:
            group.remove()
            raise
        return group


class _Group:
    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders

    def make(self, caps: Caps) -> None:
        for folder in set(self._folders.values()):
            folder.mkdir()
        memory = self._folders["memory"]
        _write(memory / "memory.limit_in_bytes", caps.memory_bytes)
        swap = memory / "memory.memsw.limit_in_bytes"
        if swap.exists():
            _write(swap, caps.memory_bytes)
        _write(self._folders["pids"] / "pids.max", caps.processes)
        if "cpu" in self._folders:
            _write(self._folders["cpu"] / "cpu.cfs_period_us", _PERIOD_US)
            _write(self._folders["cpu"] / "cpu.cfs_quota_us", _PERIOD_US * caps.cpus)

    def add(self, pid: int) -> None:
        for folder in set(self._folders.values()):
            _write(folder / "cgroup.procs", pid)

    def read(self) -> Reading:
        memory = self._folders["memory"]
        return Reading(
            cpu_s=_number(self._folders["cpuacct"] / "cpuacct.usage") / 1e9,
            peak_memory_bytes=_number(memory / "memory.max_usage_in_bytes"),
            out_of_memory=_field(memory / "memory.oom_control", "oom_kill") > 0,
            refused_processes=_field(self._folders["pids"] / "pids.events", "max"),
        )

    def pids(self) -> list[int]:
        return listed(self._folders["pids"] / "cgroup.procs")

    def suspend(self) -> None:
        self._freeze("FROZEN")

    def resume(self) -> None:
        self._freeze("THAWED")

    def _freeze(self, state: str) -> None:
        if "freezer" in self._folders:
            with contextlib.suppress(OSError):
                (self._folders["freezer"] / "freezer.state").write_text(state)

    def kill(self) -> None:
        kill_all(self._folders["pids"] / "cgroup.procs")
        # What is frozen dies when it is thawed.
        self.resume()
        kill_all(self._folders["pids"] / "cgroup.procs")

    def remove(self) -> None:
        until = time.monotonic() + _REMOVE_S
        for folder in set(self._folders.values()):
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    # The kernel lets go of a group a moment after its last process.
                    if time.monotonic() > until:
                        break
                    time.sleep(0.005)


def _may_make(place: Path) -> bool:
    probe = place / f"fairgrid-probe-{time.monotonic_ns()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def _write(path: Path, value: int) -> None:
    path.write_text(str(value))


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _field(path: Path, name: str) -> int:
    try:
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0
