"""What the scheduler counts of each worker and of each deal beside their tasks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from sortedcontainers import SortedList

from fairgrid.pool.core.state import Replica, TaskState

__all__ = ["Burden", "DealRecord", "Part"]

_REMEMBERED_TIMES = 101


@dataclass(frozen=True, slots=True)
class Part:
    """A worker's replica and the task that it belongs to."""

    task: TaskState
    replica: Replica


@dataclass(slots=True)
class Burden:
    """What a worker has on its hands in the tasks that are here. Keys are lease ids."""

    parts: dict[str, Part] = field(default_factory=dict)
    leased: dict[str, Part] = field(default_factory=dict)
    reserved: int = 0
    """Deposit (nRLC) that it will lock for what it took on."""
    owing: int = 0
    """Seals that it was asked to open and did not yet."""


@dataclass(slots=True)
class DealRecord:
    """What is known of a deal besides its bag: its tasks that are here, and how long its replicas computed."""

    tasks: dict[str, None] = field(default_factory=dict)
    leased: dict[str, Part] = field(default_factory=dict)
    """Who computes, by lease id, the oldest lease first."""
    spares: int = 0
    recent: deque[float] = field(default_factory=deque)
    times: SortedList = field(default_factory=SortedList)

    def note_time(self, seconds: float) -> None:
        self.recent.append(seconds)
        self.times.add(seconds)
        if len(self.recent) > _REMEMBERED_TIMES:
            self.times.remove(self.recent.popleft())

    def median_time(self) -> float:
        return float(self.times[len(self.times) // 2])
