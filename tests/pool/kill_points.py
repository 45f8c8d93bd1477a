"""Kill points of the scheduler: for every kind of instruction, where its process may die around carrying it out.

A new kind of instruction needs a scenario in `SCENARIOS` that makes the scheduler decide it, and a line in `DELIVERED`
that says by what its arrival is known; `test_kill_points.py` fails until both are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from fairgrid.chain.interface import Mined, SignedTransaction
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import FundsError, TransactionFailed
from fairgrid.pool.core.events import (
    ConsensusReached,
    ContributionMined,
    DependenciesMet,
    LeaseFailed,
    OpeningReceived,
    RevealMined,
    RunSettledAtOnce,
    SealReceived,
    TaskSettledAtOnce,
    UploadReported,
    UploadVerified,
)
from fairgrid.pool.core.instructions import ChainInstruction, Instruction
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.rows import Commit
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol import pool_messages, worker_messages
from fairgrid.protocol.views import Deal, TaskStatus
from fairgrid.storage.client import StorageClient

from .grid import Grid
from .scripted import Script, Scripted

POINTS = ("before send", "after send", "after receipt")


def kinds_of(union: Any) -> list[type[Any]]:
    """The classes of a union, also of unions in it."""
    kinds: list[type[Any]] = []
    for part in get_args(union):
        kinds += kinds_of(part) if isinstance(part, UnionType) else [part]
    return kinds


KINDS = kinds_of(Instruction)
CHAIN_KINDS = {kind.__name__ for kind in kinds_of(ChainInstruction)}


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the arrival of an instruction shows: the message that a worker gets, and the events that answer it.

    ``answers`` empty: nothing answers; a moment later counts as its receipt.
    """

    message: str = ""
    answers: tuple[type[Any], ...] = ()


DELIVERED = {
    "Initialize": Delivery(),
    "Finalize": Delivery(),
    "Claim": Delivery(),
    "Reopen": Delivery(),
    "OpenRun": Delivery(),
    "SplitRun": Delivery(),
    "FinalizeRun": Delivery(),
    "RefundRest": Delivery(),
    "SendLease": Delivery("lease", (SealReceived, LeaseFailed)),
    "SendAuthorisation": Delivery(
        "authorisation", (ContributionMined, ConsensusReached, TaskSettledAtOnce, RunSettledAtOnce)
    ),
    "SendRevealNotice": Delivery("reveal_notice", (RevealMined,)),
    "RequestOpening": Delivery("opening_request", (OpeningReceived,)),
    "RequestUpload": Delivery("upload_request", (UploadReported,)),
    "SendAbort": Delivery("abort"),
    "SendDone": Delivery("task_done"),
    "VerifyUpload": Delivery("storage", (UploadVerified,)),
    "AwaitDependencies": Delivery("deal", (DependenciesMet,)),
    "BanWorker": Delivery("close"),
    "PayAuditor": Delivery(),
}

FUNCTIONS = {"PayAuditor": "transfer"}
"""The functions of the hub that are not called as their instructions are."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A task's life in which an instruction is decided. ``workers`` are made anew for each pool process."""

    workers: Callable[[Grid], list[Scripted]]
    trust: int = 1
    ends: TaskStatus = TaskStatus.COMPLETED
    skips_s: int = 0
    """Chain time that passes once the task is so far."""
    skips_at: TaskStatus = TaskStatus.ACTIVE
    also: tuple[str, ...] = ()
    """What the pool sends besides what every task needs."""
    run: int = 0
    """Tasks of a run in the batch lane, whose life it is instead of a task's."""
    tasks: int = 1
    """Tasks of the deal."""
    audited: bool = False
    """Another worker audits it, and is paid at once."""
    fast: bool = False
    """Its worker ends it itself; of a run, it begins it, too."""
    waits: bool = False
    """Its job may read results of other tasks, so that the pool must find out."""


