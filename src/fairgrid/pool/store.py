"""The scheduler's memory on disk: events, tasks, effects and bans, written in one transaction before anything is done.

Every method blocks: call it from a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.chain.interface import SignedTransaction
from fairgrid.errors import UsageError
from fairgrid.pool import documents, schema
from fairgrid.pool.account_store import write_accounts
from fairgrid.pool.accounts import day_of
from fairgrid.pool.archive import PoolArchive
from fairgrid.pool.bulk import BulkInsert
from fairgrid.pool.instructions import BanWorker, ChainInstruction, Instruction
from fairgrid.pool.rows import Commit, EffectStatus
from fairgrid.pool.state import PoolIdentity, StoryLine, TaskState
from fairgrid.seams.database import migrate, open_engine

__all__ = ["PoolStore"]

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
_write_standings = BulkInsert(schema.standings, ("worker", "owner", "updated_at", "document"), key="worker")
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


class PoolStore(PoolArchive):
    """The tables of one workerpool's scheduler. Close it in the end."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
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
        _write_standings(
            connection,
            [(item.worker, item.owner, at, documents.write_standing(item)) for item in commit.standings.values()],
        )
        write_accounts(connection, day_of(at), commit.accounts)
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
                state.story.append(StoryLine(state.task_id, line.number, line.at, line.text, line.worker))
        self._numbers = {state.task_id: number for number, state in states.items()}
        self._last_number = None
        return list(states.values())

    # --- forgetting -----------------------------------------------------------------------------------------------

    def purge(self, before: float, *, limit: int) -> int:
        """Delete those of the ``limit`` oldest tasks that were over ``before`` (local time), with their stories and
        transactions, and as many old rows of the journal; gives how many rows went. Deals stay: a row each.
        """
        first = (
            sa.select(schema.tasks.c.number, schema.tasks.c.task_id, schema.tasks.c.updated_at)
            .where(schema.tasks.c.settled)
            .order_by(schema.tasks.c.number)
            .limit(limit)
            .subquery()
        )
        old = sa.select(first.c.number, first.c.task_id).where(first.c.updated_at < before)
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
