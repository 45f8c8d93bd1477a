"""The chain's side of the rim: follows the hub's events, compares tasks with the chain's views, reads the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from fairgrid.chain.follower import ChainRewritten
from fairgrid.chain.interface import Chain, ChainEvent
from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.pool.core.events import (
    ChainRead,
    ChainReconciled,
    DealMatched,
    DealUndone,
    Event,
    RunOpened,
    Tick,
)
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.matching import Requirements
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.onchain.comparison import Comparison
from fairgrid.pool.onchain.event_reads import EventReads, read_for
from fairgrid.pool.onchain.translation import RUN_AT_ONCE, event_of, is_readable, joined, run_settled, terms_of, unit_of
from fairgrid.pool.records.chain_memory import Anchor, ChainMemory
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol.tags import has_lane
from fairgrid.protocol.views import Deal
from fairgrid.seams.clock import Clock

__all__ = ["ChainWatcher", "Position"]

_log = structlog.get_logger(__name__)

LOCAL_CHAIN_ID = 31_337
SAFE_DEPTH = 64
"""After a restart, events are read again from so many blocks before the last one that was taken."""
_DEEP_STEP = 10_000
_TICK_S = 0.5
_SILENT_S = 5.0
"""A chain that was not heard of for so long was away."""
_READ_AT_ONCE = 200
_IDENTITY_EVERY_S = 30.0
_LONGEST_PAUSE_S = 8.0
_LONGEST_READING_S = 900.0
"""So long nothing is given out while the chain's past is read; then each task is compared as it comes."""


