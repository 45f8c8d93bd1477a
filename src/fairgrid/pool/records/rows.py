"""What the scheduler's store writes and reads: a commit with its rows, tasks and transactions as they are stored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from fairgrid.chain.interface import SignedTransaction
from fairgrid.pool.core.accounts import Account, Correction
from fairgrid.pool.core.deal_terms import Bag, DealTerms
from fairgrid.pool.core.events import Event
from fairgrid.pool.core.instructions import ChainInstruction, Instruction
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.task_state import StoryLine, TaskState
from fairgrid.pool.records import documents

__all__ = ["BagRow", "Commit", "EffectStatus", "StoredEffect", "StoredTask", "TaskRow"]


class EffectStatus(StrEnum):
    """How far a transaction is. Messages and checks are no effects that are stored: a restart derives them anew."""

    PLANNED = "planned"
    """Decided; nothing was signed yet."""
    SIGNED = "signed"
    """The signed bytes are stored; they may have been sent."""
    MINED = "mined"
    FAILED = "failed"


class TaskRow(Struct, frozen=True, gc=False):
    """A task as it is written: a snapshot, taken before the state changes again."""

    task_id: str
    deal: DealTerms
    index: int
    phase: str
    settled: bool
    created_at: float
    story: tuple[StoryLine, ...]
    fresh: int
    """So many of the last lines of its story are new with this commit."""
    record: bytes
    """All but deal and story (`documents.pack_task`); empty for a settled task, whose row is written at once."""
    document: str
    """All but the story as JSON; empty for a task that is not settled: `told` makes it when it is needed."""

    @classmethod
    def of(cls, task: TaskState, *, fresh: int | None = None) -> TaskRow:
        """``fresh`` None: all lines of its story are new."""
        settled = task.is_settled
        return cls(
            task.task_id,
            task.deal,
            task.index,
            str(task.phase),
            settled,
            task.created_at,
            tuple(task.story),
            len(task.story) if fresh is None else fresh,
            b"" if settled else documents.pack_task(task),
            documents.write_task(task) if settled else "",
        )

    def told(self) -> str:
        """Its document."""
        return self.document or documents.unpack_task(documents.TASK_FIELDS, self.record, self.deal)

    def state(self) -> TaskState:
        """The task as it was."""
        state = documents.read_task(self.told())
        state.story.extend(self.story)
        return state


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
    instructions: list[Instruction] = dataclasses.field(default_factory=list)
    bags: dict[str, BagRow] = dataclasses.field(default_factory=dict)
    standings: dict[str, Standing] = dataclasses.field(default_factory=dict)
    lines: list[StoryLine] = dataclasses.field(default_factory=list)
    """What was told of its tasks; each is in the story of its row as well."""
    position: int | None = None
    """Every event of the chain up to this block was taken with it; None: nothing is said of that."""
    accounts: list[Account] = dataclasses.field(default_factory=list)
    corrections: list[Correction] = dataclasses.field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        written = self.events or self.tasks or self.instructions or self.bags or self.standings
        return not written and self.position is None


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
