"""What the scheduler counts of each worker and of each deal beside their tasks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from sortedcontainers import SortedList

from fairgrid.pool.core.phases import EXPECTED_PHASES, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState

__all__ = ["Burden", "Burdens", "DealRecord", "Part"]

_REMEMBERED_TIMES = 101
_LEASED = ReplicaPhase.LEASED  # Read once: Python 3.11 looks a member up by a function of its class.


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


_NOBODY = Burden()


class Burdens:
    """The burden of every worker that has a part in a task that is here, and the parts of every owner."""

    def __init__(self) -> None:
        self._of_worker: dict[str, Burden] = {}
        self._of_owner: dict[str, dict[str, Part]] = {}

    def of(self, worker: str) -> Burden:
        """What a worker has on its hands; read only."""
        return self._of_worker.get(worker, _NOBODY)

    def of_owner(self, owner: str) -> tuple[Part, ...]:
        """All parts of an owner's workers."""
        return tuple(self._of_owner.get(owner, {}).values())

    def enter(self, task: TaskState, replica: Replica, record: DealRecord) -> None:
        """A worker has a part more; ``record`` is that of the task's deal."""
        part = Part(task, replica)
        burden = self._of_worker.get(replica.worker)
        if burden is None:
            burden = self._of_worker[replica.worker] = Burden()
        burden.parts[replica.lease_id] = part
        burden.owing += replica.owes_opening
        self._of_owner.setdefault(replica.owner, {})[replica.lease_id] = part
        if replica.phase is _LEASED:
            _lease_begins(burden, part, record)
        if replica.phase in EXPECTED_PHASES:
            burden.reserved += task.stake

    def leave(self, task: TaskState, replica: Replica, record: DealRecord) -> None:
        """A worker's part is over and forgotten."""
        burden = self._of_worker[replica.worker]
        if replica.phase is _LEASED:
            _lease_ends(burden, burden.parts[replica.lease_id], record)
        del burden.parts[replica.lease_id]
        burden.owing -= replica.owes_opening
        if replica.phase in EXPECTED_PHASES:
            burden.reserved -= task.stake
        if not burden.parts:
            del self._of_worker[replica.worker]
        others = self._of_owner[replica.owner]
        del others[replica.lease_id]
        if not others:
            del self._of_owner[replica.owner]

    def move(self, task: TaskState, replica: Replica, phase: ReplicaPhase, record: DealRecord) -> None:
        """Put a replica into another phase."""
        before, owed = replica.phase, replica.owes_opening
        replica.phase = phase
        burden = self._of_worker[replica.worker]
        burden.owing += replica.owes_opening - owed
        if (phase in EXPECTED_PHASES) != (before in EXPECTED_PHASES):
            burden.reserved += task.stake if phase in EXPECTED_PHASES else -task.stake
        if before is _LEASED:
            _lease_ends(burden, burden.parts[replica.lease_id], record)
        elif phase is _LEASED:
            _lease_begins(burden, burden.parts[replica.lease_id], record)

    def owe(self, worker: str, openings: int) -> None:
        """A worker owes so many openings more (or less)."""
        self._of_worker[worker].owing += openings

    def reserve(self, worker: str, nrlc: int) -> None:
        """A worker will lock so much more (or less)."""
        self._of_worker[worker].reserved += nrlc


def _lease_begins(burden: Burden, part: Part, record: DealRecord) -> None:
    replica = part.replica
    burden.leased[replica.lease_id] = part
    record.leased[replica.lease_id] = part
    record.spares += bool(replica.stands_for)


def _lease_ends(burden: Burden, part: Part, record: DealRecord) -> None:
    replica = part.replica
    del burden.leased[replica.lease_id]
    del record.leased[replica.lease_id]
    record.spares -= bool(replica.stands_for)
