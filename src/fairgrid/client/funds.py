"""Where an account's locked money is: each deal that holds some of it, until when, and what frees it.

Everything is read from the chain. The journal says which deals are the account's own; deals of others (in which it is
a worker, or owns the pool), and own deals that no journal here knows, are found by reading the hub's events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fairgrid.chain.interface import Chain, ChainEvent, Wanted
from fairgrid.client.boost import BoostState, read_boost
from fairgrid.client.journal import DealRecord
from fairgrid.client.ledger import BagLedger
from fairgrid.errors import UsageError
from fairgrid.protocol.deadlines import final_deadline
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.rewards import pool_stake, task_price
from fairgrid.protocol.runs import units_of
from fairgrid.protocol.views import Deal, TaskStatus

__all__ = ["DealState", "Funds", "Lock", "Role", "events_until_now", "explain_funds", "read_deal"]

_OVER: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED)
_AT_ONCE: Final = 200


class Role(StrEnum):
    """As what an account has money in a deal."""

    PAYER = "payer"
    """The price of tasks that are not settled."""
    POOL = "pool"
    """The scheduler's stake for them: 30 % of the pool's price."""
    WORKER = "worker"
    """The stake for its contributions to tasks that are not settled."""


@dataclass(frozen=True, slots=True)
class DealState:
    """A deal as it stands. Counts are of tasks; ``open_tasks`` have neither a result nor a refund."""

    deal_id: str
    deal: Deal
    deadline: int
    """Chain time from which on anybody may claim what is not settled."""
    now: int
    """Chain time when it was read."""
    completed: int
    refunded: int
    statuses: Mapping[int, TaskStatus]
    """Status by index, of tasks that have a place of their own on chain or would get one."""
    open_runs: tuple[tuple[str, int, int], ...] = ()
    """Open runs of the batch lane: id, first index, number of tasks."""
    unopened: int = 0
    """Tasks at the end of a batch-lane deal that no run holds yet."""

    @property
    def open_tasks(self) -> int:
        return self.deal.bot_size - self.completed - self.refunded

    @property
    def price(self) -> int:
        """What the payer locks for one task (nRLC)."""
        return task_price(self.deal.app.price, self.deal.dataset.price, self.deal.workerpool.price)

    @property
    def is_overdue(self) -> bool:
        """Whether what is open can be claimed now."""
        return self.open_tasks > 0 and self.now >= self.deadline


@dataclass(frozen=True, slots=True)
class Lock:
    """Money of an account that one deal holds (nRLC)."""

    role: Role
    deal_id: str
    amount: int
    tasks: int
    until: int
    """Chain time from which on anybody may claim it back."""
    overdue: bool
    boost: bool = False
    """Whether it is a deal of boost, whose results no command here fetches."""

    @property
    def frees(self) -> str:
        """What frees it, in a sentence."""
        if self.overdue:
            return "its deadline has passed without a result: claim it"
        return {
            Role.PAYER: "the result, which it pays for; or a claim after the deadline, and it comes back",
            Role.POOL: "the results, and it comes back; it is lost if the deal is claimed after the deadline",
            Role.WORKER: "the end of the tasks: it comes back with a reward, and is lost for a result that lost",
        }[self.role]

    @property
    def command(self) -> str:
        """The command that frees it, or that waits for what does."""
        if self.overdue:
            return f"fairgrid deal claim {self.deal_id}"
        fetches = self.role is Role.PAYER and not self.boost
        return f"fairgrid result {self.deal_id[:12]}" if fetches else f"fairgrid deal show {self.deal_id}"


@dataclass(frozen=True, slots=True)
class Funds:
    """Everything that an account has in the hub (nRLC)."""

    stake: int
    locked: int
    locks: tuple[Lock, ...]
    now: int
    """Chain time."""

    @property
    def unexplained(self) -> int:
        """Locked by deals that are not in ``locks``."""
        return self.locked - sum(lock.amount for lock in self.locks)


async def read_deal(chain: Chain, deal_id: str, events: Iterable[ChainEvent] = ()) -> DealState:
    """A deal as it stands. In the batch lane its tasks are known by the hub's ``events`` since the deal.

    Raises:
        UsageError: the hub does not know the deal.
    """
    deal = await chain.view_deal(deal_id)
    if deal is None:
        raise UsageError(f"The hub does not know deal {deal_id}. Is this the right network?")
    category, head, lane = await asyncio.gather(
        chain.view_category(deal.category), chain.head(), chain.view_lane(deal_id)
    )
    deadline = final_deadline(deal.start_time, category.timeref)
    first, end = deal.bot_first, deal.bot_first + deal.bot_size
    if not lane.in_batch_lane:
        statuses = await _statuses(chain, deal_id, range(first, end))
        done, failed = (sum(status is one for status in statuses.values()) for one in _OVER)
        return DealState(deal_id, deal, deadline, head.timestamp, done, failed, statuses)
    ledger = BagLedger(deal_id, deal)
    for event in events:
        ledger.take(event)
    bag = ledger.bag()
    in_runs = {index for _, start, count in bag.open_runs for index in range(start, start + count)}
    in_runs |= {index for run in bag.runs for index in range(run.first, run.first + run.count)}
    singles = [index for index in range(first, lane.cursor) if index not in in_runs and index not in bag.refunded]
    return DealState(
        deal_id,
        deal,
        deadline,
        head.timestamp,
        bag.completed,
        len(bag.refunded),
        await _statuses(chain, deal_id, singles),
        bag.open_runs,
        0 if lane.refunded else end - lane.cursor,
    )


async def explain_funds(
    chain: Chain, account: str, records: Sequence[DealRecord], *, scan_from: int | None = None
) -> Funds:
    """What an account has, and every deal that holds some of it.

    Deals are those of ``records``; with ``scan_from`` also all that the hub's events name since that block.
    """
    has, head = await asyncio.gather(chain.view_account(account), chain.head())
    wanted = {record.deal_id for record in records if record.mined}
    events: list[ChainEvent] = []
    batches = [record.block_number for record in records if record.mined and record.batch]
    start = scan_from if scan_from is not None else min(batches, default=None)
    if start is not None and has.locked:
        events = await events_until_now(chain, start)
    if scan_from is not None:
        wanted |= {event.arguments["dealid"] for event in events if event.name == "OrdersMatched"}
    locks: list[Lock] = []
    if has.locked:
        locks = await _locks(chain, account, wanted, events)
    return Funds(
        has.stake, has.locked, tuple(sorted(locks, key=lambda lock: (lock.until, lock.deal_id))), head.timestamp
    )


async def events_until_now(chain: Chain, from_block: int) -> list[ChainEvent]:
    """Every event of the hub from a block up to the newest one, those of undone blocks left out."""
    head = (await chain.head()).number
    caught_up = asyncio.Event()

    def note(block: int) -> None:
        if block >= head:
            caught_up.set()

    stream = chain.follow(from_block=from_block, reached=note)
    found: dict[tuple[str, int], ChainEvent] = {}
    waiting = asyncio.ensure_future(caught_up.wait())
    upcoming = asyncio.ensure_future(anext(stream))
    try:
        while True:
            await asyncio.wait((waiting, upcoming), return_when=asyncio.FIRST_COMPLETED)
            if not upcoming.done():
                return list(found.values())
            event = upcoming.result()
            key = (event.block_hash, event.log_index)
            if event.removed:
                found.pop(key, None)
            else:
                found[key] = event
            upcoming = asyncio.ensure_future(anext(stream))
    finally:
        for task in (waiting, upcoming):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _locks(chain: Chain, account: str, wanted: set[str], events: Sequence[ChainEvent]) -> list[Lock]:
    ids = sorted(wanted)
    deals: dict[str, Deal | None] = {}
    for start in range(0, len(ids), _AT_ONCE):
        deals |= (await chain.snapshot(Wanted(deals=tuple(ids[start : start + _AT_ONCE])))).deals
    contributed = {event.arguments["taskid"] for event in events if _is_contribution(event, account)}
    states: dict[str, DealState] = {}

    async def state_of(deal_id: str) -> DealState:
        if deal_id not in states:
            states[deal_id] = await read_deal(chain, deal_id, events)
        return states[deal_id]

    locks = []
    for deal_id, deal in deals.items():
        if deal is None:
            locks += await _boost_locks(chain, account, deal_id)
            continue
        if account not in (deal.sponsor, deal.workerpool.owner):
            continue
        state = await state_of(deal_id)
        for role, owner, each in (
            (Role.PAYER, deal.sponsor, state.price),
            (Role.POOL, deal.workerpool.owner, pool_stake(deal.workerpool.price)),
        ):
            if owner == account and state.open_tasks and each:
                locks.append(_lock(role, state, state.open_tasks, each * state.open_tasks))
    for deal_id, units in (await _stakes(chain, contributed)).items():
        state = await state_of(deal_id)
        if amount := units * state.deal.worker_stake:
            locks.append(_lock(Role.WORKER, state, units, amount))
    return locks


async def _boost_locks(chain: Chain, account: str, deal_id: str) -> list[Lock]:
    state = await read_boost(chain, deal_id)
    if state is None or not state.open_tasks:
        return []
    deal = state.deal
    return [
        _lock(role, state, state.open_tasks, each * state.open_tasks)
        for role, owner, each in (
            (Role.PAYER, deal.sponsor, state.price),
            (Role.POOL, deal.workerpool_owner, pool_stake(deal.workerpool_price)),
        )
        if owner == account and each
    ]


async def _stakes(chain: Chain, contributed: set[str]) -> dict[str, int]:
    """Of the tasks and runs that are not settled: how many tasks, by deal."""
    ids = sorted(contributed)
    found: dict[str, int] = {}
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        for place, task in zip(part, await chain.view_tasks(part), strict=True):
            if task.status in (TaskStatus.ACTIVE, TaskStatus.REVEALING):
                units = units_of((await chain.view_run(place)).count)
                found[task.deal_id] = found.get(task.deal_id, 0) + units
    return found


async def _statuses(chain: Chain, deal_id: str, indexes: Iterable[int]) -> dict[int, TaskStatus]:
    wanted = list(indexes)
    found: dict[int, TaskStatus] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        tasks = await chain.view_tasks([task_id(deal_id, index) for index in part])
        found |= {index: task.status for index, task in zip(part, tasks, strict=True)}
    return found


def _is_contribution(event: ChainEvent, account: str) -> bool:
    return event.name == "TaskContribute" and event.arguments.get("worker") == account


def _lock(role: Role, state: DealState | BoostState, tasks: int, amount: int) -> Lock:
    boost = isinstance(state, BoostState)
    return Lock(role, state.deal_id, amount, tasks, state.deadline, state.is_overdue, boost)
