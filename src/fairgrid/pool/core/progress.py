"""What is to be done next for a task: derived anew from the chain's facts, time, and who is here."""

from __future__ import annotations

from fairgrid.pool.core import bags as bags_of
from fairgrid.pool.core import rounds, settlement, unopened
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.instructions import Initialize, OpenRun
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.views import TaskStatus

__all__ = ["advance"]

_ENDS = {
    TaskStatus.COMPLETED: Phase.COMPLETED,
    TaskStatus.FAILED: Phase.FAILED,
    TaskStatus.SPLIT: Phase.SPLIT,
}

# Read once: Python 3.11 looks a member up by a function of its class, which takes longer than the comparison.
_ACTIVE, _REVEALING = TaskStatus.ACTIVE, TaskStatus.REVEALING
_ABANDONED = Phase.ABANDONED


def advance(book: Book, task: TaskState) -> None:
    """Derive what to do next from the chain's facts, time, and who is here."""
    status, deal = task.facts.status, task.deal
    book.advanced[task.task_id] = None
    settlement.check_openings(book, task)
    if status in _ENDS:
        settlement.finish(book, task, _ENDS[status])
    elif book.behind:
        if status is _ACTIVE and task.phase in (Phase.RECEIVED, Phase.INITIALIZING):
            rounds.advance(book, task)
    elif book.chain_time >= deal.final_deadline:
        if deal.undone:
            settlement.finish(book, task, Phase.FAILED)
        else:
            settlement.claim(book, task)
    elif status is _REVEALING:
        settlement.advance(book, task)
    elif task.phase is _ABANDONED:
        return
    elif deal.refusal or deal.undone:
        settlement.abandon(book, task, deal.refusal or "The chain does not know its deal any more.")
    elif book.chain_time >= deal.contribution_deadline:
        settlement.abandon(book, task, "The contribution deadline passed without consensus.")
    elif status is _ACTIVE:
        rounds.advance(book, task)
    elif book.chain_time:
        _begin(book, task)
    if task.count and deal.deal_id in book.bags:
        bags_of.enqueue(book, book.bags[deal.deal_id])
        if not unopened.is_unopened(task):
            unopened.call_next(book, deal.deal_id)


def _begin(book: Book, task: TaskState) -> None:
    if task.is_rest:
        return
    if task.parent:
        settlement.abandon(book, task, "The split that made it was undone.")
        return
    if task.waiting:
        return
    if task.phase is Phase.RECEIVED and task.count:
        unopened.plan(book, task)
    if task.count and (task.planned or task.phase in (Phase.SEALING, Phase.CONTRIBUTING)):
        rounds.advance(book, task)
        if task.planned:
            return
    if task.phase is Phase.RECEIVED:
        book.enter(task, Phase.INITIALIZING, "The pool takes the task on.")
    if task.count:
        if not unopened.has_turn(book, task):
            return
        book.issue(task, "openrun", OpenRun(task.task_id, task.deal.deal_id, task.index, task.count))
    else:
        book.issue(task, "initialize", Initialize(task.task_id, task.deal.deal_id, task.index))
