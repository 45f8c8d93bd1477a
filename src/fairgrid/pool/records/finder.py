"""Finds the task of an id among those that have not begun: a deal's tasks are numbers, and ids are made of them.

The ids of a deal are worked out once, when somebody first asks, in steps that let others go on; 8 bytes are kept of
each. So an unknown id costs nothing once every live deal was looked through.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections import OrderedDict

from fairgrid.pool.core.bags import first_line
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.task_state import StoryLine, TaskState
from fairgrid.protocol.ids import task_id as id_of_task

__all__ = ["TaskFinder"]

_STEP = 500
_INDEX_BITS = 24
_MOST_IDS = 4_000_000


class TaskFinder:
    """Asks a machine for its live deals; remembers the ids of at most 4 million tasks, the last asked for."""

    def __init__(self, machine: PoolMachine) -> None:
        self._machine = machine
        self._ids: OrderedDict[tuple[str, int, int], array[int]] = OrderedDict()
        self._lock = asyncio.Lock()

    async def find(self, task_id: str) -> TaskState | None:
        """What is to be told of a task that has not begun; None if it is none of a live deal's."""
        async with self._lock:
            for bag in [bag for bag in self._machine.bags.values() if bag.left and bag.size < 1 << _INDEX_BITS]:
                place = await self._place(bag, task_id)
                if place is not None:
                    return _told(bag, task_id, bag.first + place)
        return None

    async def _place(self, bag: Bag, task_id: str) -> int | None:
        key = (bag.deal.deal_id, bag.first, bag.size)
        known = self._ids.get(key)
        if known is None:
            known = self._ids[key] = await _ids_of(bag)
            while sum(len(ids) for ids in self._ids.values()) > _MOST_IDS and len(self._ids) > 1:
                self._ids.popitem(last=False)
        self._ids.move_to_end(key)
        wanted = _prefix(task_id)
        at = bisect_left(known, wanted << _INDEX_BITS)
        while at < len(known) and known[at] >> _INDEX_BITS == wanted:
            place = known[at] & ((1 << _INDEX_BITS) - 1)
            if id_of_task(bag.deal.deal_id, bag.first + place) == task_id:
                return place
            at += 1
        return None


async def _ids_of(bag: Bag) -> array[int]:
    """The first 40 bits of each id with the task's place in the bag, in order."""
    found: list[int] = []
    for start in range(0, bag.size, _STEP):
        found += [
            _prefix(id_of_task(bag.deal.deal_id, bag.first + place)) << _INDEX_BITS | place
            for place in range(start, min(start + _STEP, bag.size))
        ]
        await asyncio.sleep(0)
    found.sort()
    return array("Q", found)


def _prefix(task_id: str) -> int:
    return int(task_id[2:12], 16)


def _told(bag: Bag, task_id: str, index: int) -> TaskState:
    task = TaskState(task_id=task_id, index=index, deal=bag.deal, created_at=bag.created_at)
    task.story.append(StoryLine(task_id, 1, bag.created_at, first_line(bag)))
    waits = bag.deal.refusal or "It waits until the pool has room for it."
    task.story.append(StoryLine(task_id, 2, bag.created_at, waits))
    return task
