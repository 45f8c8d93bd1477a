"""What a pool answers to who asks: for a task as it is now, is stored, or will begin; for usage and debts."""

from __future__ import annotations

import asyncio

from fairgrid.pool.core.accounts import Account, AccountKind
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.sponsoring import Debt
from fairgrid.pool.core.task_state import StoryLine
from fairgrid.pool.records.account_store import AccountStore
from fairgrid.pool.records.finder import TaskFinder
from fairgrid.pool.records.repayment_store import RepaymentStore
from fairgrid.pool.records.rows import StoredTask
from fairgrid.pool.records.store import PoolStore

__all__ = ["Inquiries"]


class Inquiries:
    """Asks the machine first, then the store, then the deals of which tasks have not begun."""

    def __init__(self, machine: PoolMachine, store: PoolStore) -> None:
        self._machine = machine
        self._store = store
        self._finder = TaskFinder(machine)

    async def usage(self, kind: AccountKind, *, since: str, until: str) -> list[Account]:
        """Each subject's sums over days (UTC) ``since`` to ``until``, the highest amounts first."""
        return await asyncio.to_thread(AccountStore(self._store.engine).sums, kind, since=since, until=until)

    async def debts(self) -> dict[str, Debt]:
        """What sponsored workers owe and repaid, by worker."""
        return await asyncio.to_thread(RepaymentStore(self._store.engine).debts)

    async def task(self, task_id: str) -> StoredTask | None:
        """A task as it is now, or as it is stored if it is long over; None for one that is not known.

        One of a live deal that has not begun is told as received.
        """
        live = self._machine.tasks.get(task_id)
        if live is not None:
            return StoredTask(live, live.story[-1].at if live.story else live.created_at)
        stored = await asyncio.to_thread(self._store.task, task_id)
        if stored is not None:
            return stored
        unbegun = await self._finder.find(task_id)
        return None if unbegun is None else StoredTask(unbegun, unbegun.created_at)

    async def story(self, task_id: str) -> list[StoryLine]:
        """Everything that happened to a task, in order."""
        live = self._machine.story(task_id)
        if live:
            return list(live)
        stored = await asyncio.to_thread(self._store.story, task_id)
        if stored:
            return stored
        unbegun = await self._finder.find(task_id)
        return [] if unbegun is None else unbegun.story

    async def tasks_of_deal(self, deal_id: str, *, limit: int, offset: int) -> tuple[int, list[tuple[str, int, str]]]:
        """How many tasks the deal has, and id, index and phase of some of them."""
        return await asyncio.to_thread(
            lambda: (
                self._store.count_tasks_of_deal(deal_id),
                self._store.tasks_of_deal(deal_id, limit=limit, offset=offset),
            )
        )
