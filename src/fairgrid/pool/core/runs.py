"""Runs of the batch lane: how a deal's tasks are cut into runs, and when a run that nobody agrees on is cut in two.

A run is a `TaskState` with a ``count``, under its run id. The first run of a deal is small: it shows how long a task
takes. Later ones are as large as fits (decision 17), and one is opened after the other, because the hub opens runs at a
cursor. What was never opened is refunded in one step: a `TaskState` under the deal's own id stands for it.
"""

from __future__ import annotations

import math

from fairgrid.pool.core.book import Book
from fairgrid.pool.core.deal_terms import Bag, DealTerms
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.run_results import MAX_RESULTS_TASKS
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.trust import FRESH_WEIGHT, needs_more_replicas

__all__ = ["begin_rest", "begin_run", "next_count", "opened", "run_size", "should_split"]

_CALLBACK_TASKS = 4_096
"""A run's results carry the bytes of every callback, so that fewer tasks fit."""
_SHARE_OF_TIME_LEFT = 4


def run_size(
    policy: Policy, deal: DealTerms, *, left: int, seconds_each: float | None, time_left_s: float, runs_at_once: int
) -> int:
    """How many of the ``left`` tasks of a deal its next run has; 0: none fits any more.

    ``seconds_each`` is what a task takes a worker, None as long as nobody knows; ``time_left_s`` is until contributions
    end; ``runs_at_once`` is how many runs the pool's workers can compute side by side.
    """
    largest = min(policy.batch_run_tasks, MAX_RESULTS_TASKS, _CALLBACK_TASKS if deal.has_callback else left)
    if seconds_each is None:
        return max(min(policy.batch_probe_tasks, left, largest), 0)
    if seconds_each >= time_left_s:
        return 0
    seconds = min(policy.batch_run_s, float(deal.timeref), time_left_s / _SHARE_OF_TIME_LEFT)
    fits = max(int(seconds / max(seconds_each, 1e-6)), 1)
    share = max(math.ceil(left / max(runs_at_once, 1)), policy.batch_probe_tasks)
    return min(left, largest, fits, share)


def next_count(book: Book, bag: Bag) -> int:
    """How many tasks the next run of a deal has if it is opened now; 0: not now."""
    record = book.deals.get(bag.deal.deal_id)
    states = [book.tasks[task_id] for task_id in record.tasks] if record is not None else []
    live = [task for task in states if not task.is_final and task.phase is not Phase.ABANDONED]
    if any(task.phase in (Phase.RECEIVED, Phase.INITIALIZING) for task in live):
        return 0
    known = record is not None and len(record.times) > 0
    at_once = _runs_at_once(book, bag.deal)
    if live and (not known or sum(task.phase is Phase.SEALING for task in live) > at_once):
        return 0
    return run_size(
        book.policy,
        bag.deal,
        left=bag.left,
        seconds_each=record.median_time() if known and record is not None else None,
        time_left_s=float(bag.deal.contribution_deadline - book.chain_time),
        runs_at_once=at_once,
    )


def begin_run(book: Book, bag: Bag, count: int) -> TaskState:
    """The next ``count`` tasks of a deal, as one run."""
    first = bag.first + bag.begun
    bag.begun += count
    waits = bag.deal.waits and book.chain_time < bag.deal.final_deadline
    return _new(book, bag, run_id(bag.deal.deal_id, first, count), first, count, waits=waits)


def begin_rest(book: Book, bag: Bag, first: int = -1) -> TaskState:
    """What stands for all tasks of a deal that were never opened; they are refunded together.

    ``first`` is the first of them, -1: the first that did not begin. It may come down, never go up.
    """
    first = bag.first + bag.begun if first < 0 else min(first, bag.first + bag.begun)
    known, bag.begun = book.tasks.get(bag.deal.deal_id), bag.size
    if known is None:
        return _new(book, bag, bag.deal.deal_id, first, bag.first + bag.size - first)
    if first < known.index:
        known.count += known.index - first
        known.index = first
        book.touch(known)
    return known


def opened(book: Book, bag: Bag, first: int, count: int) -> TaskState:
    """A run that the chain opened and that the pool did not know: the half of one that was split."""
    bag.begun = max(bag.begun, first - bag.first + count)
    parent = next(
        (
            task.task_id
            for task in map(book.tasks.__getitem__, book.deals[bag.deal.deal_id].tasks)
            if task.count > count and task.index <= first and first + count <= task.index + task.count
        ),
        "",
    )
    return _new(book, bag, run_id(bag.deal.deal_id, first, count), first, count, parent=parent)


def should_split(book: Book, task: TaskState) -> bool:
    """Whether a run is to be cut in two: its workers disagree, and those that are left cannot decide it."""
    groups = task.facts.groups()
    if task.count < 2 or len(groups) < 2 or task.pending_weights():
        return False
    taken = {replica.owner for replica in task.replicas}
    taken |= {seen.worker for seen in task.facts.contributions}
    weights: dict[str, int] = {}
    for worker in book.workers.values():
        if worker.ready and worker.owner not in taken and worker.worker not in taken:
            weights[worker.owner] = min(worker.weight, weights.get(worker.owner, worker.weight))
    return not weights or needs_more_replicas(groups, math.prod(weights.values()), task.deal.trust)


def _runs_at_once(book: Book, deal: DealTerms) -> int:
    ready = len({worker.owner for worker in book.workers.values() if worker.ready})
    replicas = max(math.ceil(math.log(max(deal.trust, 1), FRESH_WEIGHT)), 1)
    return max(ready // replicas, 1)


def _new(
    book: Book, bag: Bag, task_id: str, first: int, count: int, *, parent: str = "", waits: bool = False
) -> TaskState:
    known = book.tasks.get(task_id)
    book.touch_bag(bag)
    if known is not None:
        return known
    task = TaskState(task_id=task_id, index=first, deal=bag.deal, created_at=bag.created_at, count=count, parent=parent)
    task.waiting = waits
    book.add_task(task)
    book.tell(
        task, f"{Phase.RECEIVED.value}: Tasks {first} to {first + count - 1} of a deal with trust {bag.deal.trust}."
    )
    if waits:
        book.tell(task, "It waits for the results that its tasks read.")
    return task
