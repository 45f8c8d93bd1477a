"""What the scheduler's store writes and reads: a commit with its rows, tasks and transactions as they are stored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from fairgrid.chain.interface import SignedTransaction
from fairgrid.pool import documents
from fairgrid.pool.accounts import Account
from fairgrid.pool.events import Event
from fairgrid.pool.instructions import ChainInstruction, Instruction
from fairgrid.pool.standing import Standing
from fairgrid.pool.state import Bag, StoryLine, TaskState

__all__ = ["BagRow", "Commit", "EffectStatus", "StoredEffect", "StoredTask", "TaskRow"]


class EffectStatus(StrEnum):
    """How far a transaction is. Messages and checks are no effects that are stored: a restart derives them anew."""

    PLANNED = "planned"
    """Decided; nothing was signed yet."""
    SIGNED = "signed"
    """The signed bytes are stored; they may have been sent."""
    MINED = "mined"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as it is written: a snapshot, taken before the state changes again."""

    task_id: str
    deal_id: str
    index: int
    phase: str
    settled: bool
    created_at: float
    document: str

    @classmethod
    def of(cls, task: TaskState) -> TaskRow:
        return cls(
            task_id=task.task_id,
            deal_id=task.deal.deal_id,
            index=task.index,
            phase=task.phase.value,
            settled=task.is_settled,
            created_at=task.created_at,
            document=documents.write_task(task),
        )


@dataclass(frozen=True, slots=True)
class BagRow:
    """A deal as it is written: a snapshot, taken before the state changes again."""

    deal_id: str
    first: int
    size: int
    begun: int
    settled: bool
    created_at: float
    document: str

    @classmethod
    def of(cls, bag: Bag) -> BagRow:
        return cls(
            deal_id=bag.deal.deal_id,
            first=bag.first,
            size=bag.size,
            begun=bag.begun,
            settled=bag.settled,
            created_at=bag.created_at,
            document=documents.write_deal(bag.deal),
        )


@dataclass(slots=True)
class Commit:
    """What belongs together: it is written whole, or not at all."""

    at: float
    events: list[Event] = dataclasses.field(default_factory=list)
    tasks: dict[str, TaskRow] = dataclasses.field(default_factory=dict)
    lines: list[StoryLine] = dataclasses.field(default_factory=list)
    instructions: list[Instruction] = dataclasses.field(default_factory=list)
    bags: dict[str, BagRow] = dataclasses.field(default_factory=dict)
    standings: dict[str, Standing] = dataclasses.field(default_factory=dict)
    accounts: list[Account] = dataclasses.field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.events or self.tasks or self.lines or self.instructions or self.bags or self.standings)


@dataclass(frozen=True, slots=True)
class StoredEffect:
    """A transaction of the pool; ``transaction`` is None until it was signed."""

    key: str
    instruction: ChainInstruction
    status: EffectStatus
    attempt: int
    transaction: SignedTransaction | None


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task as the store has it; ``updated_at`` is local time in seconds since the epoch."""

    state: TaskState
    updated_at: float
