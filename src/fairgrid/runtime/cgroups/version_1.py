"""A job's group under cgroups of version 1: a folder in the tree of each controller."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from fairgrid.runtime.cgroups.files import field_of, kill_all, number_of, pids_below, remove_below
from fairgrid.runtime.cgroups.interface import Caps, Reading

__all__ = ["GroupV1"]

_PERIOD_US: Final = 100_000
_REMOVE_S: Final = 5.0


class GroupV1:
    """Implements `OpenGroup`. ``folders`` gives for each controller the folder that becomes the job's."""

    def __init__(
        self, folders: Mapping[str, Path], caps: Caps, *, everywhere: Callable[[], Iterable[Path]] | None = None
    ) -> None:
        """``everywhere``: all folders of the job, where others make folders inside it, in trees of their own choice.

        Raises:
            OSError: the machine refuses; nothing is left.
        """
        self._folders = dict(folders)
        self._places = set(self._folders.values())
        self._everywhere = everywhere
        self._events = self._control = -1
        self._struck = False
        try:
            self._make(caps)
        except OSError:
            self.remove()
            raise

    def _make(self, caps: Caps) -> None:
        for folder in self._places:
            folder.mkdir()
        memory = self._folders["memory"]
        _write(memory / "memory.limit_in_bytes", caps.memory_bytes)
        # A kernel without accounts of swap has no such file.
        swap = memory / "memory.memsw.limit_in_bytes"
        if swap.exists():
            _write(swap, caps.memory_bytes)
        if caps.processes is not None:
            _write(self._folders["pids"] / "pids.max", caps.processes)
        if caps.cpus is not None and "cpu" in self._folders:
            _write(self._folders["cpu"] / "cpu.cfs_period_us", _PERIOD_US)
            _write(self._folders["cpu"] / "cpu.cfs_quota_us", _PERIOD_US * caps.cpus)
        if self._everywhere is not None:
            self._watch(memory)

    def _watch(self, memory: Path) -> None:
        """Have the kernel raise a counter when the limit of this folder strikes in a folder inside it: the folder's
        own count of kills misses those."""
        self._events = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._control = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        (memory / "cgroup.event_control").write_text(f"{self._events} {self._control}")

    def add(self, pid: int) -> None:
        """See `OpenGroup`."""
        for folder in self._places:
            _write(folder / "cgroup.procs", pid)

    def read(self) -> Reading:
        """See `JobGroup`."""
        memory = self._folders["memory"]
        return Reading(
            cpu_s=number_of(self._folders["cpuacct"] / "cpuacct.usage") / 1e9,
            peak_memory_bytes=number_of(memory / "memory.max_usage_in_bytes"),
            out_of_memory=self._memory_struck(),
            refused_processes=field_of(self._folders["pids"] / "pids.events", "max") if "pids" in self._folders else 0,
        )

    def _memory_struck(self) -> bool:
        if not self._struck and self._events >= 0:
            with contextlib.suppress(BlockingIOError):
                self._struck = os.eventfd_read(self._events) > 0
        if not self._struck:
            self._struck = field_of(self._folders["memory"] / "memory.oom_control", "oom_kill") > 0
        return self._struck

    def pids(self) -> Collection[int]:
        """See `JobGroup`."""
        if self._everywhere is None:
            return pids_below(self._folders["pids"])
        # An engine moves a process into one tree after the other.
        return {pid for place in self._places for pid in pids_below(place)}

    def suspend(self) -> None:
        """See `JobGroup`."""
        self._freeze("FROZEN")

    def resume(self) -> None:
        """See `JobGroup`."""
        self._freeze("THAWED")

    def _freeze(self, state: str) -> None:
        if "freezer" in self._folders:
            with contextlib.suppress(OSError):
                (self._folders["freezer"] / "freezer.state").write_text(state)

    def kill(self) -> None:
        """See `JobGroup`."""
        kill_all(self.pids())
        # What is frozen dies when it is thawed.
        self.resume()
        kill_all(self.pids())

    def remove(self) -> None:
        """See `JobGroup`."""
        for descriptor in (self._events, self._control):
            if descriptor >= 0:
                os.close(descriptor)
        self._events = self._control = -1
        remove_below(self._everywhere() if self._everywhere is not None else self._places, within_s=_REMOVE_S)


def _write(path: Path, value: int) -> None:
    path.write_text(str(value))
