"""The scheduler's memory on disk: events, tasks, effects and bans, written in one transaction before anything is done.

Every method blocks: call it from a thread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.chain.interface import SignedTransaction
from fairgrid.errors import UsageError
from fairgrid.pool import documents, schema
from fairgrid.pool.bulk import BulkInsert
from fairgrid.pool.events import Event
from fairgrid.pool.instructions import BanWorker, ChainInstruction, Instruction
from fairgrid.pool.phases import Phase
from fairgrid.pool.state import Bag, Ban, PoolIdentity, StoryLine, TaskState
from fairgrid.protocol.ids import task_id as id_of_task
from fairgrid.seams.database import migrate, open_engine

__all__ = ["BagRow", "Commit", "EffectStatus", "PoolStore", "StoredEffect", "StoredTask", "TaskRow"]

_TASK_COLUMNS = (
    "number",
    "task_id",
    "deal_id",
    "task_index",
    "phase",
    "settled",
    "created_at",
    "updated_at",
    "document",
)
_write_tasks = BulkInsert(
    schema.tasks,
    _TASK_COLUMNS,
    key="number",
    update={name: f"excluded.{name}" for name in ("phase", "settled", "updated_at", "document")},
)
_write_lines = BulkInsert(schema.stories, ("task_number", "number", "at", "text", "worker"))
_write_deals = BulkInsert(
    schema.deals,
    ("deal_id", "first", "size", "begun", "settled", "created_at", "updated_at", "document"),
    key="deal_id",
)
_write_journal = BulkInsert(schema.journal, ("at", "events", "document"))
_write_effects = BulkInsert(
    schema.effects,
    ("key", "task_id", "kind", "status", "attempt", "created_at", "document", "error"),
    key="key",
    update={
        "status": "excluded.status",
        "attempt": "pool_effect.attempt + 1",
        "document": "excluded.document",
        "tx_hash": "NULL",
        "raw": "NULL",
        "sender": "NULL",
        "nonce": "NULL",
        "function": "NULL",
    },
    where="pool_effect.status = 'failed'",
)

_PAGE = 500


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

    @property
    def is_empty(self) -> bool:
        return not (self.events or self.tasks or self.lines or self.instructions or self.bags)


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


class PoolStore:
    """The tables of one workerpool's scheduler. Close it in the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers: dict[str, int] = {}
        self._last_number: int | None = None

    @classmethod
    def open(cls, database: str | Path) -> PoolStore:
        """Open, create or upgrade the tables.

        Raises:
            UsageError: the database cannot be opened, or was written by a newer release.
        """
        engine = open_engine(database)
        try:
            migrate(engine, "fairgrid.pool.migrations")
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    @property
    def engine(self) -> Engine:
        """The database, for tables that others keep in it."""
        return self._engine

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def bind(self, identity: PoolIdentity) -> None:
        """Tie the database to one chain, hub and workerpool, at first use; later it must be the same.

        Raises:
            UsageError: it belongs to another.
        """
        wanted = {"chain_id": str(identity.chain_id), "hub": identity.hub, "workerpool": identity.workerpool}
        with self._engine.begin() as connection:
            known = {row.name: row.value for row in connection.execute(sa.select(schema.bindings))}
            for name, value in wanted.items():
                if name not in known:
                    connection.execute(sa.insert(schema.bindings).values(name=name, value=value))
                elif known[name] != value:
                    raise UsageError(
                        f"This pool's folder belongs to {name.replace('_', ' ')} {known[name]}, not {value}. "
                        f"Use another --dir for another network."
                    )

    # --- writing --------------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> None:
        """Write events, tasks, deals, story lines and transactions in one transaction of the database."""
        try:
            with self._engine.begin() as connection:
                self._write(connection, commit)
        except BaseException:
            # Numbers that were given out are not taken.
            self._numbers.clear()
            self._last_number = None
            raise
        for task in commit.tasks.values():
            if task.settled:
                self._numbers.pop(task.task_id, None)

    def _write(self, connection: Connection, commit: Commit) -> None:
        at = commit.at
        numbers = self._numbered(connection, commit)
        _write_tasks(
            connection,
            [
                (
                    numbers[task.task_id],
                    task.task_id,
                    task.deal_id,
                    f"{task.index:064x}",
                    task.phase,
                    task.settled,
                    task.created_at,
                    at,
                    task.document,
                )
                for task in commit.tasks.values()
            ],
        )
        _write_lines(
            connection, [(numbers[line.task_id], line.number, line.at, line.text, line.worker) for line in commit.lines]
        )
        _write_deals(
            connection,
            [
                (
                    bag.deal_id,
                    f"{bag.first:064x}",
                    bag.size,
                    bag.begun,
                    bag.settled,
                    bag.created_at,
                    at,
                    bag.document,
                )
                for bag in commit.bags.values()
            ],
        )
        if commit.events:
            _write_journal(connection, [(at, len(commit.events), documents.write_events(commit.events))])
        self._plan(connection, commit.instructions, at)

    def _numbered(self, connection: Connection, commit: Commit) -> dict[str, int]:
        """The number of every task of a commit; a new one gets the next."""
        wanted = dict.fromkeys(commit.tasks) | dict.fromkeys(line.task_id for line in commit.lines)
        found = {task_id: number for task_id in wanted if (number := self._numbers.get(task_id)) is not None}
        missing = [task_id for task_id in wanted if task_id not in found]
        for start in range(0, len(missing), _PAGE):
            page = missing[start : start + _PAGE]
            rows = connection.execute(
                sa.select(schema.tasks.c.task_id, schema.tasks.c.number).where(schema.tasks.c.task_id.in_(page))
            )
            found |= {row.task_id: row.number for row in rows}
        for task_id in missing:
            if task_id not in found:
                if self._last_number is None:
                    last = connection.execute(sa.select(sa.func.max(schema.tasks.c.number))).scalar_one()
                    self._last_number = last or 0
                self._last_number += 1
                found[task_id] = self._last_number
            self._numbers[task_id] = found[task_id]
        return found

    def _plan(self, connection: Connection, instructions: Sequence[Instruction], at: float) -> None:
        """Write transactions down by key. One that is known stays as it is, unless it failed: it is planned again."""
        planned: dict[str, tuple[Any, ...]] = {}
        for instruction in instructions:
            if isinstance(instruction, BanWorker):
                self._write_ban(connection, instruction, at)
            kind = type(instruction).__name__
            if isinstance(instruction, ChainInstruction) and instruction.key not in planned:
                document = documents.write_transaction(instruction)
                planned[instruction.key] = (
                    instruction.key,
                    instruction.task_id,
                    kind,
                    EffectStatus.PLANNED.value,
                    1,
                    at,
                    document,
                    "",
                )
        _write_effects(connection, list(planned.values()))

    def _write_ban(self, connection: Connection, ban: BanWorker, at: float) -> None:
        known = connection.execute(
            sa.select(schema.bans.c.worker).where(schema.bans.c.worker == ban.worker)
        ).one_or_none()
        if known is None:
            connection.execute(
                sa.insert(schema.bans).values(
                    worker=ban.worker,
                    owner=ban.owner,
                    task_id=ban.task_id,
                    reason=ban.reason,
                    evidence=ban.evidence,
                    at=at,
                )
            )

    def record_signed(self, key: str, transaction: SignedTransaction) -> None:
        """Keep the signed bytes of an effect; only then may they be sent (decision 25)."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(schema.effects)
                .where(schema.effects.c.key == key)
                .values(
                    status=EffectStatus.SIGNED,
                    tx_hash=transaction.hash,
                    raw=transaction.raw,
                    sender=transaction.sender,
                    nonce=transaction.nonce,
                    function=transaction.function,
                )
            )

    def mark(self, key: str, status: EffectStatus, error: str = "") -> None:
        """Note how an effect went."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(schema.effects).where(schema.effects.c.key == key).values(status=status, error=error[:2_000])
            )

    def set_position(self, block_number: int) -> None:
        """Remember that every event up to this block was taken."""
        with self._engine.begin() as connection:
            known = connection.execute(
                sa.update(schema.bindings).where(schema.bindings.c.name == "block").values(value=str(block_number))
            )
            if known.rowcount == 0:
                connection.execute(sa.insert(schema.bindings).values(name="block", value=str(block_number)))

    # --- reading --------------------------------------------------------------------------------------------------

    def position(self) -> int | None:
        """The last block of which every event was taken; None for a new database."""
        with self._reading() as connection:
            value = connection.execute(
                sa.select(schema.bindings.c.value).where(schema.bindings.c.name == "block")
            ).scalar_one_or_none()
        return None if value is None else int(value)

    def live_tasks(self) -> list[TaskState]:
        """Tasks from which something is still expected, with their stories."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.tasks).where(sa.not_(schema.tasks.c.settled)).order_by(schema.tasks.c.number)
            ).all()
            states = {row.number: documents.read_task(row.document) for row in rows}
            lines = connection.execute(
                sa.select(schema.stories)
                .join(schema.tasks, schema.tasks.c.number == schema.stories.c.task_number)
                .where(sa.not_(schema.tasks.c.settled))
                .order_by(schema.stories.c.task_number, schema.stories.c.number)
            )
            for line in lines:
                state = states[line.task_number]
                state.story.append(_line(state.task_id, line))
        self._numbers = {state.task_id: number for number, state in states.items()}
        self._last_number = None
        return list(states.values())

    def live_bags(self) -> list[Bag]:
        """Deals of which something is still expected, the oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.deals)
                .where(sa.not_(schema.deals.c.settled))
                .order_by(schema.deals.c.created_at, schema.deals.c.deal_id)
            ).all()
        return [
            Bag(documents.read_deal(row.document), row.first, row.size, row.created_at, row.begun, row.settled)
            for row in rows
        ]

    def is_deal_settled(self, deal_id: str) -> bool:
        """True for a deal that is known and of which nothing more is expected."""
        with self._reading() as connection:
            settled = connection.execute(
                sa.select(schema.deals.c.settled).where(schema.deals.c.deal_id == deal_id)
            ).scalar_one_or_none()
        return bool(settled)

    def bans(self) -> list[Ban]:
        with self._reading() as connection:
            rows = connection.execute(sa.select(schema.bans)).all()
        return [Ban(row.worker, row.owner, row.task_id, row.reason, row.evidence, row.at) for row in rows]

    def transactions_under_way(self) -> list[StoredEffect]:
        """Transactions that are planned or signed and of which no receipt was seen, in the order of their nonces."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.effects)
                .where(schema.effects.c.status.in_([EffectStatus.PLANNED, EffectStatus.SIGNED]))
                .where(schema.effects.c.kind.in_(list(documents.TRANSACTIONS)))
            ).all()
        found = [_effect(row) for row in rows]
        return sorted(found, key=lambda effect: (effect.transaction is None, _nonce(effect), effect.key))

    def effect(self, key: str) -> StoredEffect | None:
        """A transaction by its key; None for one that is not known."""
        with self._reading() as connection:
            row = connection.execute(
                sa.select(schema.effects)
                .where(schema.effects.c.key == key)
                .where(schema.effects.c.kind.in_(list(documents.TRANSACTIONS)))
            ).one_or_none()
        return None if row is None else _effect(row)

    def task(self, task_id: str) -> StoredTask | None:
        """A task without its story; None for one that is not known."""
        with self._reading() as connection:
            row = connection.execute(sa.select(schema.tasks).where(schema.tasks.c.task_id == task_id)).one_or_none()
        return None if row is None else StoredTask(documents.read_task(row.document), row.updated_at)

    def tasks_of_deal(self, deal_id: str, *, limit: int, offset: int = 0) -> list[tuple[str, int, str]]:
        """Task id, index and phase of a deal's tasks, by index; those that have not begun are received."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.tasks.c.task_id, schema.tasks.c.task_index, schema.tasks.c.phase)
                .where(schema.tasks.c.deal_id == deal_id)
                .order_by(schema.tasks.c.task_index)
                .limit(limit)
                .offset(offset)
            ).all()
            deal = connection.execute(sa.select(schema.deals).where(schema.deals.c.deal_id == deal_id)).one_or_none()
        found = [(row.task_id, row.task_index, row.phase) for row in rows]
        if deal is None or len(found) == limit:
            return found
        first = deal.first + max(deal.begun, offset)
        last = min(deal.first + deal.size, first + limit - len(found))
        return found + [(id_of_task(deal_id, index), index, Phase.RECEIVED.value) for index in range(first, last)]

    def count_tasks_of_deal(self, deal_id: str) -> int:
        """How many tasks a deal has, begun or not; 0 for one that is not known."""
        with self._reading() as connection:
            size = connection.execute(
                sa.select(schema.deals.c.size).where(schema.deals.c.deal_id == deal_id)
            ).scalar_one_or_none()
        return int(size or 0)

    def known_tasks(self, task_ids: Collection[str]) -> dict[str, bool]:
        """Which of these tasks are known, and whether they are settled."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.tasks.c.task_id, schema.tasks.c.settled).where(
                    schema.tasks.c.task_id.in_(list(task_ids))
                )
            ).all()
        return {row.task_id: row.settled for row in rows}

    def story(self, task_id: str) -> list[StoryLine]:
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.stories)
                .join(schema.tasks, schema.tasks.c.number == schema.stories.c.task_number)
                .where(schema.tasks.c.task_id == task_id)
                .order_by(schema.stories.c.number)
            ).all()
        return [_line(task_id, row) for row in rows]

    # --- forgetting -----------------------------------------------------------------------------------------------

    def purge(self, before: float, *, limit: int) -> int:
        """Delete at most ``limit`` tasks that were over ``before`` (local time), with their stories and transactions,
        and as many old rows of the journal; gives how many rows went. Deals stay: a row each.
        """
        old = (
            sa.select(schema.tasks.c.number, schema.tasks.c.task_id)
            .where(schema.tasks.c.settled)
            .where(schema.tasks.c.updated_at < before)
            .order_by(schema.tasks.c.updated_at)
            .limit(limit)
        )
        oldest = sa.select(schema.journal.c.number).order_by(schema.journal.c.number).limit(limit)
        with self._engine.begin() as connection:
            rows = connection.execute(old).all()
            numbers, task_ids = [row.number for row in rows], [row.task_id for row in rows]
            if rows:
                connection.execute(sa.delete(schema.stories).where(schema.stories.c.task_number.in_(numbers)))
                connection.execute(sa.delete(schema.effects).where(schema.effects.c.task_id.in_(task_ids)))
                connection.execute(sa.delete(schema.tasks).where(schema.tasks.c.number.in_(numbers)))
            journalled = connection.execute(
                sa.delete(schema.journal)
                .where(schema.journal.c.number.in_(oldest.scalar_subquery()))
                .where(schema.journal.c.at < before)
            ).rowcount
        return len(rows) + journalled

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)


def _line(task_id: str, row: Any) -> StoryLine:
    return StoryLine(task_id, row.number, row.at, row.text, row.worker)


def _effect(row: Any) -> StoredEffect:
    transaction = None
    if row.raw is not None:
        transaction = SignedTransaction(bytes(row.raw), row.tx_hash, row.sender, row.nonce, row.function)
    instruction = documents.read_transaction(row.kind, row.document)
    return StoredEffect(row.key, instruction, EffectStatus(row.status), row.attempt, transaction)


def _nonce(effect: StoredEffect) -> int:
    return effect.transaction.nonce if effect.transaction else 0