@dataclass(frozen=True, slots=True)
class Position:
    """Every event up to this block was fed; remembered once they are stored."""

    block_number: int


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
        waits: Callable[[Deal], Awaitable[bool]],
        requirements: Callable[[Deal], Awaitable[Requirements]],
        refusal: Callable[[Deal], Awaitable[str]] | None = None,
        transferred: Callable[[ChainEvent], Awaitable[None]] | None = None,
    ) -> None:
        """``waits`` says whether a deal's tasks may read the results of others, ``requirements`` what they ask of a
        machine; neither ever raises. ``refusal`` says why a deal is not to be served (empty: it is). ``transferred``
        takes every ``Transfer`` of the hub, those that are undone included."""
        self._refusal = refusal
        self._transferred = transferred
        self._requirements = requirements
        self._memory = ChainMemory(store.engine)
        self._chain = chain
        self._waits = waits
        self._identity = identity
        self._policy = policy
        self._store = store
        self._clock = clock
        self._feed = feed
        self._taken = taken
        self._tasks = tasks
        self._order = asyncio.Lock()
        self._timerefs: dict[int, int] = {}
        self._comparison = Comparison(
            chain=chain, clock=clock, order=self._order, confirmations=policy.confirmations, feed=feed, tasks=tasks
        )
        self._identity_checked_at = 0.0
        self.chain_time = 0
        self.answered_at = 0.0
        self._head_at_start: int | None = None
        self._reads_since = 0.0
        self.reorganisations = 0
        """How often the chain took events of the hub back."""

    async def begin(self) -> None:
        """Say how much of the chain's past is to be read, before anything is given out; `follow` says when it is read.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        position = await asyncio.to_thread(self._store.position)
        self._head_at_start = (await self._chain.head()).number - self._policy.confirmations
        self._reads_since = self._clock.now()
        self._read_to(self._policy.start_block if position is None else position)

    def _read_to(self, block: int) -> None:
        if self._head_at_start is None:
            return
        behind = max(self._head_at_start - block, 0)
        if behind and self._clock.now() >= self._reads_since + _LONGEST_READING_S:
            _log.warning("the chain's past takes long to read; work is given out meanwhile", blocks_left=behind)
            behind = 0
        if not behind:
            self._head_at_start = None
        self._feed(ChainRead(behind))

    # --- loops ----------------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Feed the hub's events, from the last safe block on, for ever."""
        position = await asyncio.to_thread(self._store.position)
        first = self._policy.start_block
        if position is not None:
            first = max(first, position - SAFE_DEPTH)
            try:
                await self._patiently_asked(self._check_anchor)
            except ChainRewritten as error:
                first = self._from_further_back(error)
        while True:
            try:
                await self._follow(first)
            except ChainRewritten as error:
                first = self._from_further_back(error)

    def _from_further_back(self, error: ChainRewritten) -> int:
        """Where to read again after a deep rewrite. What is not true any more is found by comparing every task."""
        first = max(self._policy.start_block, error.block_number - _DEEP_STEP)
        _log.warning("the chain was rewritten deeply; reading again", from_block=first, error=str(error))
        self._comparison.begin_anew()
        return first

    async def _check_anchor(self) -> None:
        """While the pool was away the chain may have been rewritten below where it had read."""
        anchor = await asyncio.to_thread(self._memory.anchor)
        if anchor is not None and await self._chain.block_hash(anchor.number) != anchor.hash:
            raise ChainRewritten("the node", anchor.number)

    async def _patiently_asked(self, ask: Callable[[], Awaitable[None]]) -> None:
        pause = _TICK_S
        while True:
            try:
                return await ask()
            except ServiceUnavailable as error:
                _log.warning("the chain does not answer", error=str(error))
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _follow(self, first: int) -> None:
        events: asyncio.Queue[ChainEvent | int] = asyncio.Queue()
        transaction = ""

        def reached(block: int) -> None:
            if self._head_at_start is not None:
                events.put_nowait(block)

        taker = asyncio.create_task(self._take_all(events))
        try:
            async for event in self._chain.follow(
                from_block=first, confirmations=self._policy.confirmations, reached=reached
            ):
                # Never between events of one transaction: they are taken together.
                if event.tx_hash != transaction and events.qsize() >= _READ_AT_ONCE:
                    taken = asyncio.ensure_future(events.join())
                    await asyncio.wait({taken, taker}, return_when=asyncio.FIRST_COMPLETED)
                    taken.cancel()
                transaction = event.tx_hash
                if taker.done():
                    taker.result()
                events.put_nowait(event)
        finally:
            # What was read before the chain turned out to be rewritten is read again.
            taker.cancel()
            await asyncio.gather(taker, return_exceptions=True)

    async def _take_all(self, events: asyncio.Queue[ChainEvent | int]) -> None:
        """Feed events as they come, with what they leave out read for all that wait together. A number among them is
        the block up to which those before it are all."""
        fed, undoing = -1, False
        while True:
            waiting = [await events.get()]
            while not events.empty():
                waiting.append(events.get_nowait())
            together = joined([event for event in waiting if not isinstance(event, int)])
            reads = await self._reads(together)
            for event in together:
                self.reorganisations += event.removed and not undoing
                undoing = event.removed
                await self._patiently(event, reads)
                if not event.removed and event.block_number - 1 > fed:
                    fed = event.block_number - 1
                    self._feed(Position(fed))
            for block in [block for block in waiting if isinstance(block, int)][-1:]:
                self._read_to(block)
            for _ in waiting:
                events.task_done()

    async def _reads(self, events: Sequence[ChainEvent]) -> EventReads:
        try:
            return await read_for(self._chain, events, self._tasks())
        except ServiceUnavailable:
            return EventReads()  # each is read for itself then, patiently

    async def keep_time(self) -> None:
        """Feed ticks, for ever. While the chain does not answer time stands still: nobody is blamed for its absence.

        Now and then, and whenever the node was away, it is asked who it is.

        Raises:
            UsageError: the node is on another chain than this pool's database.
            VerificationError: the hub's code is not the pinned one.
        """
        while True:
            try:
                if self._clock.now() >= self._identity_checked_at + _IDENTITY_EVERY_S:
                    await self.check_identity()
                    await self._remember_anchor()
                # What the follower of events was told a moment ago: the node is not asked twice for it.
                head = await self._chain.head(within_s=2 * _TICK_S)
                self.chain_time, now = head.timestamp, self._clock.now()
                silence_s = now - self.answered_at if self.answered_at else 0.0
                self.answered_at = now
                self._feed(Tick(head.timestamp, silence_s if silence_s > _SILENT_S else 0.0))
            except ServiceUnavailable as error:
                self._identity_checked_at = 0.0
                _log.warning("the chain does not answer", error=str(error))
            await self._clock.sleep(_TICK_S)

    async def check_identity(self) -> None:
        """Make sure that the node is on the chain that this pool's database belongs to; else nothing may be done.

        Raises:
            UsageError: it is on another one.
            VerificationError: the hub's code is not the pinned one.
            ServiceUnavailable: it does not answer.
        """
        await self._chain.verify()
        await self.check_genesis()
        self._identity_checked_at = self._clock.now()

    async def check_genesis(self) -> None:
        """The quick half of `check_identity`, for right before something is signed.

        A local chain makes its blocks anew when it is loaded from its state, the first one as well: it is not compared.
        """
        if self._identity.chain_id == LOCAL_CHAIN_ID:
            return
        genesis = await self._chain.block_hash(0)
        known = await asyncio.to_thread(self._memory.bind_genesis, genesis or "")
        if known != genesis:
            raise UsageError(
                f"The node is on a chain that begins with block {genesis}, this pool's database to one that begins "
                f"with {known}. Nothing was sent. Name a node of that chain in the network file, or use another --dir."
            )

    async def _remember_anchor(self) -> None:
        position = await asyncio.to_thread(self._store.position)
        found = None if position is None else await self._chain.block_hash(position)
        if position is not None and found is not None:
            await asyncio.to_thread(self._memory.set_anchor, Anchor(position, found))

    async def compare(self) -> None:
        """Compare every task that is being worked on with the chain, round and round, for ever."""
        await self._comparison.go_round()

    # --- tasks ----------------------------------------------------------------------------------------------------

    async def reconcile(self, *task_ids: str) -> None:
        """Feed what the chain's views say of tasks.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        await self._comparison.reconcile(*task_ids)

    # --- one event ------------------------------------------------------------------------------------------------

    async def _patiently(self, event: ChainEvent, reads: EventReads) -> None:
        pause = _TICK_S
        while True:
            try:
                async with self._order:
                    fed = await self._take(event, reads)
                if not fed and event.removed and (unit := unit_of(event)) is not None:
                    await self.reconcile(unit)
                return
            except ServiceUnavailable as error:
                _log.warning("the chain does not answer; an event waits", name=event.name, error=str(error))
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _take(self, event: ChainEvent, reads: EventReads) -> bool:
        """Feed an event; False if it must be read from the views instead."""
        given = event.arguments
        if event.name == "Transfer":
            if self._transferred is not None:
                await self._transferred(event)
            return True
        if event.name == "SchedulerNotice":
            if given["workerpool"] == self._identity.workerpool:
                await self._deal(given["dealid"], removed=event.removed)
            return True
        task_id = unit_of(event)
        if event.name in ("RunOpen", RUN_AT_ONCE) and not event.removed:
            run = given["runid"]
            if run not in self._tasks():
                known = await asyncio.to_thread(self._store.known_tasks, [run])
                if known:
                    return True  # It is over, and only read again.
            if event.name == RUN_AT_ONCE:
                self._feed(run_settled(event))
            else:
                self._feed(RunOpened(given["runid"], given["dealid"], given["first"], given["count"]))
            await self._taken()
            return True
        if task_id is None or task_id not in self._tasks():
            return True
        if event.removed:
            return False
        if event.name in ("TaskReopen", "RunSplit"):
            for _, facts in await self._comparison.changed([self._tasks()[task_id]]):
                self._feed(ChainReconciled(task_id, facts))
            return True
        if not is_readable(event, task_id, reads):
            reads = await read_for(self._chain, [event], self._tasks())
        translated = event_of(event, task_id, reads)
        if translated is not None:
            self._feed(translated)
        return True

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
        requirements, waits = await self._requirements(deal), await self._waits(deal)
        # The deal's own tag is no proof: whoever matches can put the bit into it (decision 16).
        in_lane = has_lane(deal.tag) and (await self._chain.view_lane(deal_id)).in_batch_lane
        refusal = "" if self._refusal is None else await self._refusal(deal)
        terms = terms_of(
            deal_id,
            deal,
            timeref,
            waits=waits,
            requirements=requirements,
            in_batch_lane=in_lane,
            refusal=refusal,
        )
        self._feed(DealMatched(terms, deal.bot_first, deal.bot_size))
        await self._taken()

    async def _timeref(self, category: int) -> int:
        if category not in self._timerefs:
            self._timerefs[category] = (await self._chain.view_category(category)).timeref
        return self._timerefs[category]
