"""The scheduler's memory on disk: events, tasks, effects and bans, written in one transaction before anything is done.

Every method blocks: call it from a thread.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.chain.interface import SignedTransaction
from fairgrid.errors import UsageError
from fairgrid.pool.core.accounts import day_of
from fairgrid.pool.core.instructions import BanWorker, ChainInstruction, Instruction
from fairgrid.pool.core.state import DealTerms, PoolIdentity, StoryLine, TaskState
from fairgrid.pool.records import documents, schema
from fairgrid.pool.records.account_store import write_accounts, write_corrections
from fairgrid.pool.records.archive import PoolArchive
from fairgrid.pool.records.bulk import BulkInsert
from fairgrid.pool.records.redo import pack_redo, replayed
from fairgrid.pool.records.rows import Commit, EffectStatus, StoredTask, TaskRow
from fairgrid.seams.database import migrate, open_engine

__all__ = ["PoolStore"]

_write_tasks = BulkInsert(
    schema.tasks,
    (
        "number",
        "task_id",
        "deal_id",
        "task_index",
        "phase",
        "settled",
        "created_at",
        "updated_at",
        "document",
        "story",
    ),
    key="task_id",
    update={name: f"excluded.{name}" for name in ("phase", "settled", "updated_at", "document", "story")},
)
_write_redo = BulkInsert(schema.redo, ("number", "document"))
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

_ROW_AFTER_S = 2.0
_ROWS_BESIDE = 200
_SETTLED_LOOKED_AT = 50_000
"""Among so many of the newest tasks those are looked for that were settled lately: no index has their time."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A task whose row is behind since the record ``since``, which was written ``at``."""

    since: int
    at: float
    row: TaskRow


