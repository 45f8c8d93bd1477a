"""The chain's side of the rim: follows the hub's events, compares tasks with the chain's views, reads the time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from fairgrid.chain.follower import ChainRewritten
from fairgrid.chain.interface import Chain, ChainEvent
from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.pool.chain_memory import Anchor, ChainMemory
from fairgrid.pool.event_reads import EventReads, read_for
from fairgrid.pool.events import (
    ChainReconciled,
    ConsensusReached,
    ContributionMined,
    DealMatched,
    DealUndone,
    Event,
    RevealMined,
    RunOpened,
    TaskClaimed,
    TaskFinalized,
    TaskInitialized,
    Tick,
)
from fairgrid.pool.matching import NO_REQUIREMENTS, Requirements
from fairgrid.pool.policy import Policy
from fairgrid.pool.state import ChainFacts, DealTerms, PoolIdentity, SeenContribution, TaskState
from fairgrid.pool.store import PoolStore
from fairgrid.protocol.tags import has_lane, requires_tee
from fairgrid.protocol.trust import exact_weight
from fairgrid.protocol.views import Deal, TaskStatus
from fairgrid.protocol.views import Task as TaskView
from fairgrid.seams.clock import Clock

__all__ = ["ChainWatcher", "Position", "terms_of"]

_log = structlog.get_logger(__name__)

LOCAL_CHAIN_ID = 31_337
SAFE_DEPTH = 64
"""After a restart, events are read again from so many blocks before the last one that was taken."""
_DEEP_STEP = 10_000
_TICK_S = 0.5
_RECONCILE_S = 15.0
_COMPARE_S = 0.5
_COMPARED_AT_ONCE = 100
_READ_AT_ONCE = 200
_IDENTITY_EVERY_S = 30.0
_LONGEST_PAUSE_S = 8.0


@dataclass(frozen=True, slots=True)
class Position:
    """Every event up to this block was fed; remembered once they are stored."""

    block_number: int


def terms_of(
    deal_id: str,
    deal: Deal,
    timeref: int,
    *,
    waits: bool = False,
    requirements: Requirements = NO_REQUIREMENTS,
    in_batch_lane: bool = False,
) -> DealTerms:
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
        waits=waits,
        price=deal.workerpool.price,
        app=deal.app.pointer,
        requirements=requirements,
        in_batch_lane=in_batch_lane,
    )


def _unit_of(event: ChainEvent) -> str | None:
    """The id under which the scheduler knows what an event is about: a task, a run, or the rest of a deal."""
    given = event.arguments
    name = {"DealRefund": "dealid", "RunOpen": "runid", "RunSplit": "runid", "RunFinalize": "runid"}.get(event.name)
    found = given.get(name or "taskid")
    return None if found is None else str(found)


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
    ) -> None:
        """``waits`` says whether a deal's tasks may read the results of others, ``requirements`` what they ask of a
        machine; neither ever raises."""
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
        self._seen_at: dict[str, tuple[ChainFacts, int]] = {}
        self._turn: deque[str] = deque()
        self._identity_checked_at = 0.0
        self.chain_time = 0
        self.answered_at = 0.0
        self.reorganisations = 0
        """How often the chain took events of the hub back."""

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
        self._turn.clear()
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
        events: asyncio.Queue[ChainEvent] = asyncio.Queue(_READ_AT_ONCE)
        taker = asyncio.create_task(self._take_all(events))
        try:
            async for event in self._chain.follow(from_block=first, confirmations=self._policy.confirmations):
                put = asyncio.ensure_future(events.put(event))
                await asyncio.wait({put, taker}, return_when=asyncio.FIRST_COMPLETED)
                if taker.done():
                    put.cancel()
                    taker.result()
        finally:
            # What was read before the chain turned out to be rewritten is read again.
            taker.cancel()
            await asyncio.gather(taker, return_exceptions=True)

    async def _take_all(self, events: asyncio.Queue[ChainEvent]) -> None:
        """Feed events as they come, with what they leave out read for all that wait together."""
        fed, undoing = -1, False
        while True:
            waiting = [await events.get()]
            while not events.empty():
                waiting.append(events.get_nowait())
            reads = await self._reads(waiting)
            for event in waiting:
                self.reorganisations += event.removed and not undoing
                undoing = event.removed
                await self._patiently(event, reads)
                if not event.removed and event.block_number - 1 > fed:
                    fed = event.block_number - 1
                    self._feed(Position(fed))

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
                head = await self._chain.head()
                self.chain_time = head.timestamp
                self.answered_at = self._clock.now()
                self._feed(Tick(head.timestamp))
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
        """Compare every task that is being worked on with the chain, round and round, the longest not compared first.

        The cost is bounded: `_COMPARED_AT_ONCE` views a look, and a look a second at most.
        """
        while True:
            await self._clock.sleep(_COMPARE_S)
            if not self._turn:
                self._turn.extend(task.task_id for task in self._tasks().values() if not task.is_final)
            part = [self._turn.popleft() for _ in range(min(self._share(), len(self._turn)))]
            try:
                await self.reconcile(*part)
            except ServiceUnavailable:
                self._turn.extendleft(reversed(part))

    def _share(self) -> int:
        """So many tasks a look that a round takes `_RECONCILE_S`, within the bound."""
        live = len(self._tasks())
        return min(max(int(live * _COMPARE_S / _RECONCILE_S) + 1, 1), _COMPARED_AT_ONCE)

    # --- tasks ----------------------------------------------------------------------------------------------------

    async def reconcile(self, *task_ids: str) -> None:
        """Feed what the chain's views say of tasks, read together.

        With confirmations, what is new is believed only when it was read unchanged that many blocks apart; what takes
        a task back is believed at once.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        async with self._order:
            known = self._tasks()
            for task_id in task_ids:
                if task_id not in known:
                    self._seen_at.pop(task_id, None)
            tasks = [known[task_id] for task_id in task_ids if task_id in known]
            if not tasks:
                return
            before = await self._chain.head()
            changed = await self._changed(tasks)
            after = await self._chain.head() if self._policy.confirmations else before
            for task, facts in changed:
                if self._policy.confirmations and facts.status >= task.facts.status and facts != task.facts:
                    seen, since = self._seen_at.get(task.task_id, (None, 0))
                    if seen != facts:
                        # They may have become so while they were read: they are not taken for older than that.
                        self._seen_at[task.task_id] = (facts, after.number)
                        continue
                    if before.number < since + self._policy.confirmations:
                        continue
                self._seen_at.pop(task.task_id, None)
                self._feed(ChainReconciled(task.task_id, facts))

    async def _changed(self, tasks: Sequence[TaskState]) -> list[tuple[TaskState, ChainFacts]]:
        """What the chain says of those tasks of which it says something else than what is believed.

        Of each it is one moment: a task that changed while it was read is read again. Half of an old state and half of
        a new one would be a state that never was, such as a reveal without its digest.
        """
        found = [(task, await self._rest(task)) for task in tasks if task.is_rest]
        left = [task for task in tasks if not task.is_rest]
        while left:
            read = await self._changed_once(left)
            views = await self._chain.view_tasks([task.task_id for task, _, _ in read]) if read else []
            found += [(task, facts) for (task, view, facts), again in zip(read, views, strict=True) if view == again]
            left = [task for (task, view, _), again in zip(read, views, strict=True) if view != again]
        return found

    async def _changed_once(self, tasks: Sequence[TaskState]) -> list[tuple[TaskState, TaskView, ChainFacts]]:
        views = await self._chain.view_tasks([task.task_id for task in tasks])
        news = [(task, view) for task, view in zip(tasks, views, strict=True) if not _agree(task.facts, view)]
        pairs = [(task.task_id, worker) for task, view in news for worker in view.contributors]
        contributions = dict(zip(pairs, await self._chain.view_contributions(pairs), strict=True)) if pairs else {}
        found = []
        for task, view in news:
            seen = []
            for worker in view.contributors:
                contribution = contributions[task.task_id, worker]
                before = task.facts.contribution(worker)
                if before is not None and before.result_hash == contribution.result_hash:
                    weight = before.weight
                else:
                    weight = exact_weight(await self._chain.view_score(worker), contribution.weight)
                seen.append(SeenContribution(worker, contribution.result_hash, weight, contribution.status))
            found.append(
                (
                    task,
                    view,
                    ChainFacts(
                        status=view.status,
                        consensus_value=view.consensus_value,
                        reveal_deadline=view.reveal_deadline,
                        result_digest=view.result_digest,
                        contributions=tuple(seen),
                    ),
                )
            )
        unknown = [task for task, view in zip(tasks, views, strict=True) if view.status is TaskStatus.UNSET]
        await self._look_for_deals(unknown)
        return found

    async def _rest(self, task: TaskState) -> ChainFacts:
        """What became of the tasks of a deal that were never opened."""
        lane = await self._chain.view_lane(task.deal.deal_id)
        nothing_left = lane.refunded or lane.cursor >= task.index + task.count
        return ChainFacts(status=TaskStatus.FAILED if nothing_left else TaskStatus.UNSET)

    async def _look_for_deals(self, tasks: Sequence[TaskState]) -> None:
        """A task that the chain does not know may have lost its deal."""
        for deal_id in dict.fromkeys(task.deal.deal_id for task in tasks if not task.deal.undone):
            if await self._chain.view_deal(deal_id) is None:
                self._feed(DealUndone(deal_id))

    # --- one event ------------------------------------------------------------------------------------------------

    async def _patiently(self, event: ChainEvent, reads: EventReads) -> None:
        pause = _TICK_S
        while True:
            try:
                async with self._order:
                    fed = await self._take(event, reads)
                if not fed and event.removed and (unit := _unit_of(event)) is not None:
                    await self.reconcile(unit)
                return
            except ServiceUnavailable as error:
                _log.warning("the chain does not answer; an event waits", name=event.name, error=str(error))
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _take(self, event: ChainEvent, reads: EventReads) -> bool:
        """Feed an event; False if it must be read from the views instead."""
        given = event.arguments
        if event.name == "SchedulerNotice":
            if given["workerpool"] == self._identity.workerpool:
                await self._deal(given["dealid"], removed=event.removed)
            return True
        task_id = _unit_of(event)
        if event.name == "RunOpen" and not event.removed:
            run = given["runid"]
            if run not in self._tasks():
                known = await asyncio.to_thread(self._store.known_tasks, [run])
                if known:
                    return True  # It is over, and only read again.
            self._feed(RunOpened(given["runid"], given["dealid"], given["first"], given["count"]))
            await self._taken()
            return True
        if task_id is None or task_id not in self._tasks():
            return True
        if event.removed:
            return False
        if event.name in ("TaskReopen", "RunSplit"):
            for _, facts in await self._changed([self._tasks()[task_id]]):
                self._feed(ChainReconciled(task_id, facts))
            return True
        translated = await self._translate(event, task_id, reads)
        if translated is not None:
            self._feed(translated)
        return True

    async def _translate(self, event: ChainEvent, task_id: str, reads: EventReads) -> Event | None:
        given = event.arguments
        missing = (event.name == "TaskContribute" and (task_id, given["worker"]) not in reads.weights) or (
            event.name == "TaskConsensus" and task_id not in reads.agreed
        )
        if missing:
            reads = await read_for(self._chain, [event], self._tasks())
        match event.name:
            case "TaskInitialize":
                return TaskInitialized(task_id)
            case "TaskContribute":
                worker = given["worker"]
                return ContributionMined(task_id, worker, given["hash"], reads.weights[task_id, worker])
            case "TaskConsensus":
                view = reads.agreed[task_id]
                if view.consensus_value != given["consensus"]:
                    return None  # Read again after a restart: it was reopened, as a later event says.
                return ConsensusReached(task_id, given["consensus"], view.reveal_deadline)
            case "TaskReveal":
                return RevealMined(task_id, given["worker"], given["digest"])
            case "TaskFinalize" | "RunFinalize":
                return TaskFinalized(task_id)
            case "TaskClaimed" | "DealRefund":
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
        requirements, waits = await self._requirements(deal), await self._waits(deal)
        # Workers fetch what a run's tasks depend on; only tasks of their own are held back until it is there.
        # The deal's own tag is no proof: whoever matches can put the bit into it (decision 16).
        in_lane = has_lane(deal.tag) and (await self._chain.view_lane(deal_id)).in_batch_lane
        terms = terms_of(
            deal_id, deal, timeref, waits=waits and not in_lane, requirements=requirements, in_batch_lane=in_lane
        )
        self._feed(DealMatched(terms, deal.bot_first, deal.bot_size))
        await self._taken()

    async def _timeref(self, category: int) -> int:
        if category not in self._timerefs:
            self._timerefs[category] = (await self._chain.view_category(category)).timeref
        return self._timerefs[category]


def _agree(facts: ChainFacts, view: TaskView) -> bool:
    """True if nothing in the view contradicts what is believed: then its contributions need not be read."""
    return (
        facts.status is view.status
        and facts.consensus_value == view.consensus_value
        and facts.reveal_deadline == view.reveal_deadline
        and facts.result_digest == view.result_digest
        and {seen.worker for seen in facts.contributions} == set(view.contributors)
        and len(facts.revealed()) == view.reveal_counter
    )
