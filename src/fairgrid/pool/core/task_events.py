"""Events about one task, by what they are: facts of the chain, words of its workers, answers to what the pool asked."""

from __future__ import annotations

from typing import get_args

from fairgrid.pool.core import accounts, chain_facts, progress, rounds, settlement
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.events import (
    ChainReconciled,
    ConsensusReached,
    ContributionMined,
    ContributionsAhead,
    DependenciesMet,
    DependencyFailed,
    EffectFailed,
    LeaseFailed,
    OpeningReceived,
    PhaseReported,
    RevealMined,
    SealReceived,
    TaskClaimed,
    TaskFinalized,
    TaskInitialized,
    TaskSettledAtOnce,
    UploadRejected,
    UploadReported,
    UploadVerified,
)
from fairgrid.pool.core.instructions import SendAbort
from fairgrid.pool.core.task_state import TaskState

__all__ = ["ABOUT_A_TASK", "AboutATask", "take"]

_FROM_CHAIN = (
    TaskInitialized,
    ContributionMined,
    ConsensusReached,
    RevealMined,
    TaskFinalized,
    TaskSettledAtOnce,
    TaskClaimed,
)
_FROM_WORKERS = (PhaseReported, SealReceived, OpeningReceived, UploadReported, LeaseFailed)
_Answer = (
    UploadVerified
    | UploadRejected
    | EffectFailed
    | ChainReconciled
    | ContributionsAhead
    | DependenciesMet
    | DependencyFailed
)
AboutATask = (
    TaskInitialized
    | ContributionMined
    | ConsensusReached
    | RevealMined
    | TaskFinalized
    | TaskSettledAtOnce
    | TaskClaimed
    | PhaseReported
    | SealReceived
    | OpeningReceived
    | UploadReported
    | LeaseFailed
    | _Answer
)
ABOUT_A_TASK = frozenset(get_args(AboutATask))
"""The classes of these events."""


def take(book: Book, event: AboutATask) -> None:
    """Take an event, and what follows for its task.

    Raises:
        InvalidTransition: it does not fit the task's phase.
    """
    task = book.tasks.get(event.task_id)
    if task is None:
        _about_unknown_task(book, event)
        return
    if isinstance(event, _FROM_CHAIN):
        chain_facts.take(book, task, event)
    elif isinstance(event, _FROM_WORKERS):
        _worker_said(book, task, event)
    else:
        _heard(book, task, event)
    progress.advance(book, task)
    book.restless.pop(task.task_id, None)


def _heard(
    book: Book,
    task: TaskState,
    event: _Answer,
) -> None:
    """Take the answer to something that the pool did or asked for."""
    match event:
        case UploadVerified():
            settlement.upload_verified(book, task, event)
        case UploadRejected():
            settlement.upload_rejected(book, task, event)
        case EffectFailed():
            book.step_failed(task, event.step, event.reason)
        case ChainReconciled():
            chain_facts.reconcile(book, task, event.facts)
        case ContributionsAhead():
            chain_facts.look_ahead(book, task, event)
        case DependenciesMet() if task.waiting:
            book.release(task)
            book.tell(task, "The results that it reads are there.")
        case DependencyFailed() if task.waiting:
            settlement.abandon(book, task, f"Task {event.dependency}, whose result it reads, was refunded.")
        case _:
            return


def _worker_said(
    book: Book,
    task: TaskState,
    event: PhaseReported | SealReceived | OpeningReceived | UploadReported | LeaseFailed,
) -> None:
    replica = task.replica(event.lease_id)
    if replica is None or replica.worker != event.worker:
        book.send(SendAbort(task.task_id, event.worker, event.lease_id, "The pool does not know this lease."))
        return
    match event:
        case PhaseReported():
            if not replica.ended:
                replica.shown_phase = event.phase
                replica.renewed_at = book.now
        case SealReceived():
            rounds.seal_received(book, task, replica, event)
        case OpeningReceived():
            settlement.opening_received(book, task, replica, event)
            if replica.opened:
                accounts.note_usage(book, task, replica, event.usage)
        case UploadReported():
            accounts.note_usage(book, task, replica, event.usage)
            settlement.upload_reported(book, task, replica, event)
        case LeaseFailed():
            rounds.lease_failed(book, task, replica, event)


def _about_unknown_task(book: Book, event: AboutATask) -> None:
    """A task that is not here is none of this pool's, or long over; a worker that holds it is told to stop."""
    if isinstance(event, PhaseReported | SealReceived | UploadReported | LeaseFailed):
        book.send(SendAbort(event.task_id, event.worker, event.lease_id, "The pool does not know this task."))
