"""Reads what a task is about from the chain, and says what speaks against it, and what it paid in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from fairgrid.chain.interface import Chain, Snapshot, Wanted
from fairgrid.errors import ServiceUnavailable
from fairgrid.protocol.deadlines import contribution_deadline, final_deadline
from fairgrid.protocol.rewards import distribute
from fairgrid.protocol.views import Category, ContributionStatus, Deal, Task, TaskStatus
from fairgrid.worker.core.held import HeldTask
from fairgrid.worker.onchain.settled import Settled
from fairgrid.worker.owner.policy import Terms, WorkerPolicy, refusal_of_deal
from fairgrid.worker.records.store import WorkerStore

__all__ = ["Judge"]


class Judge:
    """For one worker at one workerpool. ``policy`` is asked each time, so that its owner may change it any time."""

    def __init__(
        self, chain: Chain, worker: str, store: WorkerStore, policy: Callable[[], WorkerPolicy], *, workerpool: str
    ) -> None:
        self._chain = chain
        self._worker = worker
        self._store = store
        self._policy = policy
        self._workerpool = workerpool
        self._deals: Settled[str, Deal] = Settled()
        self._categories: Settled[int, Category] = Settled()

    async def judged(self, held: HeldTask, *, reserved: int = 0) -> tuple[Deal, Task, str | None]:
        """Deal and task, and why the owner's policy, the deposit or the chain speak against the task now.

        ``reserved`` is what other tasks may lock of the deposit (nRLC).

        Raises:
            ServiceUnavailable: the chain does not answer, or does not know deal or task (yet).
        """
        seen = await self._chain.snapshot(
            Wanted(
                deals=self._unsettled(held.deal_id),
                tasks=(held.task_id,),
                accounts=(self._worker,),
                lanes=(held.deal_id,) if held.unopened else (),
            )
        )
        deal = self._deal_in(seen, held.deal_id)
        task = await self._task_in(seen, held, deal)
        terms = Terms(
            deal_id=held.deal_id,
            leased_task_id=held.task_id,
            index=held.index,
            count=held.count,
            deal=deal,
            task=task,
            chain_time=seen.block.timestamp,
            workerpool=self._workerpool,
            spendable_stake=seen.accounts[self._worker].stake - reserved,
            record=await asyncio.to_thread(self._store.pool_record, deal.workerpool.pointer),
        )
        return deal, task, refusal_of_deal(self._policy(), terms)

    def _unsettled(self, deal_id: str) -> tuple[str, ...]:
        return (deal_id,) if self._deals.get(deal_id) is None else ()

    def _deal_in(self, seen: Snapshot, deal_id: str) -> Deal:
        if deal_id not in seen.deals:
            settled = self._deals.get(deal_id)
            assert settled is not None, "it was asked for, or was settled"
            return settled
        deal = seen.deals[deal_id]
        if deal is None:
            raise self._unknown(f"deal {deal_id}")
        self._deals.saw(deal_id, deal, seen.block.number)
        return deal

    async def _task_in(self, seen: Snapshot, held: HeldTask, deal: Deal) -> Task:
        """The task on chain; a run that is still to be opened is shown as it would be if it were opened now."""
        task = seen.tasks[held.task_id]
        if task.status is not TaskStatus.UNSET:
            return task
        lane = seen.lanes.get(held.deal_id)
        if lane is not None and lane.in_batch_lane and not lane.refunded and lane.cursor <= held.index:
            timeref = (await self._category(deal.category, seen.block.number)).timeref
            return replace(
                task,
                status=TaskStatus.ACTIVE,
                deal_id=held.deal_id,
                index=held.index,
                timeref=timeref,
                contribution_deadline=contribution_deadline(deal.start_time, timeref),
                final_deadline=final_deadline(deal.start_time, timeref),
            )
        if held.is_what_it_says:
            raise self._unknown(f"task {held.task_id}")
        return task

    async def _category(self, number: int, block: int) -> Category:
        category = self._categories.get(number)
        if category is None:
            category = await self._chain.view_category(number)
            self._categories.saw(number, category, block)
        return category

    async def earnings(self, held: HeldTask, task: Task) -> int:
        """This worker's reward (nRLC) for a task that is over.

        Raises:
            ServiceUnavailable: the chain does not answer, or does not know the deal.
        """
        if task.status is not TaskStatus.COMPLETED or self._worker not in task.contributors:
            return 0
        pairs = tuple((held.task_id, contributor) for contributor in task.contributors)
        seen = await self._chain.snapshot(Wanted(deals=self._unsettled(held.deal_id), contributions=pairs))
        deal = self._deal_in(seen, held.deal_id)
        # Who finalized at once has no weight, and everything.
        weights = [
            (contribution.weight or 1) if contribution.status is ContributionStatus.PROVED else None
            for contribution in (seen.contributions[pair] for pair in pairs)
        ]
        split = distribute(
            workerpool_price=deal.workerpool.price * held.units,
            stake=deal.worker_stake * held.units,
            scheduler_reward_ratio=deal.scheduler_reward_ratio,
            proved_weights=weights,
        )
        return split.workers[task.contributors.index(self._worker)]

    def _unknown(self, what: str) -> ServiceUnavailable:
        return ServiceUnavailable("chain", f"chain {self._chain.chain_id}", f"it does not know {what} (yet)")