def _one(grid: Grid) -> list[Scripted]:
    return [Scripted(grid, "worker")]


def _one_is_fast(grid: Grid) -> list[Scripted]:
    return [Scripted(grid, "worker", Script(fast=True))]


def _one_settles(grid: Grid) -> list[Scripted]:
    return [Scripted(grid, "worker", Script(fast=True, settles=True))]


def _one_is_confused(grid: Grid) -> list[Scripted]:
    return [Confused(grid, "worker")]


def _one_differs_from_its_seal(grid: Grid) -> list[Scripted]:
    return [
        Scripted(grid, "worker"),
        Scripted(grid, "turncoat", Script(content=b"other", contributes=b"right", uploads=b"right")),
    ]


def _two_agree(grid: Grid) -> list[Scripted]:
    return [Scripted(grid, "worker"), Scripted(grid, "auditor")]


def _two_disagree(grid: Grid) -> list[Scripted]:
    return [Scripted(grid, "worker"), Scripted(grid, "other", Script(content=b"wrong"))]


def _two_are_shy(grid: Grid) -> list[Scripted]:
    return [Shy(grid, "shy"), Shy(grid, "shy too")]


def _nobody(grid: Grid) -> list[Scripted]:
    return []


HAPPY = Scenario(_one)
FAST = Scenario(_one_is_fast, fast=True)
SETTLED = Scenario(_one_settles, fast=True, run=3, tasks=3)
HAPPY_RUN = Scenario(_one, run=3, tasks=3)
SCENARIOS = {
    **dict.fromkeys(("Initialize", "Finalize", "VerifyUpload"), HAPPY),
    **dict.fromkeys(("SendLease", "SendAuthorisation", "SendRevealNotice", "SendDone"), HAPPY),
    **dict.fromkeys(("RequestOpening", "RequestUpload"), HAPPY),
    "Claim": Scenario(_nobody, ends=TaskStatus.FAILED, skips_s=100_000),
    "Reopen": Scenario(_two_are_shy, skips_s=700, skips_at=TaskStatus.REVEALING, also=("reopen",)),
    **dict.fromkeys(("OpenRun", "FinalizeRun"), HAPPY_RUN),
    "SplitRun": Scenario(_two_disagree, trust=4, ends=TaskStatus.SPLIT, run=2, tasks=2),
    "RefundRest": Scenario(
        _nobody, trust=4, ends=TaskStatus.FAILED, skips_s=100_000, run=4, tasks=9, also=("refundRest",)
    ),
    "SendAbort": Scenario(_one_is_confused),
    "AwaitDependencies": Scenario(_one, waits=True),
    "PayAuditor": Scenario(_two_agree, audited=True, also=("transfer",)),
    "BanWorker": Scenario(_one_differs_from_its_seal, trust=3),
}


class Shy(Scripted):
    """Reveals only once the task was reopened: so nobody reveals the first time."""

    async def _act(self, message: pool_messages.PoolMessage) -> None:
        reopened = any(event.name == "TaskReopen" for event in self.grid.chain.model.events)
        if reopened or not isinstance(message, pool_messages.RevealNotice):
            await super()._act(message)


class Confused(Scripted):
    """Speaks of a lease that the pool never gave, too."""

    async def _act(self, message: pool_messages.PoolMessage) -> None:
        if isinstance(message, pool_messages.Lease):
            await self.say(worker_messages.LeaseFailed(lease_id="ff" * 16, task_id=message.task_id, reason="not today"))
        await super()._act(message)


class Died(Exception):
    """The process ended here."""


