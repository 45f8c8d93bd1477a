"""Compares tasks with the chain's views, whose word is the last: what events missed or a rewrite took back is found."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from fairgrid.chain.interface import Block, Chain
from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.events import ChainReconciled, ContributionsAhead, DealUndone, Event
from fairgrid.pool.core.task_facts import ChainFacts, SeenContribution
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.trust import FRESH_WEIGHT, exact_weight
from fairgrid.protocol.views import Task as TaskView
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.clock import Clock

__all__ = ["Comparison"]

_RECONCILE_S = 15.0
_COMPARE_S = 0.5
_COMPARED_AT_ONCE = 100
_DEAL_DEPTH = 64


class Comparison:
    """Feeds `ChainReconciled` and `DealUndone`. ``order`` is held by whoever reads something that ends in an event."""

    def __init__(
        self,
        *,
        chain: Chain,
        clock: Clock,
        order: asyncio.Lock,
        confirmations: int,
        feed: Callable[[Event], None],
        tasks: Callable[[], Mapping[str, TaskState]],
    ) -> None:
        self._chain = chain
        self._clock = clock
        self._order = order
        self._confirmations = confirmations
        self._feed = feed
        self._tasks = tasks
        self._seen_at: dict[str, tuple[ChainFacts, int]] = {}
        self._turn: deque[str] = deque()
        self._agreed: dict[str, tuple[str, ChainFacts]] = {}
        """As of which block (its hash) the chain said what is believed of a task, and what that was."""
        self._deals_there: dict[str, tuple[int, Block]] = {}
        """Deals that were there: since which newest block (its number), and up to which."""

    def begin_anew(self) -> None:
        """Compare all tasks next, those that were over, too: the chain may have taken back what ended them."""
        self._agreed.clear()
        self._deals_there.clear()
        self._turn.clear()
        self._turn.extend(self._tasks())

    async def go_round(self) -> None:
        """Compare every task that is being worked on with the chain, round and round, the longest not compared first.

        The cost is bounded: `_COMPARED_AT_ONCE` views a look, and a look a second at most.
        """
        while True:
            await self._clock.sleep(_COMPARE_S)
            if not self._turn:
                self._turn.extend(task.task_id for task in self._tasks().values() if not task.is_final)
            part = [self._turn.popleft() for _ in range(min(self._share(), len(self._turn)))]
            try:
                await self.reconcile(*await self._worth_reading(part))
            except ServiceUnavailable:
                self._turn.extendleft(reversed(part))

    async def _worth_reading(self, part: Sequence[str]) -> list[str]:
        """Those of which the chain may say something else than is believed."""
        if not part:
            return []
        head, known = await self._chain.head(within_s=_COMPARE_S), self._tasks()
        return [
            name
            for name in part
            if (task := known.get(name)) is None or self._agreed.get(name) != (head.hash, task.facts)
        ]

    def _share(self) -> int:
        """So many tasks a look that a round takes `_RECONCILE_S`, within the bound."""
        live = len(self._tasks())
        return min(max(int(live * _COMPARE_S / _RECONCILE_S) + 1, 1), _COMPARED_AT_ONCE)

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
            # A block that was the newest a moment ago is as good: what is read after it is no older.
            before = await self._chain.head(within_s=_COMPARE_S)
            compared = {task.task_id: (before.hash, task.facts) for task in tasks if not task.is_rest}
            changed = await self.changed(tasks)
            self._note_agreement(compared, changed)
            after = await self._chain.head() if self._confirmations else before
            if self._confirmations:
                self._look_ahead(tasks, {task.task_id: facts for task, facts in changed})
            for task, facts in changed:
                if self._confirmations and facts.status >= task.facts.status and facts != task.facts:
                    seen, since = self._seen_at.get(task.task_id, (None, 0))
                    if seen != facts:
                        # They may have become so while they were read: they are not taken for older than that.
                        self._seen_at[task.task_id] = (facts, after.number)
                        continue
                    if before.number < since + self._confirmations:
                        continue
                self._seen_at.pop(task.task_id, None)
                self._feed(ChainReconciled(task.task_id, facts))

    def _note_agreement(
        self, compared: dict[str, tuple[str, ChainFacts]], changed: Sequence[tuple[TaskState, ChainFacts]]
    ) -> None:
        """While the same block is the newest and the same is believed, these need not be compared again."""
        live = self._tasks()
        self._agreed = {name: known for name, known in self._agreed.items() if name in live} | compared
        for task, _ in changed:
            self._agreed.pop(task.task_id, None)

    def _look_ahead(self, tasks: Sequence[TaskState], changed: Mapping[str, ChainFacts]) -> None:
        """Tell of contributions that are mined and not deep enough, and of those that were and are there no more."""
        for task in tasks:
            facts = changed.get(task.task_id)
            contributions = facts.contributions if facts is not None else ()
            ahead = tuple(seen for seen in contributions if task.facts.contribution(seen.worker) is None)
            if ahead != task.ahead:
                self._feed(ContributionsAhead(task.task_id, ahead))

    async def changed(self, tasks: Sequence[TaskState]) -> list[tuple[TaskState, ChainFacts]]:
        """What the chain says of those tasks of which it says something else than what is believed.

        Of each it is one moment: a task that changed while its contributions were read is read again. Half of an old
        state and half of a new one would be a state that never was, such as a reveal without its digest.
        """
        found = [(task, await self._rest(task)) for task in tasks if task.is_rest]
        left = [task for task in tasks if not task.is_rest]
        while left:
            once = await self._changed_once(left)
            found += [(task, facts) for task, view, facts in once if not view.contributors]
            read = [(task, view, facts) for task, view, facts in once if view.contributors]
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
                elif not contribution.weight:
                    weight = FRESH_WEIGHT  # It finalized the task at once; the hub weighed nothing.
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
        """A task that the chain does not know may have lost its deal. A deal that was there `_DEAL_DEPTH` blocks apart
        stays; before, to look once a block is enough."""
        deals = dict.fromkeys(task.deal.deal_id for task in tasks if not task.deal.undone)
        if not deals:
            return
        head = await self._chain.head(within_s=_COMPARE_S)
        for deal_id in deals:
            since, last = self._deals_there.get(deal_id, (head.number, None))
            if last is not None and (last.hash == head.hash or last.number >= since + _DEAL_DEPTH):
                continue
            if await self._chain.view_deal(deal_id) is None:
                self._deals_there.pop(deal_id, None)
                self._feed(DealUndone(deal_id))
                continue
            if last is None:
                live = {task.deal.deal_id for task in self._tasks().values()}
                self._deals_there = {name: seen for name, seen in self._deals_there.items() if name in live}
            self._deals_there[deal_id] = (since, head)


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
