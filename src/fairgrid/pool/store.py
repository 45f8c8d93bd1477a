"""The scheduler's memory on disk: events, tasks, effects and bans, written in one transaction before anything is done.

Every method blocks: call it from a thread.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine

from fairgrid.chain.interface import SignedTransaction
from fairgrid.errors import UsageError
from fairgrid.pool import schema
from fairgrid.pool.events import Event
from fairgrid.pool.instructions import BanWorker, Claim, Finalize, Initialize, Instruction
from fairgrid.pool.state import Ban, PoolIdentity, StoryLine, TaskState
from fairgrid.seams.database import migrate, open_engine

__all__ = ["Commit", "EffectStatus", "PoolStore", "StoredEffect", "StoredTask", "TaskRow"]

_task_adapter = TypeAdapter(TaskState)
_TRANSACTIONS: dict[str, type[Initialize] | type[Finalize] | type[Claim]] = {
    kind.__name__: kind for kind in (Initialize, Finalize, Claim)
}


class EffectStatus(StrEnum):
    """How far an effect is. Messages and checks are only ever PLANNED: they are derived anew after a restart."""

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
            document=_task_adapter.dump_json(task, exclude={"story"}).decode(),
        )


@dataclass(slots=True)
class Commit:
    """What belongs together: it is written whole, or not at all."""

    at: float
    events: list[Event] = dataclasses.field(default_factory=list)
    tasks: dict[str, TaskRow] = dataclasses.field(default_factory=dict)
    lines: list[StoryLine] = dataclasses.field(default_factory=list)
    instructions: list[Instruction] = dataclasses.field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.events or self.tasks or self.lines or self.instructions)


@dataclass(frozen=True, slots=True)
class StoredEffect:
    """A transaction of the pool; ``transaction`` is None until it was signed."""

    key: str
    instruction: Initialize | Finalize | Claim
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
        """The database, for whoever fences it or keeps tables beside these."""
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
        """Write events, tasks, story lines and effects in one transaction."""
        with self._engine.begin() as connection:
            for event in commit.events:
                connection.execute(
                    sa.insert(schema.events).values(
                        at=commit.at,
                        kind=type(event).__name__,
                        task_id=getattr(event, "task_id", ""),
                        document=_as_json(event),
                    )
                )
            for task in commit.tasks.values():
                self._write_task(connection, task, commit.at)
            if commit.lines:
                connection.execute(sa.insert(schema.stories), [dataclasses.asdict(line) for line in commit.lines])
            self._plan(connection, commit.instructions, commit.at)

    def _write_task(self, connection: Connection, task: TaskRow, at: float) -> None:
        values = {
            "deal_id": task.deal_id,
            "task_index": task.index,
            "phase": task.phase,
            "settled": task.settled,
            "created_at": task.created_at,
            "updated_at": at,
            "document": task.document,
        }
        known = connection.execute(
            sa.update(schema.tasks).where(schema.tasks.c.task_id == task.task_id).values(**values)
        )
        if known.rowcount == 0:
            connection.execute(sa.insert(schema.tasks).values(task_id=task.task_id, **values))

    def _plan(self, connection: Connection, instructions: Sequence[Instruction], at: float) -> None:
        """Write effects down by key. One that is known stays as it is, unless it failed: then it is planned again."""
        keys = [instruction.key for instruction in instructions]
        known = {
            row.key: row.status
            for row in connection.execute(
                sa.select(schema.effects.c.key, schema.effects.c.status).where(schema.effects.c.key.in_(keys))
            )
        }
        for instruction in instructions:
            if isinstance(instruction, BanWorker):
                self._write_ban(connection, instruction, at)
            status = known.get(instruction.key)
            if status is None:
                connection.execute(
                    sa.insert(schema.effects).values(
                        key=instruction.key,
                        task_id=instruction.task_id,
                        kind=type(instruction).__name__,
                        status=EffectStatus.PLANNED,
                        attempt=1,
                        created_at=at,
                        document=_as_json(instruction),
                        error="",
                    )
                )
                known[instruction.key] = EffectStatus.PLANNED
            elif status == EffectStatus.FAILED:
                connection.execute(
                    sa.update(schema.effects)
                    .where(schema.effects.c.key == instruction.key)
                    .values(
                        status=EffectStatus.PLANNED,
                        attempt=schema.effects.c.attempt + 1,
                        document=_as_json(instruction),
                        tx_hash=None,
                        raw=None,
                        sender=None,
                        nonce=None,
                        function=None,
                    )
                )

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
            rows = connection.execute(sa.select(schema.tasks).where(sa.not_(schema.tasks.c.settled))).all()
            states = {row.task_id: _task_adapter.validate_json(row.document) for row in rows}
            lines = connection.execute(
                sa.select(schema.stories)
                .join(schema.tasks, schema.tasks.c.task_id == schema.stories.c.task_id)
                .where(sa.not_(schema.tasks.c.settled))
                .order_by(schema.stories.c.task_id, schema.stories.c.number)
            )
            for line in lines:
                states[line.task_id].story.append(_line(line))
        return list(states.values())

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
                .where(schema.effects.c.kind.in_(list(_TRANSACTIONS)))
            ).all()
        found = [_effect(row) for row in rows]
        return sorted(found, key=lambda effect: (effect.transaction is None, _nonce(effect), effect.key))

    def effect(self, key: str) -> StoredEffect | None:
        """A transaction by its key; None for one that is not known."""
        with self._reading() as connection:
            row = connection.execute(
                sa.select(schema.effects)
                .where(schema.effects.c.key == key)
                .where(schema.effects.c.kind.in_(list(_TRANSACTIONS)))
            ).one_or_none()
        return None if row is None else _effect(row)

    def task(self, task_id: str) -> StoredTask | None:
        """A task without its story; None for one that is not known."""
        with self._reading() as connection:
            row = connection.execute(sa.select(schema.tasks).where(schema.tasks.c.task_id == task_id)).one_or_none()
        return None if row is None else StoredTask(_task_adapter.validate_json(row.document), row.updated_at)

    def tasks_of_deal(self, deal_id: str, *, limit: int, offset: int = 0) -> list[tuple[str, int, str]]:
        """Task id, index and phase of a deal's tasks, by index."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.tasks.c.task_id, schema.tasks.c.task_index, schema.tasks.c.phase)
                .where(schema.tasks.c.deal_id == deal_id)
                .order_by(schema.tasks.c.task_index)
                .limit(limit)
                .offset(offset)
            ).all()
        return [(row.task_id, row.task_index, row.phase) for row in rows]

    def count_tasks_of_deal(self, deal_id: str) -> int:
        with self._reading() as connection:
            return int(
                connection.execute(
                    sa.select(sa.func.count()).select_from(schema.tasks).where(schema.tasks.c.deal_id == deal_id)
                ).scalar_one()
            )

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
                sa.select(schema.stories).where(schema.stories.c.task_id == task_id).order_by(schema.stories.c.number)
            ).all()
        return [_line(row) for row in rows]

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)


def _line(row: Any) -> StoryLine:
    return StoryLine(row.task_id, row.number, row.at, row.text, row.worker)


def _effect(row: Any) -> StoredEffect:
    transaction = None
    if row.raw is not None:
        transaction = SignedTransaction(bytes(row.raw), row.tx_hash, row.sender, row.nonce, row.function)
    instruction = _TRANSACTIONS[row.kind](**json.loads(row.document))
    return StoredEffect(row.key, instruction, EffectStatus(row.status), row.attempt, transaction)


def _nonce(effect: StoredEffect) -> int:
    return effect.transaction.nonce if effect.transaction else 0


def _as_json(item: Event | Instruction) -> str:
    return json.dumps(dataclasses.asdict(item), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Iterable):
        return sorted(str(item) for item in value)
    raise TypeError(f"{value!r} cannot be stored.")
