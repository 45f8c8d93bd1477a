"""The seam between *how many* workers a task needs (`dispatch`) and *which* ones it gets: a pool's `Matcher`.

`dispatch` keeps the rules that make a result trustworthy and a lease possible: one replica for each owner, an
experienced worker leads, enough free deposit, no opening owed, a free slot. A matcher orders what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.worker_state import WorkerState

__all__ = ["FirstMatcher", "Matcher", "Urgency"]

Urgency = tuple[int | float | str, ...]
"""A sort key: the smallest goes first. All keys that one matcher gives must compare with each other."""


class Matcher(Protocol):
    """Decides who is served first, and by whom. Pure: the same questions in the same order get the same answers.

    ``now`` is local time in seconds. Nothing that is given may be changed.
    """

    def bag_urgency(self, deal: DealTerms, begun: int, *, now: float) -> Urgency:
        """Which deal's next task begins when there is room. Asked again after each of its tasks that begins
        (``begun``: how many did), so that a share between requesters can be kept.
        """
        ...

    def task_urgency(self, task: TaskState, *, now: float) -> Urgency:
        """Which waiting task gets free workers first. Asked once each time the task begins to wait."""
        ...

    def pick(self, task: TaskState, candidates: Iterator[WorkerState], *, now: float) -> WorkerState | None:
        """One of ``candidates`` for the task's next replica, or None if none of them suits.

        They come lazily, fewest failures and least used first: take the first that suits, or look at a bounded number
        and choose among them. None after the last one means: ask again only when another worker becomes free.
        """
        ...


class FirstMatcher:
    """Deadlines first, then age; the first candidate."""

    def bag_urgency(self, deal: DealTerms, begun: int, *, now: float) -> Urgency:
        return (deal.contribution_deadline, deal.deal_id)

    def task_urgency(self, task: TaskState, *, now: float) -> Urgency:
        return (task.deal.contribution_deadline, task.created_at, task.task_id)

    def pick(self, task: TaskState, candidates: Iterator[WorkerState], *, now: float) -> WorkerState | None:
        return next(candidates, None)
