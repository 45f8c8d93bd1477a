"""Of the worker's machine: leases, and what this computer does with them until the seal."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fairgrid.protocol.hexes import MAX_UINT256
from fairgrid.protocol.pool_messages import Lease
from fairgrid.protocol.worker_messages import Heartbeat
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core import replies
from fairgrid.worker.core.book import WorkerBook
from fairgrid.worker.core.held import WORKING, HeldTask, InvalidTransition, Phase

__all__ = ["approved", "computed", "downloaded", "leased", "made_ready", "seal_signed", "work_failed"]

_MAX_ROUNDS: Final = 1 << 31


def leased(book: WorkerBook, lease: Lease) -> list[to_do.Instruction]:
    if not (0 <= lease.index <= MAX_UINT256 and 0 <= lease.round < _MAX_ROUNDS):
        return [replies.refused(lease, "Index or round of the lease is out of range.")]
    held = book.held.get(lease.task_id)
    if held is not None:
        return _lease_again(book, held, lease)
    if book.stopping:
        return [replies.refused(lease, "The worker is being stopped by its owner.")]
    if book.closed:
        return [replies.refused(lease, book.closed)]
    if book.tasks_left == 0:
        return [replies.refused(lease, "The worker has done the tasks that its owner started it for.")]
    if book.free_slots == 0:
        return [replies.refused(lease, f"All {book.slots} slot(s) are taken.")]
    held = HeldTask(
        lease_id=lease.lease_id,
        deal_id=lease.deal_id,
        task_id=lease.task_id,
        index=lease.index,
        round=lease.round,
        count=lease.count,
        unopened=lease.unopened is True,
        story=(f"leased as {lease.lease_id} in round {lease.round}",),
    )
    return [*book.save(held), replies.report(held), book.begin(held, to_do.Examine)]


def _lease_again(book: WorkerBook, held: HeldTask, lease: Lease) -> list[to_do.Instruction]:
    if (held.deal_id, held.index, held.count) != (lease.deal_id, lease.index, lease.count):
        return [replies.refused(lease, "This task is held with another deal, index or count.")]
    if lease.lease_id == held.lease_id:
        return replies.missed(held) or [replies.report(held)]
    if held.phase in WORKING:
        held = replace(
            held,
            lease_id=lease.lease_id,
            round=lease.round,
            unopened=held.unopened or lease.unopened is True,
            story=held.told(f"leased again as {lease.lease_id}"),
        )
        return [*book.save(held), replies.report(held)]
    if held.phase is Phase.SEALED and to_do.Contribute is not book.busy.get(held.task_id):
        held = replace(
            held,
            lease_id=lease.lease_id,
            round=lease.round,
            authorisation="",
            fast=False,
            unopened=held.unopened or lease.unopened is True,
            opening_requested=False,
            upload_requested=False,
            story=held.told(f"leased again as {lease.lease_id} in round {lease.round}, seals the same digest"),
        )
        return [*book.save(held), book.begin(held, to_do.SignSeal)]
    return [replies.refused(lease, "This worker already contributes to this task.")]


def approved(book: WorkerBook, held: HeldTask, event: ev.Approved) -> list[to_do.Instruction]:
    held = replace(
        book.move(held, Phase.DOWNLOADING, "the owner's policy allows it"),
        workerpool=event.workerpool,
        scheduler=event.scheduler,
        worker_stake=event.worker_stake,
        final_deadline=event.final_deadline,
        trust=event.trust,
    )
    return [*book.save(held), replies.report(held), book.begin(held, to_do.Download)]


def made_ready(book: WorkerBook, held: HeldTask, event: ev.MadeReady) -> list[to_do.Instruction]:
    """Only the owner reads it here; the requester hears of it as of a job's progress, where that may be seen."""
    if held.phase is not Phase.DOWNLOADING:
        return []
    return book.save(replace(held, story=held.told(event.text)))


def downloaded(book: WorkerBook, held: HeldTask, event: ev.Downloaded) -> list[to_do.Instruction]:
    held = book.move(held, Phase.COMPUTING, "manifest and inputs are here")
    held = replace(held, usage=replace(held.usage, bytes_in=held.usage.bytes_in + event.bytes_in))
    return [*book.save(held), replies.report(held), book.begin(held, to_do.Compute)]


def computed(book: WorkerBook, held: HeldTask, event: ev.Computed) -> list[to_do.Instruction]:
    # The phase stays until the seal is signed: a crash in between computes anew, and nothing was promised.
    if held.phase is not Phase.COMPUTING:
        raise InvalidTransition(held, Phase.COMPUTING, "computed")
    held = replace(
        held,
        digest=event.digest,
        root=event.root,
        callback_data=event.callback_data,
        compute_s=event.compute_s,
        usage=held.usage if event.usage is None else replace(event.usage, bytes_in=held.usage.bytes_in),
        story=held.told(f"computed in {event.compute_s:.2f} s {event.where}".rstrip()),
    )
    return [*book.save(held), book.begin(held, to_do.SignSeal)]


def seal_signed(book: WorkerBook, held: HeldTask, event: ev.SealSigned) -> list[to_do.Instruction]:
    book.busy.pop(held.task_id, None)
    if held.phase in WORKING:
        book.count_sealed(held)
    held = replace(
        book.move(held, Phase.SEALED, f"sealed in round {held.round}"),
        salt=event.salt,
        seal=event.seal,
        seal_signature=event.signature,
    )
    instructions = [*book.save(held), replies.seal(held)]
    if book.tasks_left is not None:
        # The pool takes the slot of a sealed task for a free one.
        instructions.append(to_do.Send(Heartbeat(held=book.leases(), free_slots=book.free_slots)))
    return instructions


def work_failed(book: WorkerBook, held: HeldTask, event: ev.WorkFailed) -> list[to_do.Instruction]:
    if held.phase not in WORKING:
        return [to_do.Note(held.task_id, f"late failure in phase {held.phase}: {event.reason}")]
    return book.hand_back(held, event.reason)
