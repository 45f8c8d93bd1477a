"""What a pool is doing at one moment, in numbers that name nobody: for metrics, for the dashboard, for its operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.phases import Phase

__all__ = ["WORKER_STATES", "Census", "PoolNumbers", "numbers_of"]

WORKER_STATES = ("joining", "idle", "busy", "quarantined")
"""Each connected worker is in one of these: it has not said yet what it holds; has a slot free; has none; gets none."""


@dataclass(frozen=True, slots=True)
class PoolNumbers:
    """Counts of a moment. Times are in seconds."""

    at: float
    workers: Mapping[str, int]
    """Connected workers by state (`WORKER_STATES`)."""
    owners: int
    slots: int
    free_slots: int
    tasks: Mapping[str, int]
    """Tasks in memory by phase; those that are over stay there for a while."""
    unbegun_tasks: int
    """Tasks of accepted deals that have not begun: there was no room for them yet."""
    waiting_tasks: int
    """Tasks that have begun and lack a worker."""
    oldest_wait_s: float
    """How long the longest of all that wait has waited since the pool took it."""
    deals: int
    """Deals of which something is still expected."""
    leases: int
    """Replicas that compute now."""
    quarantined: int
    """Known workers in quarantine, connected or not."""
    known_workers: int
    """Workers of which the pool has a record."""
    banned: int
    """Addresses of workers and owners that are banned."""
    owed_nrlc: int
    """What the pool owes workers for audits."""


class Census:
    """Counts what is in memory, at most once a second."""

    def __init__(self, machine: PoolMachine) -> None:
        self._machine = machine
        self._last: PoolNumbers | None = None

    def numbers(self, now: float) -> PoolNumbers:
        """What the pool is doing at local time ``now``, or what it did less than a second before."""
        if self._last is None or not 0 <= now - self._last.at < 1.0:
            self._last = numbers_of(self._machine, now=now)
        return self._last


def numbers_of(machine: PoolMachine, *, now: float) -> PoolNumbers:
    """Count once over everything that is in memory: 10,000 workers take some milliseconds."""
    quarantined = {name for name, known in machine.standings.items() if known.is_quarantined(now)}
    workers: Counter[str] = Counter(dict.fromkeys(WORKER_STATES, 0))
    owners: set[str] = set()
    slots = free_slots = leases = 0
    for worker in machine.workers.values():
        owners.add(worker.owner)
        slots += worker.slots
        free_slots += worker.free_slots
        if not worker.ready:
            workers["joining"] += 1
        elif worker.worker in quarantined:
            workers["quarantined"] += 1
        else:
            workers["idle" if worker.free_slots else "busy"] += 1
        leases += machine.leases_of(worker.worker)
    tasks: Counter[str] = Counter(dict.fromkeys((phase.value for phase in Phase), 0))
    for task in machine.tasks.values():
        tasks[task.phase.value] += 1
    waiting = [machine.tasks[task_id].created_at for task_id in machine.waiting if task_id in machine.tasks]
    unbegun = [bag for bag in machine.bags.values() if bag.left]
    since = min((*waiting, *(bag.created_at for bag in unbegun)), default=now)
    return PoolNumbers(
        at=now,
        workers=workers,
        owners=len(owners),
        slots=slots,
        free_slots=free_slots,
        tasks=tasks,
        unbegun_tasks=sum(bag.left for bag in unbegun),
        waiting_tasks=len(waiting),
        oldest_wait_s=max(now - since, 0.0),
        deals=len(machine.bags),
        leases=leases,
        quarantined=len(quarantined),
        known_workers=len(machine.standings),
        banned=len(machine.bans),
        owed_nrlc=sum(known.owed_nrlc for known in machine.standings.values()),
    )
