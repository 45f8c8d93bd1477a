"""Workers come, speak and go: what they hold is compared with what they should hold."""

from __future__ import annotations

from dataclasses import replace

from fairgrid.pool.core import dispatch, fast_path, operator_events, settlement
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.events import (
    ChainRead,
    Held,
    WorkerBeat,
    WorkerCached,
    WorkerFacts,
    WorkerJoined,
    WorkerLost,
    WorkerReady,
)
from fairgrid.pool.core.instructions import RequestUpload, SendAbort, SendAuthorisation, SendDone
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.worker_state import WorkerState
from fairgrid.protocol.trust import worker_weight

__all__ = ["chain_read", "take"]

_UNNAMED = 2
"""After so many heartbeats that do not name it a lease is lost; one may have been written before the lease arrived."""


def take(book: Book, event: WorkerJoined | WorkerFacts | WorkerReady | WorkerBeat | WorkerCached | WorkerLost) -> None:
    """Take an event about a worker's presence; one of a worker that is not here is nothing."""
    if isinstance(event, WorkerJoined):
        _joined(book, event)
        return
    worker = book.workers.get(event.worker)
    if worker is None:
        return
    match event:
        case WorkerFacts():
            anew = (worker.score, worker.stake) != (event.score, event.stake)
            worker.score, worker.weight, worker.stake = event.score, worker_weight(event.score), event.stake
            if event.benchmark_fell and worker.machine is not None:
                worker.machine = replace(worker.machine, benchmark=None)
            if event.unwelcome:
                worker.slots = worker.free_slots = 0
            book.place(worker, anew=anew)
        case WorkerCached():
            worker.cached = frozenset(event.tails)
        case WorkerLost():
            book.disconnect(event.worker)
            for part in book.parts_of(event.worker):
                part.replica.lost_at = book.now
                if not part.task.is_settled:
                    book.restless[part.task.task_id] = None
        case WorkerReady():
            _resume(book, worker, event)
            _count_slots(book, worker, event.held, event.free_slots)
            worker.ready = True
            book.place(worker)
            for part in book.parts_of(event.worker):
                if not part.task.is_settled:
                    book.restless[part.task.task_id] = None
        case WorkerBeat():
            _renew(book, worker, event)
            _count_slots(book, worker, event.held, event.free_slots)
            book.place(worker)


def chain_read(book: Book, event: ChainRead) -> None:
    """What the chain's past told is known now, or not yet; once it is, work is given out, and leases are judged."""
    before, book.behind = book.behind, event.behind
    book.stirred += bool(before) != bool(event.behind)
    if not before or event.behind:
        return
    for task in book.tasks.values():
        if not task.is_final:
            book.restless[task.task_id] = None
    for deal_id in book.bags:
        book.bag_timers.set(deal_id, 0)
    for worker in book.workers.values():
        unjudged, worker.unjudged = worker.unjudged, ()
        for lease, is_finished in unjudged:
            _judge(book, worker, lease, is_finished=is_finished)


def _joined(book: Book, event: WorkerJoined) -> None:
    if book.is_banned(event.worker, event.owner):
        return
    worker = WorkerState(
        worker=event.worker,
        owner=event.owner,
        slots=event.slots,
        score=event.score,
        weight=worker_weight(event.score),
        stake=event.stake,
        runtimes=event.runtimes,
        machine=event.machine,
        network=event.network,
        claimed_labels=event.machine.labels if event.machine is not None else (),
        fast=event.fast,
        settles=event.settles,
        opens_keys=event.opens_keys,
    )
    operator_events.welcome(book, worker)
    book.connect(worker)
    for part in book.parts_of(event.worker):
        part.replica.lost_at = 0.0
        part.replica.renewed_at = book.now


def _count_slots(book: Book, worker: WorkerState, held: tuple[Held, ...], free_slots: int) -> None:
    """Believe the report, less the leases that were sent after it was written."""
    named = {lease.lease_id for lease in held}
    unseen = sum(1 for lease_id in book.burden(worker.worker).leased if lease_id not in named)
    worker.free_slots = max(0, min(free_slots, worker.slots) - unseen)


