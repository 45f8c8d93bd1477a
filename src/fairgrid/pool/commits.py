"""From a batch of events to what is written at once: one transaction of the database for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fairgrid.pool.accounts import Account
from fairgrid.pool.events import Event
from fairgrid.pool.machine import Outcome
from fairgrid.pool.rows import BagRow, Commit, TaskRow
from fairgrid.pool.state import Bag, TaskState

__all__ = ["gather"]


def gather(
    events: Iterable[Event],
    handle: Callable[[Event], Outcome | None],
    *,
    at: float,
    account: Callable[[TaskState], Iterable[Account]] | None = None,
) -> Commit:
    """Have a scheduler handle events, and snapshot what it changed: each task and deal once, as it is after the last.

    ``handle`` gives None for an event that could not be taken. Events that led to nothing are not kept.
    ``account`` gives what a task adds to the accounts; it is asked once, when nothing more is expected of the task.
    """
    commit = Commit(at=at)
    tasks: dict[str, TaskState] = {}
    bags: dict[str, Bag] = {}
    for event in events:
        outcome = handle(event)
        if outcome is None:
            continue
        if outcome.instructions or outcome.changed or outcome.bags:
            commit.events.append(event)
        commit.standings.update((standing.worker, standing) for standing in outcome.standings)
        commit.lines += outcome.lines
        commit.instructions += outcome.instructions
        for task in outcome.changed:
            tasks[task.task_id] = task
        for bag in outcome.bags:
            bags[bag.deal.deal_id] = bag
    if account is not None:
        for task in tasks.values():
            if not task.accounted and task.is_settled:
                task.accounted = True
                commit.accounts += account(task)
    commit.tasks = {task_id: TaskRow.of(task) for task_id, task in tasks.items()}
    commit.bags = {deal_id: BagRow.of(bag) for deal_id, bag in bags.items()}
    return commit
