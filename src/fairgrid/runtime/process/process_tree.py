"""Where no cgroups can be had: the job's processes are found in ``/proc``, metered, and ended by whoever looks."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

from fairgrid.runtime.cgroups.interface import Caps, OpenGroup, Reading

__all__ = ["ProcessTrees", "below"]

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_ROUNDS: Final = 20


class ProcessTrees:
    """Implements `Controls`. Limits strike when they are looked at, a moment late; processes are left to rlimits."""

    limits_memory = False
    limits_processes = False

    @property
    def summary(self) -> str:
        """What it is, for people."""
        return "no cgroups: memory and processor time are watched from outside"

    def new_group(self, name: str, caps: Caps) -> OpenGroup:
        """A group without anything in the kernel."""
        return _Tree(caps)


class _Tree:
    """All processes below the init of the job's pid namespace, where what loses its parent goes."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._init = 0
        self._handle = -1
        self._cpu_s = 0.0
        self._peak = 0
        self._too_much = False

    def add(self, pid: int) -> None:
        if self._handle < 0:
            self._handle = os.pidfd_open(pid)
            self._init = pid

    def read(self) -> Reading:
        ticks, memory = 0, 0
        for pid in self._all():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # What a process waited for is added to its own, so nothing is lost when a child ends.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(int(value) for value in fields[11:15])
                _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
                memory += (int(resident) - int(shared)) * _PAGE
        self._cpu_s = max(self._cpu_s, ticks / _TICKS_PER_S)
        self._peak = max(self._peak, memory)
        self._too_much = self._too_much or memory > self._caps.memory_bytes
        return Reading(self._cpu_s, self._peak, self._too_much)

    def pids(self) -> list[int]:
        return self._all()

    def suspend(self) -> None:
        stopped: set[int] = set()
        for _ in range(_ROUNDS):
            # What was started between two looks is found by the next.
            new = set(self._all()) - stopped
            if not new:
                return
            for pid in new:
                _signal(pid, signal.SIGSTOP)
            stopped |= new

    def resume(self) -> None:
        for pid in self._all():
            _signal(pid, signal.SIGCONT)

    def kill(self) -> None:
        # The kernel ends a pid namespace with its init.
        if self._handle >= 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def remove(self) -> None:
        self._init = 0
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _all(self) -> list[int]:
        return [self._init, *below(self._init)] if self._init else []


def below(pid: int) -> list[int]:
    """The processes that ``pid`` started, and those that these started."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with contextlib.suppress(OSError):
                    children = [int(word) for word in Path(f"/proc/{parent}/task/{task}/children").read_text().split()]
                    found += children
                    queue += children
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
