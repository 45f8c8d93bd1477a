"""Deals of boost matching as they stand: what they lock, until when, and taking it back.

In them a worker pushes each result in one transaction: there are no contributions, and no stakes of workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairgrid.chain import calls
from fairgrid.chain.interface import Call, Chain
from fairgrid.errors import UsageError
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.rewards import task_price
from fairgrid.protocol.views import DealBoost, TaskStatus

__all__ = ["BoostState", "claim_boost_calls", "read_boost"]

_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class BoostState:
    """A deal of boost as it stands; as `fairgrid.client.funds.DealState`."""

    deal_id: str
    deal: DealBoost
    now: int
    """Chain time when it was read."""
    statuses: Mapping[int, TaskStatus]
    """Status by index."""

    @property
    def deadline(self) -> int:
        """Chain time from which on anybody may claim what is not settled."""
        return self.deal.deadline

    @property
    def completed(self) -> int:
        return sum(status is TaskStatus.COMPLETED for status in self.statuses.values())

    @property
    def refunded(self) -> int:
        return sum(status is TaskStatus.FAILED for status in self.statuses.values())

    @property
    def open_tasks(self) -> int:
        return self.deal.bot_size - self.completed - self.refunded

    @property
    def price(self) -> int:
        """What the payer locks for one task (nRLC)."""
        return task_price(self.deal.app_price, self.deal.dataset_price, self.deal.workerpool_price)

    @property
    def is_overdue(self) -> bool:
        """Whether what is open can be claimed now."""
        return self.open_tasks > 0 and self.now >= self.deadline


async def read_boost(chain: Chain, deal_id: str) -> BoostState | None:
    """A deal of boost as it stands; None if there is none of that id."""
    deal = await chain.view_deal_boost(deal_id)
    if deal is None:
        return None
    statuses: dict[int, TaskStatus] = {}
    for start in range(0, deal.bot_size, _AT_ONCE):
        part = range(start, min(start + _AT_ONCE, deal.bot_size))
        tasks = await chain.view_tasks([task_id(deal_id, index) for index in part])
        statuses |= {index: task.status for index, task in zip(part, tasks, strict=True)}
    return BoostState(deal_id, deal, (await chain.head()).timestamp, statuses)


def claim_boost_calls(hub: str, state: BoostState) -> list[Call]:
    """The transactions that take back everything that an overdue deal still locks; anybody may send them.

    Raises:
        UsageError: the deadline has not passed, or nothing is left.
    """
    if not state.open_tasks:
        raise UsageError(f"Deal {state.deal_id} is over: nothing is left to claim.")
    if not state.is_overdue:
        raise UsageError(
            f"Deal {state.deal_id} still has {state.deadline - state.now} s until its deadline. Claim it after that."
        )
    return [
        calls.claim_boost(hub, state.deal_id, index)
        for index, status in state.statuses.items()
        if status is TaskStatus.UNSET
    ]
