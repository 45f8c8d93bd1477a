"""From a group of events to what is written at once: one transaction of the database for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from fairgrid.pool.core.accounts import Account, Correction
from fairgrid.pool.core.events import Event
from fairgrid.pool.core.machine import Outcome
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.records.rows import BagRow, Commit, TaskRow

__all__ = ["commit_of"]


def commit_of(
    outcome: Outcome,
    events: list[Event],
    *,
    at: float,
    position: int | None = None,
    account: Callable[[TaskState], Iterable[Account]] | None = None,
    corrected: Callable[[Correction], None] | None = None,
) -> Commit:
    """A snapshot of all that changed, to be written before anything else happens to it.

    ``events`` are those that led to something, ``position`` is the last block of the chain that was taken with them.
    ``account`` gives what a task adds to the accounts; it is asked once, when nothing more is expected of the task, and
    again when the chain took that back; ``corrected`` is told of what is taken off then.
    """
    if not (outcome.changed or outcome.lines or outcome.instructions or outcome.corrections):
        return Commit(
            at=at,
            events=events,
            bags={bag.deal.deal_id: BagRow.of(bag) for bag in outcome.bags},
            standings={standing.worker: standing for standing in outcome.standings},
            position=position,
        )
    fresh = Counter([line.task_id for line in outcome.lines])
    accounts: list[Account] = []
    if corrected is not None:
        for correction in outcome.corrections:
            corrected(correction)
    corrections = {correction.task_id: correction for correction in outcome.corrections}
    if account is not None:
        for task in outcome.changed:
            if task.accounted or not task.is_settled:
                continue
            task.accounted = True
            added = list(account(task))
            if task.task_id in corrections and added == list(corrections[task.task_id].accounts):
                del corrections[task.task_id]  # It is over as before, only in other blocks.
            else:
                accounts += added
    return Commit(
        at=at,
        events=events,
        tasks={task.task_id: TaskRow.of(task, fresh=fresh[task.task_id]) for task in outcome.changed},
        lines=list(outcome.lines),
        instructions=list(outcome.instructions),
        bags={bag.deal.deal_id: BagRow.of(bag) for bag in outcome.bags},
        standings={standing.worker: standing for standing in outcome.standings},
        position=position,
        accounts=accounts,
        corrections=list(corrections.values()),
    )