def _renew(book: Book, worker: WorkerState, event: WorkerBeat) -> None:
    for lease in event.held:
        part = book.burden(worker.worker).parts.get(lease.lease_id)
        if part is None:
            # The chain's word for it may have come after the worker: a pool that catches up reads for a while.
            known = book.tasks.get(lease.task_id)
            if known is not None and not known.is_settled:
                _adopt(book, known, worker, lease)
        elif part.task.task_id == lease.task_id and not part.replica.ended:
            part.replica.renewed_at = book.now
            part.replica.shown_phase = lease.phase
    named = {lease.lease_id for lease in event.held}
    for lease_id, part in list(book.burden(worker.worker).leased.items()):
        replica = part.replica
        replica.unnamed = 0 if lease_id in named else replica.unnamed + 1
        if replica.unnamed >= _UNNAMED:
            book.end(part.task, replica, ReplicaPhase.LOST, "its worker does not name the lease")


def _resume(book: Book, worker: WorkerState, event: WorkerReady) -> None:
    """Repeat what the worker may have missed, and end what it holds in vain."""
    held = {(lease.task_id, lease.lease_id): lease for lease in event.held}
    for part in book.parts_of(worker.worker):
        is_held = held.pop((part.task.task_id, part.replica.lease_id), None) is not None
        _resume_replica(book, part.task, part.replica, is_held)
    unknown = [(lease, lease.task_id in event.finished) for lease in held.values()]
    worker.unjudged = tuple(unknown) if book.behind else ()
    if not book.behind:
        for lease, is_finished in unknown:
            _judge(book, worker, lease, is_finished=is_finished)


def _judge(book: Book, worker: WorkerState, lease: Held, *, is_finished: bool) -> None:
    """Take up a lease that the pool does not know, or end it."""
    known = book.tasks.get(lease.task_id)
    if known is not None and (
        _adopt(book, known, worker, lease) or book.burden(worker.worker).parts.get(lease.lease_id) is not None
    ):
        return
    if is_finished or (known is not None and known.is_final):
        book.send(SendDone(lease.task_id, worker.worker))
    else:
        book.send(SendAbort(lease.task_id, worker.worker, lease.lease_id, "The pool does not know this lease."))


def _resume_replica(book: Book, task: TaskState, replica: Replica, is_held: bool) -> None:
    match replica.phase:
        case ReplicaPhase.LEASED if not is_held:
            book.send(dispatch.lease_of(task, replica, dispatch.seal_window(book, task)))
        case ReplicaPhase.SEALED if not is_held:
            book.end(task, replica, ReplicaPhase.LOST, "its worker forgot what it had sealed")
        case ReplicaPhase.AUTHORISED:
            fast = fast_path.is_fast(task, replica)
            book.send(SendAuthorisation(task.task_id, replica.worker, replica.lease_id, fast))
        case ReplicaPhase.SEALED if fast_path.asks(task, replica):
            book.send(RequestUpload(task.task_id, replica.worker, replica.lease_id, early=True))
        case ReplicaPhase.CONTRIBUTED | ReplicaPhase.AUDITING:
            settlement.remind(book, task, replica)
        case ReplicaPhase.LOST if (
            is_held
            and task.phase is Phase.SEALING
            and replica.round == task.round
            and not replica.seal
            and not task.is_held_by(replica.owner)
        ):
            book.move(task, replica, ReplicaPhase.LEASED)
            book.tell(task, "A worker that was given up is back and still computes.", worker=replica.worker)
        case _ if replica.ended and is_held:
            book.send(SendAbort(task.task_id, replica.worker, replica.lease_id, "This lease has ended."))
        case _:
            return


def _adopt(book: Book, task: TaskState, worker: WorkerState, lease: Held) -> bool:
    """Take up a lease that only the chain vouches for (the pool's database was lost)."""
    seen = task.facts.contribution(worker.worker)
    if seen is None or task.replica_of(worker.worker) is not None or task.replica(lease.lease_id) is not None:
        return False
    replica = Replica(
        lease_id=lease.lease_id,
        worker=worker.worker,
        owner=worker.owner,
        round=max(task.round, 0),
        weight=seen.weight,
        phase=ReplicaPhase.CONTRIBUTED,
        leased_at=book.now,
        renewed_at=book.now,
    )
    book.add_replica(task, replica)
    book.tell(task, "A contributor is known again.", worker=worker.worker)
    settlement.remind(book, task, replica)
    return True
