"""What the operator's decisions change in the scheduler's memory; they are stored before they come here."""

from __future__ import annotations

from dataclasses import replace

from fairgrid.pool.core.book import Book
from fairgrid.pool.core.events import (
    OperatorBanned,
    OperatorEvent,
    OperatorUnbanned,
    PolicyChanged,
    PoolDrained,
    WorkerDrained,
    WorkerLabelled,
)
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.core.worker_state import Ban, WorkerState
from fairgrid.protocol.machine import Machine

__all__ = ["take", "welcome"]


def take(book: Book, event: OperatorEvent) -> None:
    """Take what the operator decided. What runs goes on; a banned worker's part ends with its connection."""
    match event:
        case OperatorBanned():
            ban = Ban(event.worker, event.owner, "", event.reason, "{}", book.now)
            book.bans[event.worker] = ban
            book.bans.setdefault(event.owner, ban)
            gone = [known.worker for known in book.workers.values() if book.is_banned(known.worker, known.owner)]
            for worker in dict.fromkeys((event.worker, *gone)):
                for part in book.parts_of(worker):
                    # What is authorised may be on chain already: there the chain decides.
                    if part.replica.phase in (ReplicaPhase.LEASED, ReplicaPhase.SEALED):
                        book.end(part.task, part.replica, ReplicaPhase.BANNED, "the operator bans its owner")
                book.disconnect(worker)
        case OperatorUnbanned():
            kept = [ban for ban in book.bans.values() if event.address not in (ban.worker, ban.owner)]
            book.bans.clear()
            for ban in kept:
                book.bans[ban.worker] = ban
                book.bans.setdefault(ban.owner, ban)
        case PoolDrained():
            book.draining = event.draining
        case WorkerDrained():
            (book.drained.add if event.draining else book.drained.discard)(event.worker)
            known = book.workers.get(event.worker)
            if known is not None:
                book.place(known, anew=True)
        case WorkerLabelled():
            book.labels[event.worker] = event.labels
            known = book.workers.get(event.worker)
            if known is not None:
                welcome(book, known)
                book.place(known, anew=True)
        case PolicyChanged():
            book.policy = book.standings.policy = event.policy


def welcome(book: Book, worker: WorkerState) -> None:
    """Give a worker the labels that the operator gave it, beside those that its owner claims."""
    given = book.labels.get(worker.worker, ())
    if not given and (worker.machine is None or worker.machine.labels == worker.claimed_labels):
        return
    machine = worker.machine or Machine()
    worker.machine = replace(machine, labels=tuple(dict.fromkeys((*worker.claimed_labels, *given))))
