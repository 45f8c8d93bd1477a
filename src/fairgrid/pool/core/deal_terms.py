"""What the scheduler keeps of a deal, and of the tasks of one that are not begun."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from fairgrid.pool.core.matching import NO_REQUIREMENTS, Requirements
from fairgrid.protocol import deadlines
from fairgrid.protocol.hexes import ZERO_ADDRESS

__all__ = ["Bag", "DealTerms"]


class DealTerms(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the scheduler needs of a deal; ``refusal`` says why this pool cannot serve it (empty: it can)."""

    deal_id: str
    trust: int
    timeref: int
    start_time: int
    worker_stake: int
    requester: str
    callback: str = ZERO_ADDRESS
    refusal: str = ""
    undone: bool = False
    """A reorganisation took the deal back; it may be matched again."""
    in_batch_lane: bool = False
    """Its tasks are settled in runs (`fairgrid.pool.core.runs`)."""
    waits: bool = False
    """Its tasks read results of other tasks, or nobody could say yet: each begins when these are there."""
    price: int = 0
    """What the requester pays the pool for one task, in nRLC."""
    app: str = ZERO_ADDRESS
    pool_percent: int = 0
    """The pool's share of what is distributed, in percent."""
    requirements: Requirements = NO_REQUIREMENTS
    """What each of its tasks needs of a machine."""

    @property
    def contribution_deadline(self) -> int:
        return deadlines.contribution_deadline(self.start_time, self.timeref)

    @property
    def final_deadline(self) -> int:
        return deadlines.final_deadline(self.start_time, self.timeref)

    @property
    def has_callback(self) -> bool:
        return self.callback != ZERO_ADDRESS


@dataclass(slots=True)
class Bag:
    """A deal for this pool: tasks ``first`` to ``first + size - 1``, of which the first ``begun`` have a `TaskState`.

    The others are a number only, until there is room to work on them.
    """

    deal: DealTerms
    first: int
    size: int
    created_at: float
    begun: int = 0
    settled: bool = False
    """Nothing more is expected of any of its tasks."""

    @property
    def left(self) -> int:
        """How many of its tasks have not begun."""
        return self.size - self.begun
