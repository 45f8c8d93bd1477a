"""What is due: time passes, tasks are looked at, others begin, and who waits is served."""

from __future__ import annotations

from itertools import islice

from fairgrid.pool.core import bags, dispatch, progress, timing
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.events import Tick
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.task_state import TaskState

__all__ = ["settle", "tick"]


def tick(book: Book, event: Tick) -> None:
    """Take the time: local time is `Book.now`, the event has that of the newest block."""
    chain_time = event.chain_time
    if event.silence_s:
        _excuse(book, event.silence_s)
    if not book.chain_time:
        # Until the chain was first seen no task could be judged.
        book.due |= dict.fromkeys(book.tasks)
    # Only a tick asks for timers: so a task that many events touched since the last one is scheduled once.
    for task_id in book.advanced:
        if task_id in book.tasks:
            timing.schedule(book, book.tasks[task_id])
    book.advanced = {}
    book.chain_time, book.ticked_at = chain_time, book.now
    book.due |= dict.fromkeys(book.chain_timers.take(chain_time))
    book.due |= dict.fromkeys(book.local_timers.take(book.now))
    for deal_id in book.straggler_timers.take(book.now):
        dispatch.find_stragglers(book, deal_id)
    for deal_id in book.bag_timers.take(chain_time):
        if deal_id in book.bags:
            bags.enqueue(book, book.bags[deal_id])


def settle(book: Book) -> None:
    """Do what is due now.

    Raises:
        InvalidTransition: a task cannot go on; settle again, for the rest.
    """
    while book.due:
        task_id = next(iter(book.due))
        del book.due[task_id]
        if task_id in book.tasks:
            _look(book, book.tasks[task_id])
    if len(book.finished) > book.policy.keep_finished_tasks:
        _forget_finished(book)
    bags.bring_back(book)
    while True:
        while book.restless:
            task_id = next(iter(book.restless))
            del book.restless[task_id]
            if task_id in book.tasks:
                progress.advance(book, book.tasks[task_id])
        begun = bags.begin_next(book)
        if begun is None:
            break
        progress.advance(book, begun)
    dispatch.fill_all(book)
    dispatch.speculate(book)


def _excuse(book: Book, silence_s: float) -> None:
    """Nobody is given up for what the pool could not see: the authorised have so much longer."""
    for task in book.tasks.values():
        for replica in task.in_phase(ReplicaPhase.AUTHORISED):
            replica.authorised_at = min(replica.authorised_at + silence_s, book.now)


def _look(book: Book, task: TaskState) -> None:
    """Look at a task because its time has come."""
    if timing.is_forgotten(book, task):
        if task.task_id not in book.changed:
            book.drop_task(task)
            return
    elif task.phase is Phase.SEALING and task.task_id in book.waiting:
        # A matcher may think otherwise after a while.
        dispatch.await_workers(book, task, anew=True)
    progress.advance(book, task)


def _forget_finished(book: Book) -> None:
    for task_id in list(islice(book.finished, max(len(book.finished) - book.policy.keep_finished_tasks, 0))):
        task = book.tasks[task_id]
        if task.is_settled and task_id not in book.changed:
            book.drop_task(task)
