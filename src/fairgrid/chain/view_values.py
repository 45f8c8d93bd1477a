"""What the hub's views answer, as values of the protocol."""

from __future__ import annotations

from typing import Any

from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.views import (
    Account,
    Contribution,
    ContributionStatus,
    Deal,
    DealBoost,
    Lane,
    Resource,
    Task,
    TaskStatus,
)

__all__ = ["account_of", "boost_of", "contribution_of", "deal_of", "lane_of", "task_of"]


def deal_of(values: Any) -> Deal | None:
    """The answer of ``viewDeal``; None where there is no such deal."""
    app, dataset, workerpool, trust, category, tag, requester, beneficiary, callback, params, *numbers = values
    if app[0] == ZERO_ADDRESS:
        return None
    start_time, bot_first, bot_size, worker_stake, scheduler_reward_ratio, sponsor = numbers
    return Deal(
        app=Resource(*app),
        dataset=Resource(*dataset),
        workerpool=Resource(*workerpool),
        trust=trust,
        category=category,
        tag=tag,
        requester=requester,
        beneficiary=beneficiary,
        callback=callback,
        params=params,
        start_time=start_time,
        bot_first=bot_first,
        bot_size=bot_size,
        worker_stake=worker_stake,
        scheduler_reward_ratio=scheduler_reward_ratio,
        sponsor=sponsor,
    )


def boost_of(values: Any) -> DealBoost | None:
    """The answer of ``viewDealBoost``; None where there is no such deal of boost."""
    deal = DealBoost(*values)
    return None if deal.sponsor == ZERO_ADDRESS else deal


def task_of(values: Any) -> Task:
    """The answer of ``viewTask``."""
    status, *rest = values
    return Task(TaskStatus(status), *rest)


def contribution_of(values: Any) -> Contribution:
    """The answer of ``viewContribution``."""
    status, *rest = values
    return Contribution(ContributionStatus(status), *rest)


def account_of(values: Any) -> Account:
    """The answer of ``viewAccount``."""
    return Account(*values)


def lane_of(values: Any) -> Lane:
    """The answer of ``viewLane``."""
    return Lane(*values)