class Killer:
    """Ends a pool once, at one point of the first instruction of one kind."""

    def __init__(self, kind: str, point: str) -> None:
        self.kind = kind
        self.point = point
        self.decided = threading.Event()
        self.delivered = threading.Event()
        self.died = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.is_dead = False

    def at(self, point: str) -> None:
        """Die if this is the point."""
        if self.point == point and not self.is_dead:
            self.is_dead = True
            self._loop.call_soon_threadsafe(self.died.set)
        if self.is_dead:
            raise Died

    def _die_quietly(self) -> None:
        with contextlib.suppress(Died):
            self.at("after receipt")

    def arrived(self, message: str) -> bool:
        """Note that a message arrived; True if the pool died of it, and nobody answers."""
        if message == DELIVERED[self.kind].message and self.decided.is_set() and not self.is_dead:
            self.delivered.set()
            with contextlib.suppress(Died):
                self.at("after send")
            if not DELIVERED[self.kind].answers:
                self._loop.call_later(0.2, self._die_quietly)
        return self.is_dead


class KillingStore(PoolStore):
    """Dies before a commit that has the answer, or after one that has the decision."""

    killer: Killer

    def commit(self, commit: Commit, *, handed: Callable[[], None] = lambda: None) -> None:
        killer = self.killer
        if killer.is_dead:
            raise Died
        answers = DELIVERED[killer.kind].answers
        if killer.delivered.is_set() and any(isinstance(event, answers) for event in commit.events):
            killer.at("after receipt")
        super().commit(commit, handed=handed)
        if killer.kind in {type(instruction).__name__ for instruction in commit.instructions}:
            killer.decided.set()
            if killer.kind not in CHAIN_KINDS:
                killer.at("before send")


class KillingChain:
    """Dies around sending a transaction, or when its receipt is read."""

    def __init__(self, chain: ModelChain, killer: Killer) -> None:
        self._chain = chain
        self._killer = killer
        self._sent: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    async def broadcast_all(
        self, transactions: Sequence[SignedTransaction]
    ) -> list[TransactionFailed | FundsError | None]:
        named = FUNCTIONS.get(self._killer.kind, self._killer.kind).lower()
        wanted = {transaction.hash for transaction in transactions if transaction.function.lower().startswith(named)}
        if wanted:
            self._killer.at("before send")
        refusals = await self._chain.broadcast_all(transactions)
        self._sent |= wanted
        if wanted:
            self._killer.at("after send")
        return refusals

    async def view_deal(self, deal_id: str) -> Deal | None:
        if self._killer.arrived("deal"):
            raise Died
        return await self._chain.view_deal(deal_id)

    async def mined(self, hashes: Sequence[str]) -> list[Mined | None]:
        found = await self._chain.mined(hashes)
        if any(receipt is not None and receipt.tx_hash in self._sent for receipt in found):
            self._killer.at("after receipt")
        return found


class KillingStorage:
    """The storage as the pool sees it: dies when it has fetched an upload."""

    def __init__(self, storage: StorageClient, killer: Killer) -> None:
        self._storage = storage
        self._killer = killer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def fetch_bytes(self, cid: str, *, max_bytes: int) -> bytes:
        if self._killer.arrived("storage"):
            raise Died
        return await self._storage.fetch_bytes(cid, max_bytes=max_bytes)

    async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None:
        if self._killer.arrived("storage"):
            raise Died
        await self._storage.fetch(cid, dest, max_bytes=max_bytes)


def watched(worker: Scripted, killer: Killer) -> Scripted:
    """The same worker; what arrives at it may be the death of the pool."""
    act, listen = worker._act, worker._listen

    async def watching(message: pool_messages.PoolMessage) -> None:
        if not killer.arrived(message.kind):
            with contextlib.suppress(TransactionFailed):  # a reminder of what is done already
                await act(message)

    async def listening() -> None:
        await listen()
        killer.arrived("close")

    worker._act = watching  # type: ignore[method-assign]
    worker._listen = listening  # type: ignore[method-assign]
    return worker


def policy_of(policy: Policy) -> Policy:
    """Times of the tests' clock that let a silent worker be banned soon."""
    return replace(policy, opening_timeout_s=8.0, reconnect_grace_s=20.0)
