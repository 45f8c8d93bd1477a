"""Makes deals of calls: packs them into tasks, plans every deal on disk, then signs and matches it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from fairgrid.errors import BudgetExceeded, FairgridError, RunInterrupted, ServiceError
from fairgrid.executors.apps import name_clash
from fairgrid.executors.backend import AppProgram, Backend, DealVoid, SignedDeal
from fairgrid.executors.calls import Call
from fairgrid.executors.followed_deals import FollowedDeals
from fairgrid.executors.open_calls import OpenCalls
from fairgrid.executors.packing import Packing, Task, deals_of, pack
from fairgrid.executors.record import DealPlan, RunRecord
from fairgrid.executors.run_books import RunBooks
from fairgrid.executors.timing import patiently

__all__ = ["DealMaker"]

_SIGNATURES: Final = 5


class DealMaker:
    """Spends a run's budget on deals for its calls. ``patience``: how long the backend may be away (seconds)."""

    def __init__(
        self,
        backend: Backend,
        record: RunRecord,
        calls: OpenCalls,
        books: RunBooks,
        deals: FollowedDeals,
        *,
        packing: Packing,
        patience: float,
    ) -> None:
        self._backend = backend
        self._record = record
        self._calls = calls
        self._books = books
        self._deals = deals
        self._packing = packing
        self._patience = patience

    async def deal(self, calls: Sequence[Call], again: Sequence[Task], app: str = "") -> None:
        """Deal Python calls, or calls of one published app; ``again`` are tasks that were dealt before."""
        if not calls and not again:
            return
        program: AppProgram | None = None
        try:
            if app:
                program = await patiently(partial(self._backend.app, app), patience=self._patience)
            price = await patiently(partial(self._backend.price, app), patience=self._patience)
        except FairgridError as unreachable:
            self._calls.fail([*calls, *(call for task in again for call in task)], unreachable)
            return
        started = self._calls.begin(calls)
        if program is not None:
            started = self._without_clashes(started, program)
        affordable = self._books.affordable(price)
        tasks = (*again, *pack(started, self._packing, most_tasks=affordable - len(again)))
        if len(tasks) > affordable:
            receipt = self._books.receipt()
            too_dear = BudgetExceeded(needed=price * len(tasks), left=receipt.left, budget=receipt.budget)
            self._calls.fail([call for task in tasks[affordable:] for call in task], too_dear)
        for some in deals_of(tasks[:affordable]):
            plan = await asyncio.to_thread(self._record.plan, some, self._packing, program)
            await self.carry_out(plan, None)

    def _without_clashes(self, calls: Sequence[Call], program: AppProgram) -> list[Call]:
        """Those whose files have other names than the app's own; the rest fail."""
        fit = []
        for call in calls:
            fault = name_clash(call, program)
            if fault is None:
                fit.append(call)
            else:
                self._calls.fail([call], fault)
        return fit

    async def carry_out(self, plan: DealPlan, deal: SignedDeal | None) -> None:
        """Sign unless ``deal`` is signed, match, and begin to follow; whatever fails is told to the calls."""
        calls = [call for task in plan.tasks for call in task]
        self._calls.plan(plan)
        signed = deal is not None
        try:
            for _ in range(_SIGNATURES):
                try:
                    if deal is None:
                        deal = await patiently(partial(self._sign, plan), patience=self._patience)
                        self._books.signed(plan, deal)
                        signed = True
                    await patiently(partial(self._backend.match, deal), patience=self._patience)
                    break
                except DealVoid:
                    # Another process with the same key was faster: its transaction has the place of ours.
                    self._books.void(plan)
                    deal, signed = None, False
            else:
                raise ServiceError(
                    f"{_SIGNATURES} signed deals were displaced by other transactions of the same account. "
                    f"Nothing is locked. Let one process at a time use this key."
                )
        except FairgridError as error:
            if signed:
                self._calls.fail(calls, RunInterrupted(self._record.run_id, str(error)), of=plan)
            else:
                await asyncio.to_thread(self._record.give_up, plan)
                self._calls.fail(calls, error, of=plan)
            return
        assert deal is not None
        self._deals.follow(plan, deal)

    async def _sign(self, plan: DealPlan) -> SignedDeal:
        return await self._backend.sign(plan.job, most=self._books.left)
