"""Usage accounting: what requesters, apps and workers took and paid or earned, a row for each and day (UTC).

A task enters the accounts once, when nothing more is expected of it: with what its workers reported, cut to what is
possible, and with the payments that follow from the chain's facts by the hub's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from fairgrid.pool.core import unopened
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_facts import ChainFacts
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.rewards import distribute
from fairgrid.protocol.trust import log2_weight
from fairgrid.protocol.usage import MAX_USAGE, Usage
from fairgrid.protocol.views import ContributionStatus

__all__ = [
    "ACCOUNT_KINDS",
    "Account",
    "AccountKind",
    "Correction",
    "accounts_of",
    "added_up",
    "day_of",
    "note_usage",
    "take_back",
]

AccountKind = Literal["requester", "app", "worker", "pool"]
ACCOUNT_KINDS: tuple[AccountKind, ...] = ("requester", "app", "worker", "pool")

_GRACE_MS = 1_000
"""Clocks are read a moment apart."""


class Account(Struct, frozen=True, gc=False):
    """One subject's sums of one day, or of several."""

    kind: AccountKind
    subject: str
    """An address; the pool's own account has that of the workerpool."""
    tasks: int = 0
    """Tasks that ended; for a worker, those that it computed rightly."""
    completed: int = 0
    leases: int = 0
    """Replicas, whatever became of them."""
    metered: int = 0
    """Replicas whose worker said what they took."""
    cpu_ms: int = 0
    wall_ms: int = 0
    peak_memory_bytes: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    nrlc: int = 0
    """What a requester paid the pool, what was paid for an app's tasks, what a worker earned, what the pool kept."""

    def plus(self, other: Account) -> Account:
        """Both together; the peak is the higher one."""
        return Account(
            self.kind,
            self.subject,
            self.tasks + other.tasks,
            self.completed + other.completed,
            self.leases + other.leases,
            self.metered + other.metered,
            self.cpu_ms + other.cpu_ms,
            self.wall_ms + other.wall_ms,
            max(self.peak_memory_bytes, other.peak_memory_bytes),
            self.bytes_in + other.bytes_in,
            self.bytes_out + other.bytes_out,
            self.nrlc + other.nrlc,
        )

    def negated(self) -> Account:
        """What takes it away; the peak stays what it was."""
        return Account(
            self.kind,
            self.subject,
            -self.tasks,
            -self.completed,
            -self.leases,
            -self.metered,
            -self.cpu_ms,
            -self.wall_ms,
            0,
            -self.bytes_in,
            -self.bytes_out,
            -self.nrlc,
        )


@dataclass(frozen=True, slots=True)
class Correction:
    """What a task had added to the accounts, and does not any more."""

    task_id: str
    reason: str
    accounts: tuple[Account, ...]


