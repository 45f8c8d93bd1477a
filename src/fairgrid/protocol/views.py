"""What the hub shows of deals, tasks, contributions and accounts (`viewDeal`, `viewTask`, …), as plain records.

Identifiers, digests and tags are lower-case 0x-hex text of 32 bytes, addresses are EIP-55 checksummed text,
money is an integer number of nRLC, times are seconds of chain time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS

__all__ = [
    "NO_CONTRIBUTION",
    "Account",
    "AppInfo",
    "Category",
    "Contribution",
    "ContributionStatus",
    "DatasetInfo",
    "Deal",
    "DealBoost",
    "Lane",
    "Resource",
    "RoleAccount",
    "Run",
    "Task",
    "TaskStatus",
    "WorkerpoolInfo",
]


class TaskStatus(IntEnum):
    """Status of a task on chain."""

    UNSET = 0
    ACTIVE = 1
    REVEALING = 2
    COMPLETED = 3
    FAILED = 4
    SPLIT = 5
    """Only a run of the batch lane: two runs took its place."""


class ContributionStatus(IntEnum):
    """Status of one worker's contribution on chain."""

    UNSET = 0
    CONTRIBUTED = 1
    PROVED = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class Resource:
    """An asset inside a deal: its address, its owner when the deal was made, its price per task in nRLC."""

    pointer: str
    owner: str
    price: int


@dataclass(frozen=True, slots=True)
class Deal:
    """A deal: money locked for ``bot_size`` tasks with indexes ``bot_first`` to ``bot_first + bot_size - 1``."""

    app: Resource
    dataset: Resource
    workerpool: Resource
    trust: int
    category: int
    tag: str
    requester: str
    beneficiary: str
    callback: str
    params: str
    start_time: int
    bot_first: int
    bot_size: int
    worker_stake: int
    scheduler_reward_ratio: int
    sponsor: str


@dataclass(frozen=True, slots=True)
class DealBoost:
    """A deal of boost: money locked for ``bot_size`` tasks with indexes 0 to ``bot_size - 1``."""

    app_owner: str
    app_price: int
    dataset_owner: str
    dataset_price: int
    workerpool_owner: str
    workerpool_price: int
    requester: str
    worker_reward: int
    """What the worker gets of the pool's price for one task."""
    callback: str
    deadline: int
    """Results are accepted before this; from then on anybody may claim the refund."""
    bot_first: int
    """Units of the request that deals before this one took. It does not offset the indexes of tasks."""
    bot_size: int
    short_tag: str
    """The low three bytes of the tag, 0x-hex."""
    sponsor: str


@dataclass(frozen=True, slots=True)
class Task:
    """A task; every field is zero or empty while its status is UNSET."""

    status: TaskStatus
    deal_id: str
    index: int
    timeref: int
    contribution_deadline: int
    reveal_deadline: int
    final_deadline: int
    consensus_value: str
    reveal_counter: int
    winner_counter: int
    contributors: tuple[str, ...]
    result_digest: str
    results: bytes
    results_timestamp: int
    results_callback: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """Tasks ``first`` to ``first + count - 1`` of a deal in the batch lane, settled as one; zeros for no run."""

    deal_id: str
    first: int
    count: int
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class Lane:
    """How far a deal's batch lane is: ``cursor`` is the index of the first task that was never opened.

    ``refunded`` is true once the tasks from there on were refunded together. For a deal of the classic lane the
    cursor stays at the deal's first index; all is zero for an unknown deal.
    """

    in_batch_lane: bool
    cursor: int
    refunded: bool


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one worker contributed to one task; ``weight`` is the log2 weight used to share rewards."""

    status: ContributionStatus
    result_hash: str
    result_seal: str
    enclave_challenge: str
    weight: int


NO_CONTRIBUTION: Final = Contribution(ContributionStatus.UNSET, ZERO32, ZERO32, ZERO_ADDRESS, 0)
"""What ``viewContribution`` shows of a worker that did not contribute."""


@dataclass(frozen=True, slots=True)
class Account:
    """An escrow account: ``stake`` can be spent or withdrawn, ``locked`` cannot (nRLC)."""

    stake: int
    locked: int


@dataclass(frozen=True, slots=True)
class Category:
    """A size class; ``timeref`` (`workClockTimeRef`) is in seconds."""

    name: str
    description: str
    timeref: int


@dataclass(frozen=True, slots=True)
class AppInfo:
    """A registered app."""

    owner: str
    name: str
    type: str
    multiaddr: bytes
    checksum: str
    mrenclave: bytes


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A registered dataset."""

    owner: str
    name: str
    multiaddr: bytes
    checksum: str


@dataclass(frozen=True, slots=True)
class WorkerpoolInfo:
    """A registered workerpool; both ratios are percent."""

    owner: str
    description: str
    worker_stake_ratio: int
    scheduler_reward_ratio: int


@dataclass(frozen=True, slots=True)
class RoleAccount:
    """A role account (decision 21): money and orders are the owner's, the operator only works or schedules."""

    owner: str
    operator: str
    roles: int
    """1 work, 2 schedule, 3 both, 0 nothing."""

    @property
    def may_work(self) -> bool:
        return bool(self.roles & 1)
