"""Bugs that are planted on purpose: the simulation must find each of them, or it proves nothing.

Each changes the shipped code of pool or worker in a way that slips in: a forgotten line, a dropped condition.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

from fairgrid.pool import errands
from fairgrid.pool.core import chain_facts, dispatch, presence, rounds, settlement
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.events import UploadVerified
from fairgrid.pool.core.instructions import SendAuthorisation
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.onchain.outbox import Outbox
from fairgrid.pool.onchain.watcher import ChainWatcher
from fairgrid.pool.records import plans
from fairgrid.pool.records.ledger import Ledger
from fairgrid.pool.records.ledger_entries import LedgerEffect
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol.worker_messages import Opening
from fairgrid.worker.core import answering, leasing
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.book import WorkerBook
from fairgrid.worker.core.depth import Depth
from fairgrid.worker.records.store import WorkerStore

__all__ = ["BUGS", "planted"]

BUGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {}


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """Run the block with a bug in the shipped code; an empty name plants none."""
    with BUGS[name]() if name else contextlib.nullcontext():
        yield


def _nothing(*_arguments: object, **_options: object) -> None:
    """Does nothing."""


def _bug(name: str, target: object, attribute: str, new: object) -> None:
    BUGS[name] = lambda: mock.patch.object(target, attribute, new)


# --- the pool: rounds and leases ----------------------------------------------------------------------------------


def _first_seal_is_enough(_book: Book, task: TaskState) -> bool:
    return bool(task.in_phase(ReplicaPhase.SEALED))


def _authorise_everybody(book: Book, task: TaskState) -> None:
    for replica in task.in_phase(ReplicaPhase.SEALED):
        book.move(task, replica, ReplicaPhase.AUTHORISED)
        replica.authorised_at = book.now
        book.send(SendAuthorisation(task.task_id, replica.worker, replica.lease_id))
    if not task.in_phase(ReplicaPhase.AUTHORISED, ReplicaPhase.CONTRIBUTED):
        book.enter(task, Phase.SEALING, "Nobody sealed.")


_unheard_at = dispatch.unheard_at
_await_workers = dispatch.await_workers


def _unheard_late(book: Book, replica: Replica) -> float:
    return _unheard_at(book, replica) + 2 * book.policy.heartbeat_s


def _unheard_since_it_left(book: Book, replica: Replica) -> float:
    if replica.lost_at:
        return replica.lost_at + book.policy.reconnect_grace_s
    return replica.renewed_at + book.policy.lease_ttl_s


def _await_nobody_for_the_lost(book: Book, task: TaskState, *, anew: bool = False) -> None:
    if not task.in_phase(ReplicaPhase.LOST, ReplicaPhase.LATE):
        _await_workers(book, task, anew=anew)


_bug("pool authorises before all seals are in", rounds, "_seals_are_in", _first_seal_is_enough)
_bug("pool authorises everybody at once", rounds, "_authorise", _authorise_everybody)
_bug("pool never lets a lease expire", rounds, "_expire", _nothing)
_bug("pool lets a lease last four heartbeats", dispatch, "unheard_at", _unheard_late)
_bug("pool counts from the end of a connection", dispatch, "unheard_at", _unheard_since_it_left)
_bug("pool does not replace what was lost", dispatch, "await_workers", _await_nobody_for_the_lost)
_bug("pool ignores heartbeats", presence, "_renew", _nothing)
_bug("pool does not repeat what a worker missed", presence, "_resume", _nothing)


# --- the pool: settlement -----------------------------------------------------------------------------------------


async def _believe_upload(instruction: Any, *_arguments: object, **_options: object) -> UploadVerified:
    return UploadVerified(instruction.task_id, instruction.lease_id, instruction.cid)


def _believe_opening(book: Book, task: TaskState, replica: Any, event: Any) -> None:
    book.opened(task, replica, event.digest)


def _never(*_arguments: object, **_options: object) -> bool:
    return False


_bug("pool does not verify uploads", errands, "verify_upload", _believe_upload)
_bug("pool does not compare openings with seals", settlement, "opening_received", _believe_opening)
_bug("pool never asks to open a seal", settlement, "_ask_openings", _nothing)
_bug("pool forgives silence about a seal", settlement, "_is_silent", _never)
_bug("pool never finalizes", settlement, "_may_finalize", _never)
_bug("pool never claims", settlement, "claim", _nothing)


# --- the pool: its store, its transactions, the chain --------------------------------------------------------------


def _without_versions(method: Callable[..., Any]) -> Callable[..., Any]:
    """A pool that does not find the bytes that it signed before, and signs anew with a new nonce."""

    def read(self: Ledger, *arguments: Any) -> Any:
        found = method(self, *arguments)
        if isinstance(found, dict):
            return {key: _bare(effect) for key, effect in found.items()}
        return [_bare(effect) for effect in found]

    return read


def _bare(effect: LedgerEffect) -> LedgerEffect:
    return replace(effect, versions=())


@contextlib.contextmanager
def _signed_anew() -> Iterator[None]:
    with (
        mock.patch.object(Ledger, "under_way", _without_versions(Ledger.under_way)),
        mock.patch.object(Ledger, "effects", _without_versions(Ledger.effects)),
        mock.patch.object(Outbox, "_bring_back", _async_nothing),
    ):
        yield


async def _async_nothing(*_arguments: object, **_options: object) -> None:
    await asyncio.sleep(0)


async def _asleep(_self: ChainWatcher) -> None:
    await asyncio.get_running_loop().create_future()


_store_commit = PoolStore.commit


def _commit_without_tasks(self: PoolStore, commit: Any) -> None:
    commit.tasks = {}
    commit.lines = []
    _store_commit(self, commit)


@contextlib.contextmanager
def _finalized_twice() -> Iterator[None]:
    issue = Book.issue

    def issue_again(self: Book, task: TaskState, step: str, instruction: Any) -> None:
        issue(self, task, step, instruction)
        if step == "finalize":
            task.steps[step].issued = False

    with (
        mock.patch.object(Book, "issue", issue_again),
        mock.patch.object(Outbox, "carries", _never),
        mock.patch.object(Ledger, "effects", _without_versions(Ledger.effects)),
    ):
        yield


def _reconcile_forwards_only(book: Book, task: TaskState, facts: Any) -> None:
    if facts.status >= task.facts.status:
        _pool_reconcile(book, task, facts)


_pool_reconcile = chain_facts.reconcile

BUGS["pool signs anew after a crash, with a new nonce"] = _signed_anew
BUGS["pool finalizes twice"] = _finalized_twice
_bug("pool does not store tasks before it acts", PoolStore, "commit", _commit_without_tasks)
_bug("pool does not store bans", plans, "_write_ban", _nothing)
_bug("pool never compares tasks with the chain", ChainWatcher, "compare", _asleep)
_bug("pool ignores that the chain took a step back", chain_facts, "reconcile", _reconcile_forwards_only)


# --- the worker ---------------------------------------------------------------------------------------------------


def _deep_at_once(
    _self: Depth, _task: str, _topic: str, fact: object | None, *_rest: object, **_options: object
) -> bool:
    return fact is not None


_seal_signed = leasing.seal_signed


def _open_at_once(book: WorkerBook, held: Any, event: Any) -> list[to_do.Instruction]:
    opening = Opening(held.lease_id, held.task_id, digest=held.digest, salt=event.salt)
    return [*_seal_signed(book, held, event), to_do.Send(opening)]


def _drop(book: WorkerBook, held: Any, message: Any) -> list[to_do.Instruction]:
    return [to_do.Cancel(held.task_id), *book.forget(held, f"aborted: {message.reason}")]


def _never_free_again(self: WorkerBook) -> int:
    ever = self.__dict__.setdefault("ever_held", {})
    ever.update(dict.fromkeys(self.held))
    return max(0, self.slots - len(ever))


_apply = WorkerStore.apply


def _apply_only_ends(self: WorkerStore, saves: Sequence[Any], forgets: Sequence[Any] = (), **ends: Any) -> None:
    _apply(self, (), forgets, **ends)


def _forget_at_once(self: WorkerBook, held: Any, outcome: str, _block: int) -> list[to_do.Instruction]:
    return self.forget(held, outcome)


_bug("worker reveals before the consensus is deep", Depth, "reached", _deep_at_once)
_bug("worker opens its seal at once", leasing, "seal_signed", _open_at_once)
_bug("worker drops what a stake hangs on when it is told to abort", answering, "abort", _drop)
_bug("worker never frees a slot", WorkerBook, "free_slots", property(_never_free_again))
_bug("worker does not store before it sends", WorkerStore, "apply", _apply_only_ends)
_bug("worker forgets a task as soon as it is over", WorkerBook, "retire", _forget_at_once)
