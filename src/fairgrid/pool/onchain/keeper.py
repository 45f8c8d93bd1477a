"""The keeper of strangers' tasks: after their final deadline it refunds what no other pool took care of.

Its own tasks every pool claims by itself. Anybody's are claimed, in batches, if the policy gives gas for it
(``keeper_gas_per_day``, by days of the chain). Of a deal in the batch lane open runs are claimed, and what was
never opened is refunded in one step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from fairgrid.chain import calls
from fairgrid.chain.follower import ChainRewritten
from fairgrid.chain.interface import Call, Chain
from fairgrid.errors import FundsError, ServiceUnavailable, TransactionFailed
from fairgrid.protocol.deadlines import final_deadline
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.tags import has_lane
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.clock import Clock

__all__ = ["Keeper"]

_log = structlog.get_logger(__name__)

GRACE_S = 120
"""Seconds of the chain that the pool of a task has for its own claim."""
_ROUND_S = 30.0
_SINGLES = 1_000
"""So many tasks of a deal in the batch lane are looked at one by one."""
_AGAIN_S = 300
_DAY_S = 86_400
_CLAIMED = (TaskStatus.ACTIVE, TaskStatus.REVEALING)


@dataclass(slots=True)
class _Deal:
    """A stranger's deal; times are the chain's."""

    first: int
    size: int
    due_at: int
    in_batch_lane: bool = False


class Keeper:
    """Reads deals of all workerpools but ``workerpool`` from ``start_block`` on. `follow` and `keep` run side by side.

    ``send`` sends calls, each with its gas.
    """

    def __init__(
        self,
        *,
        chain: Chain,
        sender: str,
        workerpool: str,
        start_block: int,
        gas_per_day: int,
        most: int,
        clock: Clock,
        chain_time: Callable[[], int],
        send: Callable[[Sequence[tuple[Call, int]]], Awaitable[None]],
    ) -> None:
        self._chain = chain
        self._sender = sender
        self._workerpool = workerpool
        self._start_block = start_block
        self._gas_per_day = gas_per_day
        self._most = most
        self._clock = clock
        self._chain_time = chain_time
        self._send = send
        self._unread: set[str] = set()
        self._deals: dict[str, _Deal] = {}
        self._runs: dict[str, set[str]] = {}
        self._day = 0
        self._spent = 0

    async def follow(self) -> None:
        """Note the deals of strangers, for ever."""
        while self._gas_per_day:
            try:
                async for event in self._chain.follow(from_block=self._start_block):
                    given = event.arguments
                    deal_id = given.get("dealid", "")
                    if event.name == "SchedulerNotice" and given["workerpool"] != self._workerpool:
                        self._unread.add(deal_id)
                    elif event.name == "RunOpen" and (deal_id in self._unread or deal_id in self._deals):
                        self._runs.setdefault(deal_id, set()).add(given["runid"])
            except ChainRewritten as error:
                _log.warning("the chain was rewritten deeply; the keeper reads again", error=str(error))

    async def keep(self) -> None:
        """Claim what is due, for ever."""
        while self._gas_per_day:
            await self._clock.sleep(_ROUND_S)
            try:
                await self.round()
            except (ServiceUnavailable, FundsError) as error:
                _log.warning("the keeper waits", reason=str(error))

    async def round(self) -> None:
        """Look once at all deals that are due.

        Raises:
            ServiceUnavailable: the chain does not answer.
            FundsError: there are no coins for gas.
        """
        await self._read_deals()
        now = self._chain_time()
        for deal_id, deal in list(self._deals.items()):
            if now < deal.due_at:
                continue
            deal.due_at = now + _AGAIN_S
            if deal.in_batch_lane:
                stuck = await self._end_lane(deal_id, deal, now)
            else:
                stuck = await self._end_tasks(deal_id, deal, now)
            if not stuck:
                del self._deals[deal_id]
                self._runs.pop(deal_id, None)

    async def _end_tasks(self, deal_id: str, deal: _Deal, now: int) -> int:
        stuck = 0
        for first in range(deal.first, deal.first + deal.size, self._most):
            indexes = range(first, min(first + self._most, deal.first + deal.size))
            views = await self._chain.view_tasks([task_id(deal_id, index) for index in indexes])
            claimed = [
                task_id(deal_id, index) for index, view in zip(indexes, views, strict=True) if view.status in _CLAIMED
            ]
            never = [
                (deal_id, index) for index, view in zip(indexes, views, strict=True) if view.status is TaskStatus.UNSET
            ]
            stuck += len(claimed) + len(never)
            together = [calls.claim_array(self._chain.hub, claimed)] if claimed else []
            if never:
                together.append(calls.initialize_and_claim_array(self._chain.hub, never))
            await self._refund(together, now)
        return stuck

    async def _end_lane(self, deal_id: str, deal: _Deal, now: int) -> int:
        """Claim what was opened and is not over; refund the rest, however many tasks it has, in one step."""
        lane = await self._chain.view_lane(deal_id)
        end = deal.first + deal.size
        units = sorted(self._runs.get(deal_id, ()))
        # Below the cursor a task may have been opened alone.
        units += [task_id(deal_id, index) for index in range(deal.first, min(lane.cursor, deal.first + _SINGLES))]
        stuck = 0
        for start in range(0, len(units), self._most):
            part = units[start : start + self._most]
            views = await self._chain.view_tasks(part)
            claimed = [unit for unit, view in zip(part, views, strict=True) if view.status in _CLAIMED]
            stuck += len(claimed)
            await self._refund([calls.claim_array(self._chain.hub, claimed)] if claimed else [], now)
        if not lane.refunded and lane.cursor < end:
            stuck += 1
            await self._refund([calls.refund_rest(self._chain.hub, deal_id)], now)
        return stuck

    async def _read_deals(self) -> None:
        for deal_id in list(self._unread):
            deal = await self._chain.view_deal(deal_id)
            if deal is not None:
                timeref = (await self._chain.view_category(deal.category)).timeref
                due_at = final_deadline(deal.start_time, timeref) + GRACE_S
                in_lane = has_lane(deal.tag) and (await self._chain.view_lane(deal_id)).in_batch_lane
                self._deals[deal_id] = _Deal(deal.bot_first, deal.bot_size, due_at, in_lane)
            self._unread.discard(deal_id)

    async def _refund(self, together: Sequence[Call], now: int) -> None:
        if not together:
            return
        affordable: list[tuple[Call, int]] = []
        for call, answer in zip(together, await self._chain.estimate(together, self._sender), strict=True):
            if isinstance(answer, TransactionFailed):
                # Somebody was faster with one of them: what is left is read anew in the next round.
                _log.info("a claim for strangers would fail", reason=str(answer))
            elif self._may_spend(answer, now):
                affordable.append((call, answer * 3 // 2 + 30_000))
        if affordable:
            await self._send(affordable)
            _log.info("refunding strangers' tasks", calls=len(affordable), gas_left_today=self._gas_left)

    @property
    def _gas_left(self) -> int:
        return self._gas_per_day - self._spent

    def _may_spend(self, gas: int, now: int) -> bool:
        if now // _DAY_S != self._day:
            self._day, self._spent = now // _DAY_S, 0
        if gas > self._gas_left:
            return False
        self._spent += gas
        return True
