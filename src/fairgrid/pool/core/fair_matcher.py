"""The pool's own matcher: fair share between requesters, and a random draw among the workers that may have a task.

Random, because who can choose which tasks it gets can meet its friends there. The draw hangs on the pool's secret; the
rules about owners, networks, machines and quarantine are `dispatch`'s, whoever draws.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.fair_share import FairShare, weight_of_price
from fairgrid.pool.core.matcher import Urgency
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.worker_state import WorkerState
from fairgrid.protocol.cid import tail_of

__all__ = ["FairMatcher"]

_Value = TypeVar("_Value")

_DRAWN_FROM = 8
"""At trust 1 one of so many is drawn: fewest failures and least used first."""
_DRAWN_FROM_ABOVE = 32
"""Above trust 1 from more: agreement is what a group of friends would need."""
_HURRY_S = 60.0
_MOST_TAGS = 200_000
_BIG_INPUTS = 16 << 20
_LOOKED_THROUGH = 64
"""Among so many somebody is looked for that has large inputs already."""
_REMEMBERED_FILES = 64


class FairMatcher:
    """Keep one for each pool. The same questions in the same order get the same answers."""

    def __init__(self, secret: bytes, is_newcomer: Callable[[str, str], bool]) -> None:
        """``is_newcomer`` tells of worker and owner whether it has still to prove itself."""
        self._secret = secret
        self._is_newcomer = is_newcomer
        self._begin = FairShare()
        self._serve = FairShare()
        self._bags: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._tags: OrderedDict[str, float] = OrderedDict()
        self._sent: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()

    def bag_urgency(self, deal: DealTerms, begun: int, *, now: float) -> Urgency:
        """The deal of the requester that had least of its share so far."""
        known = self._bags.get(deal.deal_id)
        if known is None or known[0] != begun:
            if known is not None:
                self._begin.served(known[1])
            known = (begun, self._arrive(self._begin, deal))
            _keep(self._bags, deal.deal_id, known)
        return (known[1], deal.contribution_deadline, deal.deal_id)

    def task_urgency(self, task: TaskState, *, now: float) -> Urgency:
        """What is about to miss its deadline first; then the requester that had least of its share so far."""
        deal = task.deal
        tag = self._tags.get(task.task_id)
        if tag is None:
            tag = self._arrive(self._serve, deal)
            _keep(self._tags, task.task_id, tag)
        hurry = now >= deal.contribution_deadline - deal.timeref - _HURRY_S
        return (0 if hurry else 1, tag, deal.contribution_deadline, task.created_at, task.task_id)

    def pick(self, task: TaskState, candidates: Iterator[WorkerState], *, now: float) -> WorkerState | None:
        """One at random of the first that may have it; above trust 1 one that proved itself, until there is one."""
        width = _DRAWN_FROM if task.deal.trust <= 1 else _DRAWN_FROM_ABOVE
        found = list(islice(candidates, _LOOKED_THROUGH if self._may_stay_near(task) else width))
        if not found:
            return None
        if task.deal.trust > 1 and all(self._is_newcomer(part.worker, part.owner) for part in task.replicas):
            proven = [worker for worker in found if not self._is_newcomer(worker.worker, worker.owner)]
            found = proven or found
        chosen = self._draw(task, self._with_the_data(task, found) or found[:width])
        tag = self._tags.get(task.task_id)
        if tag is not None:
            self._serve.served(tag)
        self._remember(task, chosen)
        return chosen

    # --- draws and data -------------------------------------------------------------------------------------------

    def _draw(self, task: TaskState, among: list[WorkerState]) -> WorkerState:
        if len(among) == 1:
            return among[0]
        seed = self._secret + task.task_id.encode() + len(task.replicas).to_bytes(4, "big")
        number = int.from_bytes(hashlib.sha256(seed).digest()[:8], "big")
        return among[number % len(among)]

    @staticmethod
    def _may_stay_near(task: TaskState) -> bool:
        """Above trust 1 nobody may choose its tasks by what it says that it has."""
        return task.deal.trust <= 1 and task.deal.requirements.input_bytes >= _BIG_INPUTS

    def _with_the_data(self, task: TaskState, found: list[WorkerState]) -> list[WorkerState]:
        """Of a task of trust 1 with large inputs, those that have at least half of these bytes, or were sent them."""
        if not self._may_stay_near(task):
            return []
        wanted = task.deal.requirements
        return [worker for worker in found if 2 * self._near_bytes(worker, wanted.inputs) >= wanted.input_bytes]

    def _near_bytes(self, worker: WorkerState, inputs: tuple[tuple[str, int], ...]) -> int:
        sent = self._sent.get(worker.worker, ())
        return sum(size for cid, size in inputs if cid in sent or tail_of(cid) in worker.cached)

    def _remember(self, task: TaskState, worker: WorkerState) -> None:
        wanted = task.deal.requirements
        if wanted.input_bytes < _BIG_INPUTS:
            return
        files = self._sent.setdefault(worker.worker, OrderedDict())
        self._sent.move_to_end(worker.worker)
        for cid, size in wanted.inputs:
            files[cid] = size
            files.move_to_end(cid)
        while len(files) > _REMEMBERED_FILES:
            files.popitem(last=False)
        if len(self._sent) > _MOST_TAGS:
            self._sent.popitem(last=False)

    @staticmethod
    def _arrive(share: FairShare, deal: DealTerms) -> float:
        return share.arrive(
            deal.requester,
            cost=float(deal.timeref),
            weight=weight_of_price(deal.price),
            priority=deal.requirements.needs.priority,
        )


def _keep(kept: OrderedDict[str, _Value], key: str, value: _Value) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST_TAGS:
        kept.popitem(last=False)