class PoolStore(PoolArchive):
    """The tables of one workerpool's scheduler. Close it in the end.

    A commit is on the disk when it returns. The row of a task that is not over follows some commits later
    (`write_rows`); until then `redo` holds what changed, and this object answers for it.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._lock = threading.Lock()
        self._pending: dict[str, _Pending] = {}
        self._last_number: int | None = None
        self._last_redo: int | None = None
        self._first_redo = 0

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
        """Write events, tasks, deals and transactions in one transaction of the database."""
        with self._lock, self._written() as pending:
            with self._engine.begin() as connection:
                self._write(connection, commit, pending)

    def write_rows(self, at: float, *, older_than_s: float = 0.0) -> None:
        """Write the rows of tasks that changed ``older_than_s`` ago and are behind since; ``at`` is local time now."""
        with self._lock:
            if any(behind.at <= at - older_than_s for behind in self._pending.values()):
                with self._written() as pending, self._engine.begin() as connection:
                    self._keep_tasks(connection, {}, pending, at, before=at - older_than_s, most=len(pending))

    def catch_up(self) -> None:
        """Write the rows of all tasks that changed: who reads the tables then finds everything."""
        pending = self._pending
        if pending:
            self.write_rows(max(behind.at for behind in pending.values()))

    @contextlib.contextmanager
    def _written(self) -> Iterator[dict[str, _Pending]]:
        """What is behind, to be changed as the transaction changes it: for good only if that succeeds."""
        pending = dict(self._pending)
        try:
            yield pending
        except BaseException:
            # Numbers that were given out are not taken.
            self._last_number = self._last_redo = None
            self._first_redo = -1
            raise
        self._pending = pending

    def _write(self, connection: Connection, commit: Commit, pending: dict[str, _Pending]) -> None:
        at = commit.at
        self._keep_tasks(connection, commit.tasks, pending, at, before=at - _ROW_AFTER_S, most=_ROWS_BESIDE)
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
        write_corrections(connection, at, commit.corrections)
        if commit.events:
            _write_journal(connection, [(at, len(commit.events), documents.write_events(commit.events))])
        self._plan(connection, commit.instructions, at)
        if commit.position is not None:
            self._write_position(connection, commit.position)

    def _keep_tasks(
        self,
        connection: Connection,
        changed: dict[str, TaskRow],
        pending: dict[str, _Pending],
        at: float,
        *,
        before: float,
        most: int,
    ) -> None:
        """Write rows of tasks that are over, and of up to ``most`` others that are behind since ``before``; of all
        other tasks that changed leave a record.
        """
        due = {task_id: row for task_id, row in changed.items() if row.settled}
        for task_id, behind in itertools.islice(pending.items(), most):
            if behind.at > before:
                break
            due[task_id] = changed.get(task_id, behind.row)
        self._write_rows(connection, due.values(), at)
        done = [task_id for task_id in due if pending.pop(task_id, None) is not None]
        left = [row for task_id, row in changed.items() if task_id not in due]
        if left or (done and pending):
            number = self._next_redo(connection)
            _write_redo(connection, [(number, pack_redo(left, done))])
            for row in left:
                known = pending.get(row.task_id)
                pending[row.task_id] = _Pending(number, at, row) if known is None else replace(known, row=row)
        first = next(iter(pending.values())).since if pending else 0
        if first != self._first_redo:
            forgotten = sa.delete(schema.redo)
            connection.execute(forgotten.where(schema.redo.c.number < first) if first else forgotten)
            self._first_redo = first

    def _next_redo(self, connection: Connection) -> int:
        if self._last_redo is None:
            self._last_redo = connection.execute(sa.select(sa.func.max(schema.redo.c.number))).scalar_one() or 0
        self._last_redo += 1
        return self._last_redo

    def _write_rows(self, connection: Connection, rows: Collection[TaskRow], at: float) -> None:
        if not rows:
            return
        if self._last_number is None:
            self._last_number = connection.execute(sa.select(sa.func.max(schema.tasks.c.number))).scalar_one() or 0
        # One that has a row already keeps its number.
        first = self._last_number + 1
        self._last_number += len(rows)
        _write_tasks(
            connection,
            [
                (
                    number,
                    row.task_id,
                    row.deal.deal_id,
                    f"{row.index:064x}",
                    row.phase,
                    row.settled,
                    row.created_at,
                    at,
                    row.told(),
                    documents.write_story(row.story),
                )
                for number, row in enumerate(rows, start=first)
            ],
        )

    def _plan(self, connection: Connection, instructions: Sequence[Instruction], at: float) -> None:
        """Write transactions down by key. One that is known stays as it is, unless it failed: it is planned again."""
        planned: dict[str, tuple[Any, ...]] = {}
        for instruction in instructions:
            kind = type(instruction).__name__
            if isinstance(instruction, BanWorker):
                self._write_ban(connection, instruction, at)
            elif kind in documents.TRANSACTIONS:
                assert isinstance(instruction, ChainInstruction)
                key = instruction.key
                if key in planned:
                    continue
                document = documents.write_transaction(instruction)
                planned[key] = (
                    key,
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
            self._write_position(connection, block_number)

    def _write_position(self, connection: Connection, block_number: int) -> None:
        known = connection.execute(
            sa.update(schema.bindings).where(schema.bindings.c.name == "block").values(value=str(block_number))
        )
        if known.rowcount == 0:
            connection.execute(sa.insert(schema.bindings).values(name="block", value=str(block_number)))

    # --- reading --------------------------------------------------------------------------------------------------

    def live_tasks(self, *, settled_since: float | None = None, most: int = 0) -> list[TaskState]:
        """Tasks from which something is still expected, with their stories. What rows are behind with since the last
        process ended is written into them first.

        With ``settled_since`` (Unix seconds) those that were settled since then, too, for the chain may take them back:
        ``most`` at the most, of the newest tasks.
        """
        with self._lock:
            self._recover()
        columns = schema.tasks.c
        with self._reading() as connection:
            rows = list(
                connection.execute(
                    sa.select(schema.tasks).where(sa.not_(columns.settled)).order_by(columns.number)
                ).all()
            )
            if settled_since is not None:
                newest = connection.execute(sa.select(sa.func.max(columns.number))).scalar_one_or_none() or 0
                rows += connection.execute(
                    sa.select(schema.tasks)
                    .where(columns.number > newest - _SETTLED_LOOKED_AT, columns.settled)
                    .where(columns.updated_at >= settled_since)
                    .order_by(columns.number.desc())
                    .limit(most)
                ).all()
        deals: dict[str, DealTerms] = {}
        states = []
        for row in rows:
            state = documents.read_task(row.document)
            # Tasks of a deal share its terms, so that they are written once for all of them.
            if deals.setdefault(row.deal_id, state.deal) == state.deal:
                state.deal = deals[row.deal_id]
            state.story.extend(documents.read_story(state.task_id, row.story))
            states.append(state)
        return states

    def _recover(self) -> None:
        self._pending, self._last_number, self._last_redo, self._first_redo = {}, None, None, 0
        with self._engine.begin() as connection:
            records = connection.execute(sa.select(schema.redo.c.document).order_by(schema.redo.c.number)).scalars()
            behind = replayed(records.all())
            rows = []
            for item in behind:
                state = documents.read_task(item.document)
                told = connection.execute(
                    sa.select(schema.tasks.c.story).where(schema.tasks.c.task_id == item.task_id)
                ).scalar_one_or_none()
                before = documents.read_story(item.task_id, told or "[]")
                state.story.extend([*before[: item.number - 1], *item.lines])
                rows.append(TaskRow.of(state))
            if rows:
                at = max(row.story[-1].at if row.story else row.created_at for row in rows)
                self._write_rows(connection, rows, at)
            connection.execute(sa.delete(schema.redo))

    def task(self, task_id: str) -> StoredTask | None:
        behind = self._pending.get(task_id)
        if behind is None:
            return super().task(task_id)
        state = documents.read_task(behind.row.told())
        return StoredTask(state, behind.row.story[-1].at if behind.row.story else behind.at)

    def story(self, task_id: str) -> list[StoryLine]:
        behind = self._pending.get(task_id)
        return super().story(task_id) if behind is None else list(behind.row.story)

    def known_tasks(self, task_ids: Collection[str]) -> dict[str, bool]:
        pending = self._pending
        behind = {task_id: False for task_id in task_ids if task_id in pending}
        return super().known_tasks([task_id for task_id in task_ids if task_id not in behind]) | behind

    def tasks_of_deal(self, deal_id: str, *, limit: int, offset: int = 0) -> list[tuple[str, int, str]]:
        if any(behind.row.deal.deal_id == deal_id for behind in self._pending.values()):
            self.catch_up()
        return super().tasks_of_deal(deal_id, limit=limit, offset=offset)

    # --- forgetting -----------------------------------------------------------------------------------------------

    def purge(self, before: float, *, limit: int) -> int:
        """Delete those of the ``limit`` oldest tasks that were over ``before`` (local time), with their
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
                connection.execute(sa.delete(schema.effects).where(schema.effects.c.task_id.in_(task_ids)))
                connection.execute(sa.delete(schema.tasks).where(schema.tasks.c.number.in_(numbers)))
            journalled = connection.execute(
                sa.delete(schema.journal)
                .where(schema.journal.c.number.in_(oldest.scalar_subquery()))
                .where(schema.journal.c.at < before)
            ).rowcount
        return len(rows) + journalled
