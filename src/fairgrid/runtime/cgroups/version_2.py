"""A job's group under cgroups of version 2: one folder."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from fairgrid.runtime.cgroups.files import field_of, kill_all, number_of, pids_below, remove_below
from fairgrid.runtime.cgroups.interface import Caps, Reading

__all__ = ["CONTROLLERS", "GroupV2", "pass_controllers_on"]

CONTROLLERS: Final = ("cpu", "memory", "pids")
_PERIOD_US: Final = 100_000
_REMOVE_S: Final = 5.0


class GroupV2:
    """Implements `OpenGroup`."""

    def __init__(self, folder: Path, caps: Caps, *, for_groups_inside: bool = False) -> None:
        """Make ``folder``. ``for_groups_inside``: an engine will make groups of its own in it.

        Raises:
            OSError: the machine refuses; nothing is left.
        """
        self._folder = folder
        self._peak = 0
        try:
            folder.mkdir()
            if for_groups_inside:
                pass_controllers_on(folder)
            self._write("memory.max", str(caps.memory_bytes))
            with contextlib.suppress(OSError):
                self._write("memory.swap.max", "0")
            with contextlib.suppress(OSError):
                self._write("memory.oom.group", "1")
            if caps.processes is not None:
                self._write("pids.max", str(caps.processes))
            if caps.cpus is not None:
                self._write("cpu.max", f"{_PERIOD_US * caps.cpus} {_PERIOD_US}")
        except OSError:
            self.remove()
            raise

    def add(self, pid: int) -> None:
        """See `OpenGroup`."""
        self._write("cgroup.procs", str(pid))

    def read(self) -> Reading:
        """See `JobGroup`."""
        # Kernels before 5.19 keep no peak; then it is the largest of the looks.
        looks = (number_of(self._folder / name) for name in ("memory.peak", "memory.current"))
        self._peak = max(self._peak, *looks)
        return Reading(
            cpu_s=field_of(self._folder / "cpu.stat", "usage_usec") / 1e6,
            peak_memory_bytes=self._peak,
            out_of_memory=field_of(self._folder / "memory.events", "oom_kill") > 0,
            refused_processes=field_of(self._folder / "pids.events", "max"),
        )

    def pids(self) -> Collection[int]:
        """See `JobGroup`."""
        return pids_below(self._folder)

    def suspend(self) -> None:
        """See `JobGroup`."""
        self._freeze("1")

    def resume(self) -> None:
        """See `JobGroup`."""
        self._freeze("0")

    def _freeze(self, state: str) -> None:
        with contextlib.suppress(OSError):
            self._write("cgroup.freeze", state)

    def kill(self) -> None:
        """See `JobGroup`."""
        try:
            # One step on kernels from 5.14 on.
            if not (self._folder / "cgroup.kill").exists():
                raise FileNotFoundError
            self._write("cgroup.kill", "1")
        except OSError:
            kill_all(self.pids())
        self.resume()

    def remove(self) -> None:
        """See `JobGroup`."""
        remove_below((self._folder,), within_s=_REMOVE_S)

    def _write(self, name: str, value: str) -> None:
        (self._folder / name).write_text(value)


def pass_controllers_on(folder: Path) -> None:
    """Let groups in ``folder`` have limits.

    Raises:
        OSError: it is not ours to give, or ``folder`` holds processes itself.
    """
    control = folder / "cgroup.subtree_control"
    has = control.read_text().split() if control.exists() else []
    missing = [name for name in CONTROLLERS if name not in has]
    if missing:
        control.write_text(" ".join(f"+{name}" for name in missing))
