"""The chain's side of the rim: follows the hub's events, compares tasks with the chain's views, reads the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from fairgrid.chain.follower import ChainRewritten
from fairgrid.chain.interface import Chain, ChainEvent
from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.events import (
    ChainReconciled,
    ConsensusReached,
    ContributionMined,
    DealMatched,
    DealUndone,
    Event,
    RevealMined,
    TaskClaimed,
    TaskFinalized,
    TaskInitialized,
    Tick,
)
from fairgrid.pool.policy import Policy
from fairgrid.pool.state import ChainFacts, DealTerms, PoolIdentity, SeenContribution, TaskState
from fairgrid.pool.store import PoolStore
from fairgrid.protocol.tags import requires_tee
from fairgrid.protocol.trust import worker_weight
from fairgrid.protocol.views import Deal
from fairgrid.seams.clock import Clock

__all__ = ["ChainWatcher", "Position", "terms_of"]

_log = structlog.get_logger(__name__)

SAFE_DEPTH = 64
"""After a restart, events are read again from so many blocks before the last one that was taken."""
_DEEP_STEP = 10_000
_TICK_S = 0.5
_RECONCILE_S = 15.0
_LONGEST_PAUSE_S = 8.0


@dataclass(frozen=True, slots=True)
class Position:
    """Every event up to this block was fed; remembered once they are stored."""

    block_number: int


def terms_of(deal_id: str, deal: Deal, timeref: int) -> DealTerms:
    """What the scheduler needs of a deal, and whether this pool can serve it."""
    refusal = ""
    if requires_tee(deal.tag):
        refusal = "It asks for a trusted execution environment, which this pool's workers do not have."
    elif timeref == 0:
        refusal = "Its category gives no time to compute."
    return DealTerms(
        deal_id=deal_id,
        trust=max(deal.trust, 1),
        timeref=timeref,
        start_time=deal.start_time,
        worker_stake=deal.worker_stake,
        requester=deal.requester,
        callback=deal.callback,
        refusal=refusal,
    )


class ChainWatcher:
    """Feeds the scheduler with facts. All reads that end in an event happen one after the other, so that what is read
    later is never older than what was fed before. ``taken`` waits until all that was fed was taken: a deal's tasks must
    be known before the next event is looked at."""

    def __init__(
        self,
        *,
        chain: Chain,
        identity: PoolIdentity,
        policy: Policy,
        store: PoolStore,
        clock: Clock,
        feed: Callable[[Event | Position], None],
        taken: Callable[[], Awaitable[None]],
        tasks: Callable[[], Mapping[str, TaskState]],
    ) -> None:
        self._chain = chain
        self._identity = identity
        self._policy = policy
        self._store = store
        self._clock = clock
        self._feed = feed
        self._taken = taken
        self._tasks = tasks
        self._order = asyncio.Lock()
        self._timerefs: dict[int, int] = {}
        self._seen_at: dict[str, tuple[ChainFacts, int]] = {}
        self.chain_time = 0
        self.answered_at = 0.0

    # --- loops ----------------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Feed the hub's events, from the last safe block on, for ever."""
        position = await asyncio.to_thread(self._store.position)
        first = self._policy.start_block
        if position is not None:
            first = max(first, position - SAFE_DEPTH)
        while True:
            try:
                await self._follow(first)
            except ChainRewritten as error:
                # What is not true any more is found by comparing; what is new, by reading on from further back.
                first = max(self._policy.start_block, error.block_number - _DEEP_STEP)
                _log.warning("the chain was rewritten deeply; reading again", from_block=first, error=str(error))

    async def _follow(self, first: int) -> None:
        fed = -1
        async for event in self._chain.follow(from_block=first, confirmations=self._policy.confirmations):
            await self._patiently(event)
            if not event.removed and event.block_number - 1 > fed:
                fed = event.block_number - 1
                self._feed(Position(fed))

    async def keep_time(self) -> None:
        """Feed ticks, for ever. While the chain does not answer time stands still: nobody is blamed for its absence."""
        while True:
            try:
                head = await self._chain.head()
                self.chain_time = head.timestamp
                self.answered_at = self._clock.now()
                self._feed(Tick(head.timestamp))
            except ServiceUnavailable as error:
                _log.warning("the chain does not answer", error=str(error))
            await self._clock.sleep(_TICK_S)

    async def compare(self) -> None:
        """Compare every task that is being worked on with the chain, round and round."""
        while True:
            tasks = [task for task in self._tasks().values() if not task.is_final]
            pause = _RECONCILE_S / max(len(tasks), 1)
            for task in tasks:
                await self._clock.sleep(max(pause, 0.02))
                try:
                    await self.reconcile(task.task_id)
                except ServiceUnavailable:
                    break
            if not tasks:
                await self._clock.sleep(_TICK_S)

    # --- one task -------------------------------------------------------------------------------------------------

    async def reconcile(self, task_id: str) -> None:
        """Feed what the chain's views say of a task.

        With confirmations, what is new is believed only when it was read unchanged that many blocks apart; what takes
        a task back is believed at once.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        async with self._order:
            task = self._tasks().get(task_id)
            if task is None:
                self._seen_at.pop(task_id, None)
                return
            head = await self._chain.head()
            facts = await self._facts(task)
            if self._policy.confirmations and facts.status >= task.facts.status and facts != task.facts:
                known, since = self._seen_at.get(task_id, (None, 0))
                if known != facts:
                    self._seen_at[task_id] = (facts, head.number)
                    return
                if head.number < since + self._policy.confirmations:
                    return
            self._seen_at.pop(task_id, None)
            self._feed(ChainReconciled(task_id, facts))

    async def _facts(self, task: TaskState) -> ChainFacts:
        view = await self._chain.view_task(task.task_id)
        seen = []
        for worker in view.contributors:
            contribution = await self._chain.view_contribution(task.task_id, worker)
            known = task.facts.contribution(worker)
            if known is not None and known.result_hash == contribution.result_hash:
                weight = known.weight
            else:
                weight = worker_weight(await self._chain.view_score(worker))
            seen.append(SeenContribution(worker, contribution.result_hash, weight, contribution.status))
        return ChainFacts(
            status=view.status,
            consensus_value=view.consensus_value,
            reveal_deadline=view.reveal_deadline,
            result_digest=view.result_digest,
            contributions=tuple(seen),
        )

    # --- one event ------------------------------------------------------------------------------------------------

    async def _patiently(self, event: ChainEvent) -> None:
        pause = _TICK_S
        while True:
            try:
                async with self._order:
                    fed = await self._take(event)
                if not fed and event.removed and "taskid" in event.arguments:
                    await self.reconcile(event.arguments["taskid"])
                return
            except ServiceUnavailable as error:
                _log.warning("the chain does not answer; an event waits", name=event.name, error=str(error))
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _take(self, event: ChainEvent) -> bool:
        """Feed an event; False if it must be read from the views instead."""
        given = event.arguments
        if event.name == "SchedulerNotice":
            if given["workerpool"] == self._identity.workerpool:
                await self._deal(given["dealid"], removed=event.removed)
            return True
        task_id = given.get("taskid")
        if task_id is None or task_id not in self._tasks():
            return True
        if event.removed:
            return False
        translated = await self._translate(event.name, task_id, given)
        if translated is not None:
            self._feed(translated)
        elif event.name == "TaskReopen":
            self._feed(ChainReconciled(task_id, await self._facts(self._tasks()[task_id])))
        return True

    async def _translate(self, name: str, task_id: str, given: Mapping[str, Any]) -> Event | None:
        match name:
            case "TaskInitialize":
                return TaskInitialized(task_id)
            case "TaskContribute":
                worker = given["worker"]
                weight = worker_weight(await self._chain.view_score(worker))
                return ContributionMined(task_id, worker, given["hash"], weight)
            case "TaskConsensus":
                view = await self._chain.view_task(task_id)
                return ConsensusReached(task_id, given["consensus"], view.reveal_deadline)
            case "TaskReveal":
                return RevealMined(task_id, given["worker"], given["digest"])
            case "TaskFinalize":
                return TaskFinalized(task_id)
            case "TaskClaimed":
                return TaskClaimed(task_id)
            case _:
                return None

    async def _deal(self, deal_id: str, *, removed: bool) -> None:
        deal = await self._chain.view_deal(deal_id)
        if deal is None:
            if removed:
                self._feed(DealUndone(deal_id))
            return
        if deal.workerpool.pointer != self._identity.workerpool:
            return
        if deal.bot_size > self._policy.max_bag_size:
            _log.warning("deal not served: too many tasks", deal=deal_id, tasks=deal.bot_size)
            return
        if await asyncio.to_thread(self._store.is_deal_settled, deal_id):
            return  # It is over, and only read again.
        timeref = await self._timeref(deal.category)
        self._feed(DealMatched(terms_of(deal_id, deal, timeref), deal.bot_first, deal.bot_size))
        await self._taken()

    async def _timeref(self, category: int) -> int:
        if category not in self._timerefs:
            self._timerefs[category] = (await self._chain.view_category(category)).timeref
        return self._timerefs[category]
