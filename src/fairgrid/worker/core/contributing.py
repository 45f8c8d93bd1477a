"""Of the worker's machine: its two transactions, from the pool's authorisation to what came of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fairgrid.protocol.pool_messages import Authorisation
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core import replies
from fairgrid.worker.core.book import WorkerBook
from fairgrid.worker.core.held import WORKING, HeldTask, Phase, Step

__all__ = [
    "MAX_ATTEMPTS",
    "authorisation",
    "contributed",
    "contribution_off",
    "contribution_refused",
    "reveal_refused",
    "revealed",
    "transaction_lost",
    "transaction_mined",
    "transaction_replaced",
    "transaction_signed",
]

MAX_ATTEMPTS: Final = 3
"""So often a transaction is signed anew after the hub refused it."""


def authorisation(book: WorkerBook, held: HeldTask, message: Authorisation) -> list[to_do.Instruction]:
    if message.lease_id != held.lease_id:
        return [to_do.Note(held.task_id, f"authorisation for another lease, {message.lease_id!r}")]
    if held.phase in WORKING:
        return [to_do.Note(held.task_id, "authorisation before the seal: ignored, nothing may be contributed yet")]
    if held.phase is not Phase.SEALED or held.authorisation:
        return [to_do.Note(held.task_id, "authorisation again: ignored")]
    if int(message.enclave_challenge, 16) != 0:
        return contribution_off(book, held, "This worker has no enclave; the authorisation asks for one.")
    fast = message.fast is True and bool(held.cid) and held.may_be_quick
    told = held.told("authorised to contribute and finalize" if fast else "authorised")
    held = replace(held, authorisation=message.signature, fast=fast, upload_requested=False, attempts=0, story=told)
    return [*book.save(held), book.begin(held, to_do.Contribute)]


def contribution_refused(book: WorkerBook, held: HeldTask, event: ev.ContributionRefused) -> list[to_do.Instruction]:
    book.busy.pop(held.task_id, None)
    if held.phase is not Phase.SEALED:
        return [to_do.Note(held.task_id, f"no contribution signed in phase {held.phase}: {event.reason}")]
    if not event.lasting:
        return [to_do.Note(held.task_id, f"contribution postponed: {event.reason}")]
    return contribution_off(book, held, event.reason)


def contribution_off(book: WorkerBook, held: HeldTask, reason: str) -> list[to_do.Instruction]:
    """Not contributed; the sealed result is kept, because the pool may still ask to open the seal."""
    held = replace(held, authorisation="", attempts=0, story=held.told(f"not contributed: {reason}"))
    return [*book.save(held), replies.failed(held, reason), to_do.Note(held.task_id, reason)]


def reveal_refused(book: WorkerBook, held: HeldTask, event: ev.RevealRefused) -> list[to_do.Instruction]:
    book.busy.pop(held.task_id, None)
    return [to_do.Note(held.task_id, f"reveal postponed: {event.reason}")]


def transaction_signed(book: WorkerBook, held: HeldTask, event: ev.TransactionSigned) -> list[to_do.Instruction]:
    if event.step is Step.CONTRIBUTE:
        held = book.move(held, Phase.CONTRIBUTING, f"signed {event.transaction.hash}")
        held = replace(held, contribution=event.transaction, earlier=(), attempts=held.attempts + 1)
    else:
        held = book.move(held, Phase.REVEALING, f"signed {event.transaction.hash}")
        held = replace(held, reveal=event.transaction, earlier=(), attempts=held.attempts + 1)
    return [*book.save(held), replies.report(held), book.broadcast(held, event.step)]


def transaction_replaced(book: WorkerBook, held: HeldTask, event: ev.TransactionReplaced) -> list[to_do.Instruction]:
    waited = Phase.CONTRIBUTING if event.step is Step.CONTRIBUTE else Phase.REVEALING
    if held.phase is not waited:
        return []
    told = held.told(f"not mined for long, offers more: {event.transaction.hash}")
    held = replace(held, earlier=held.versions(event.step), story=told)
    if event.step is Step.CONTRIBUTE:
        held = replace(held, contribution=event.transaction)
    else:
        held = replace(held, reveal=event.transaction)
    return [*book.save(held), book.broadcast(held, event.step)]


def transaction_mined(book: WorkerBook, held: HeldTask, event: ev.TransactionMined) -> list[to_do.Instruction]:
    waited = Phase.CONTRIBUTING if event.step is Step.CONTRIBUTE else Phase.REVEALING
    if held.phase is not waited:
        return []
    book.busy.pop(held.task_id, None)
    if event.succeeded:
        book.mined_at[held.task_id] = event.block
        return contributed(book, held) if event.step is Step.CONTRIBUTE else revealed(book, held)
    reason = f"the hub refused {event.step} in transaction {event.tx_hash}"
    if event.step is Step.CONTRIBUTE and held.fast:
        # The same authorisation is good for contributing alone.
        held = replace(book.move(held, Phase.SEALED, reason), fast=False)
        return [*book.save(held), to_do.LookAtChain(held.task_id)]
    if event.step is Step.CONTRIBUTE:
        return contribution_off(book, book.move(held, Phase.SEALED, reason), reason)
    held = book.move(held, Phase.CONTRIBUTED, reason)
    return [*book.save(held), to_do.LookAtChain(held.task_id)]


def transaction_lost(book: WorkerBook, held: HeldTask, event: ev.TransactionLost) -> list[to_do.Instruction]:
    waited = Phase.CONTRIBUTING if event.step is Step.CONTRIBUTE else Phase.REVEALING
    if held.phase is not waited:
        return []
    book.busy.pop(held.task_id, None)
    back = Phase.SEALED if event.step is Step.CONTRIBUTE else Phase.CONTRIBUTED
    held = book.move(held, back, f"{event.step} lost: {event.reason}")
    if event.step is Step.REVEAL:
        # It cost nothing and the stake hangs on it: only reveals that the hub refused are counted.
        held = replace(held, attempts=held.attempts - 1)
    elif held.attempts >= MAX_ATTEMPTS:
        return contribution_off(book, held, f"contribute was lost {held.attempts} times: {event.reason}")
    return [*book.save(held), to_do.LookAtChain(held.task_id)]


def contributed(book: WorkerBook, held: HeldTask) -> list[to_do.Instruction]:
    book.busy.pop(held.task_id, None)
    held = replace(book.move(held, Phase.CONTRIBUTED, "the contribution is on chain"), attempts=0)
    return [*book.save(held), *replies.missed(held), to_do.LookAtChain(held.task_id)]


def revealed(book: WorkerBook, held: HeldTask) -> list[to_do.Instruction]:
    book.busy.pop(held.task_id, None)
    held = replace(book.move(held, Phase.REVEALED, "the reveal is on chain"), attempts=0)
    return [*book.save(held), *replies.missed(held), to_do.LookAtChain(held.task_id)]
