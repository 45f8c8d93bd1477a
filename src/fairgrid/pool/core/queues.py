"""The scheduler's three queues, kept in order as things change: deals with tasks left, waiting tasks, idle workers."""

from __future__ import annotations

from collections.abc import Iterator

from sortedcontainers import SortedList

from fairgrid.pool.core.matcher import Urgency

__all__ = ["RETRY_S", "BagQueue", "IdleWorkers", "WaitingTasks"]

RETRY_S = 30.0
"""Idle workers that did not suit a task are offered to it again after so long, in seconds of local time."""


class BagQueue:
    """Deals of which tasks have not begun, the most urgent first."""

    def __init__(self) -> None:
        self._order: SortedList = SortedList()
        self._keys: dict[str, tuple[Urgency, str]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, deal_id: object) -> bool:
        return deal_id in self._keys

    def put(self, deal_id: str, urgency: Urgency) -> None:
        """Add a deal, or move it to where it belongs now."""
        key = (urgency, deal_id)
        known = self._keys.get(deal_id)
        if known == key:
            return
        if known is not None:
            self._order.remove(known)
        self._keys[deal_id] = key
        self._order.add(key)

    def remove(self, deal_id: str) -> None:
        """Take a deal out; one that is not here is nothing."""
        known = self._keys.pop(deal_id, None)
        if known is not None:
            self._order.remove(known)

    def first(self) -> str | None:
        return self._order[0][1] if self._keys else None


class WaitingTasks:
    """Tasks that lack workers, the most urgent first.

    Of each is remembered which idle workers were in vain: all that arrived up to a serial number of `IdleWorkers`.
    """

    def __init__(self) -> None:
        self._order: SortedList = SortedList()
        self._keys: dict[str, tuple[Urgency, str]] = {}
        self._tried: dict[str, int] = {}
        self._untried: dict[str, None] = {}
        self._barren: dict[str, tuple[int, float]] = {}
        self._passed_at = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def add(self, task_id: str, urgency: Urgency) -> None:
        """Have a task wait for any worker."""
        self._tried[task_id] = 0
        self._untried[task_id] = None
        if task_id not in self._keys:
            key = (urgency, task_id)
            self._keys[task_id] = key
            self._order.add(key)

    def remove(self, task_id: str) -> None:
        """It waits no more; one that does not wait is nothing."""
        key = self._keys.pop(task_id, None)
        if key is not None:
            self._order.remove(key)
            del self._tried[task_id]
            self._untried.pop(task_id, None)

    def tried(self, task_id: str, deal_id: str, *, untouched: bool, now: float) -> int:
        """Up to which arrival idle workers were in vain for a task; an ``untouched`` one (without replicas) learns
        from the others of its deal, which need the same."""
        tried = self._tried[task_id]
        if untouched:
            arrival, until = self._barren.get(deal_id, (0, 0.0))
            if now < until:
                return max(tried, arrival)
        return tried

    def in_vain(self, task_id: str, deal_id: str, arrival: int, *, untouched: bool, now: float) -> None:
        """No idle worker that arrived up to ``arrival`` suits."""
        self._tried[task_id] = arrival
        self._untried.pop(task_id, None)
        if untouched:
            until = self._barren.get(deal_id, (0, 0.0))[1]
            self._barren[deal_id] = (arrival, until if now < until else now + RETRY_S)

    def forget_deal(self, deal_id: str) -> None:
        """The deal is over."""
        self._barren.pop(deal_id, None)

    def to_serve(self, arrival: int) -> Iterator[str]:
        """The tasks to try with the idle workers, of which the newest is ``arrival``; tasks may be removed meanwhile.

        While no worker arrived since the last pass, only those that were not tried yet.
        """
        if arrival == self._passed_at:
            for _, task_id in sorted(self._keys[task_id] for task_id in self._untried):
                yield task_id
            return
        place = 0
        while place < len(self._order):
            task_id = self._order[place][1]
            if self._tried[task_id] != arrival:
                yield task_id
                if place < len(self._order) and self._order[place][1] != task_id:
                    continue
            place += 1
        self._passed_at = arrival


class IdleWorkers:
    """Workers with a free slot: fewest failures first, then least used, then by address.

    ``arrival`` counts how often one came in, or changed so that it may suit whom it did not suit before.
    """

    def __init__(self) -> None:
        self._orders: dict[bool, SortedList] = {False: SortedList(), True: SortedList()}
        self._keys: dict[str, tuple[int, int, str]] = {}
        self._experienced: dict[str, None] = {}
        self._arrivals: dict[str, int] = {}
        self.arrival = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, worker: str) -> bool:
        return worker in self._keys

    def put(self, worker: str, failures: int, leases: int, *, experienced: bool, anew: bool) -> None:
        """Add a worker or move it to its place. ``anew``: whom it did not suit before may be tried again."""
        key = (failures, leases, worker)
        known = self._keys.get(worker)
        if known is None or anew or experienced != (worker in self._experienced):
            self.arrival += 1
            self._arrivals.pop(worker, None)
            self._arrivals[worker] = self.arrival
        elif known == key:
            return
        if known is not None:
            self._take_out(worker, known)
        self._keys[worker] = key
        self._orders[False].add(key)
        if experienced:
            self._experienced[worker] = None
            self._orders[True].add(key)

    def remove(self, worker: str) -> None:
        """It is idle no more; one that is not is nothing."""
        known = self._keys.pop(worker, None)
        if known is not None:
            self._take_out(worker, known)
            del self._arrivals[worker]

    def in_order(self, *, after: int = 0, experienced: bool = False) -> Iterator[str]:
        """Those that arrived ``after``, in order, or only the ``experienced``. Stop before changing anything."""
        if not after:
            for key in self._orders[experienced]:
                yield key[2]
            return
        newer = []
        for worker in reversed(self._arrivals):
            if self._arrivals[worker] <= after:
                break
            if not experienced or worker in self._experienced:
                newer.append(self._keys[worker])
        for key in sorted(newer):
            yield key[2]

    def _take_out(self, worker: str, key: tuple[int, int, str]) -> None:
        self._orders[False].remove(key)
        if worker in self._experienced:
            del self._experienced[worker]
            self._orders[True].remove(key)
