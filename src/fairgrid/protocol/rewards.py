"""Who gets what (`spec/poco.md` §15, §16). All amounts are nRLC, all divisions round down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "KITTY_ADDRESS",
    "KITTY_MIN_NRLC",
    "KITTY_RATIO",
    "WORKERPOOL_STAKE_RATIO",
    "Distribution",
    "cut_score",
    "distribute",
    "distribute_fast",
    "kitty_part",
    "pool_stake",
    "task_price",
    "worker_stake",
]

WORKERPOOL_STAKE_RATIO: Final = 30
KITTY_RATIO: Final = 10
KITTY_MIN_NRLC: Final = 1_000_000_000
KITTY_ADDRESS: Final = "0x99c2268479b93fDe36232351229815DF80837e23"
"""Where slashed pool stakes are kept: the first 20 bytes of keccak256("iExecKitty"), minus 1."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The split of one finished task: ``workers`` in contributor order (0 for who did not prove), then the scheduler.

    ``pot`` is the workerpool's price plus the stakes of all who did not prove; workers and scheduler sum to it.
    """

    pot: int
    workers: tuple[int, ...]
    scheduler: int


def task_price(app_price: int, dataset_price: int, workerpool_price: int) -> int:
    """What the payer locks for one task."""
    return app_price + dataset_price + workerpool_price


def pool_stake(workerpool_price: int) -> int:
    """What the pool's owner locks for one task: 30 % of its price."""
    return workerpool_price * WORKERPOOL_STAKE_RATIO // 100


def worker_stake(workerpool_price: int, stake_ratio: int) -> int:
    """What each worker locks when it contributes; ``stake_ratio`` is the pool's policy in percent (unbounded)."""
    return workerpool_price * stake_ratio // 100


def kitty_part(kitty: int) -> int:
    """What a finished task's pool takes out of a kitty that holds ``kitty``: 10 %, at least 1 RLC, at most all."""
    return min(max(kitty * KITTY_RATIO // 100, KITTY_MIN_NRLC), kitty)


def cut_score(score: int) -> int:
    """A worker's score after a contribution that it did not prove: two thirds."""
    return score * 2 // 3


def distribute(
    *,
    workerpool_price: int,
    stake: int,
    scheduler_reward_ratio: int,
    proved_weights: Sequence[int | None],
) -> Distribution:
    """Split a task that was finalized.

    ``proved_weights`` holds one item a contributor, in their order: its log2 weight if it revealed in time, None if
    its ``stake`` is seized. At least one must have revealed.
    """
    pot = workerpool_price + stake * sum(weight is None for weight in proved_weights)
    workers_pot = pot * (100 - scheduler_reward_ratio) // 100
    total_weight = sum(weight for weight in proved_weights if weight is not None)
    paid = tuple(0 if weight is None else workers_pot * weight // total_weight for weight in proved_weights)
    return Distribution(pot=pot, workers=paid, scheduler=pot - sum(paid))


def distribute_fast(*, workerpool_price: int, scheduler_reward_ratio: int) -> Distribution:
    """Split a task that one worker contributed and finalized in one transaction."""
    worker = workerpool_price * (100 - scheduler_reward_ratio) // 100
    return Distribution(pot=workerpool_price, workers=(worker,), scheduler=workerpool_price - worker)