def day_of(at: float) -> str:
    """The day (UTC) of a local time, as ``2026-01-31``."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def note_usage(book: Book, task: TaskState, replica: Replica, usage: Usage | None) -> None:
    """Keep what a worker says that its part took, cut to what the lease's duration and the machine allow.

    A worker is paid by the task and not by the second, so a lie here gains it nothing; it must not spoil sums either.
    """
    if usage is None or not replica.sealed_at or usage == replica.usage or task.accounted:
        return
    worker = book.workers.get(replica.worker)
    slots = worker.slots if worker is not None else 1
    # Jobs of a run are computed side by side, each in a slot; a job has as many processors as it asks for.
    at_once = max(min(slots, task.units), 1)
    longest_ms = min(round((replica.sealed_at - replica.leased_at) * 1000) + _GRACE_MS, MAX_USAGE) * at_once
    processors = max(task.deal.requirements.needs.cpus, 1)
    memory = worker.machine.memory_bytes if worker is not None and worker.machine is not None else 0
    cut = Usage(
        cpu_ms=min(usage.cpu_ms, longest_ms * processors, MAX_USAGE),
        wall_ms=min(usage.wall_ms, longest_ms, MAX_USAGE),
        peak_memory_bytes=min(usage.peak_memory_bytes, memory or usage.peak_memory_bytes),
        bytes_in=usage.bytes_in,
        bytes_out=usage.bytes_out,
    )
    if cut != usage:
        book.tally["usage/cut"] += 1
    replica.usage = cut
    book.touch(task)


def accounts_of(task: TaskState, workerpool: str) -> list[Account]:
    """What a task that is over adds to the accounts of all that had to do with it."""
    completed = task.phase is Phase.COMPLETED
    if task.phase is Phase.SPLIT or task.is_rest or unopened.is_unopened(task):
        ended = 0  # its tasks count with the runs that take its place; what never began counts nowhere
    else:
        ended = task.units
    paid, kept = _payments(task) if completed else ({}, 0)
    whole = Account("requester", task.deal.requester, tasks=ended, completed=ended if completed else 0)
    parts: dict[str, Account] = {}
    for replica in task.replicas:
        part = _part_of(replica)
        whole = whole.plus(part)
        known = parts.get(replica.worker)
        parts[replica.worker] = part if known is None else known.plus(part)
    for worker, nrlc in paid.items():
        known = parts.get(worker) or Account("worker", worker)
        earned = Account("worker", worker, tasks=ended, completed=ended, nrlc=nrlc)
        parts[worker] = known.plus(earned)
    whole = replace(whole, nrlc=task.deal.price * task.units if completed else 0)
    accounts = [whole, replace(whole, kind="app", subject=task.deal.app), *parts.values()]
    if completed:
        accounts.append(Account("pool", workerpool, tasks=ended, completed=ended, nrlc=kept))
    return accounts


def take_back(book: Book, task: TaskState, facts: ChainFacts) -> None:
    """Before a task gets other facts: what it added to the accounts is taken off, and it enters them anew when it is
    over again. Nothing if it is not in them."""
    if not task.accounted or facts == task.facts:
        return
    reason = f"The chain took it back: {task.facts.status.name} became {facts.status.name}."
    accounts = tuple(accounts_of(task, book.identity.workerpool))
    book.corrections[task.task_id] = Correction(task.task_id, reason, accounts)
    task.accounted = False


def added_up(accounts: Iterable[Account]) -> list[Account]:
    """One account for each kind and subject, in the order in which they come first."""
    sums: dict[tuple[str, str], Account] = {}
    for account in accounts:
        key = (account.kind, account.subject)
        known = sums.get(key)
        sums[key] = account if known is None else known.plus(account)
    return list(sums.values())


def _part_of(replica: Replica) -> Account:
    usage = replica.usage
    if usage is None:
        return Account("worker", replica.worker, leases=1)
    return Account(
        "worker",
        replica.worker,
        leases=1,
        metered=1,
        cpu_ms=usage.cpu_ms,
        wall_ms=usage.wall_ms,
        peak_memory_bytes=usage.peak_memory_bytes,
        bytes_in=usage.bytes_in,
        bytes_out=usage.bytes_out,
    )


def _payments(task: TaskState) -> tuple[dict[str, int], int]:
    """What each proved contributor got of a finalized task, and what was left for the pool (nRLC)."""
    seen = task.facts.contributions
    proved: Sequence[int | None] = [
        max(log2_weight(item.weight), 1) if item.status is ContributionStatus.PROVED else None for item in seen
    ]
    if not any(weight is not None for weight in proved):
        return {}, 0
    if not any(proved):
        # The hub keeps no weight of who contributed and finalized in one transaction; it was alone, and shares nothing.
        proved = [None if weight is None else 1 for weight in proved]
    split = distribute(
        workerpool_price=task.deal.price * task.units,
        stake=task.stake,
        scheduler_reward_ratio=task.deal.pool_percent,
        proved_weights=proved,
    )
    earned = {
        item.worker: nrlc for item, nrlc, weight in zip(seen, split.workers, proved, strict=True) if weight is not None
    }
    return earned, split.scheduler
