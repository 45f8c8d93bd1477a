"""The scheduler's memory on disk: events, tasks, effects and bans, written in one transaction before anything is done.

Every method blocks: call it from a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.chain.interface import SignedTransaction
from fairgrid.errors import UsageError
from fairgrid.pool.core.accounts import day_of
from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.instructions import PayAuditor
from fairgrid.pool.core.task_state import StoryLine, TaskState
from fairgrid.pool.records import documents, schema
from fairgrid.pool.records.account_store import AccountKeeper, write_corrections
from fairgrid.pool.records.archive import PoolArchive
from fairgrid.pool.records.bulk import Batch, BulkInsert, written_at_once
from fairgrid.pool.records.places import find
from fairgrid.pool.records.plans import PlanKeeper, write_bans
from fairgrid.pool.records.rows import Commit, EffectStatus, StoredTask
from fairgrid.pool.records.task_keeper import ROW_AFTER_S, ROWS_BESIDE, TaskKeeper
from fairgrid.seams.database import open_migrated

__all__ = ["PoolStore"]

_write_bindings = BulkInsert(schema.bindings, ("name", "value"), key="name")
_write_deals = BulkInsert(
    schema.deals,
    ("deal_id", "first", "size", "begun", "settled", "created_at", "updated_at", "document"),
    key="deal_id",
)
_write_standings = BulkInsert(schema.standings, ("worker", "owner", "updated_at", "document"), key="worker")
_write_journal = BulkInsert(schema.journal, ("at", "events", "document"))

_EFFECTS_OF_TASK = 4
_PAGE_BYTES = 16_384
"""Each commit writes tens of kilobytes side by side: fewer, larger pages cost the system less."""
_SETTLED_LOOKED_AT = 50_000
"""Among so many of the newest tasks those are looked for that were settled lately: no index has their time."""


class PoolStore(PoolArchive):
    """The tables of one workerpool's scheduler. Close it in the end.

    A commit is on the disk when it returns. The row of a task that is not over follows some commits later
    (`write_rows`); until then `redo` holds what changed, and this object answers for it.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._lock = threading.Lock()
        self._tasks = TaskKeeper()
        self._plans = PlanKeeper()
        self._accounts = AccountKeeper()

    @classmethod
    def open(cls, database: str | Path) -> PoolStore:
        """Open, create or upgrade the tables.

        Raises:
            UsageError: the database cannot be opened, or was written by a newer release.
        """
        return cls(open_migrated(database, "fairgrid.pool.migrations", page_bytes=_PAGE_BYTES))

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

    def commit(self, commit: Commit, *, handed: Callable[[], None] = lambda: None) -> None:
        """Write events, tasks, deals and transactions in one transaction of the database.

        ``handed`` is told when all was handed to the database, and only its word is missing that it is on the disk.
        """
        with (
            self._lock,
            self._plans.writing(),
            self._accounts.writing(),
            self._tasks.writing(),
            self._engine.begin() as connection,
        ):
            # What must be read comes first.
            self._plans.prepare(connection, commit.instructions, born=self._tasks.prepare(connection, commit.tasks))
            self._accounts.prepare(connection, day_of(commit.at), commit.accounts)
            write_corrections(connection, commit.at, commit.corrections)
            write_bans(connection, commit.instructions, commit.at)
            with written_at_once(connection, handed=handed) as batch:
                self._write(batch, commit)

    def write_rows(self, at: float, *, older_than_s: float = 0.0) -> None:
        """Write the rows of tasks that changed ``older_than_s`` ago and are behind since; ``at`` is local time now."""
        with self._lock:
            behind = self._tasks.behind
            if any(task.at <= at - older_than_s for task in behind.values()):
                with self._tasks.writing(), self._engine.begin() as connection:
                    self._tasks.prepare(connection, {})
                    with written_at_once(connection) as batch:
                        self._tasks.keep(batch, {}, at, before=at - older_than_s, most=len(behind))

    def catch_up(self) -> None:
        """Write the rows of all tasks that changed: who reads the tables then finds everything."""
        behind = list(self._tasks.behind.values())
        if behind:
            self.write_rows(max(task.at for task in behind))

    def _write(self, batch: Batch, commit: Commit) -> None:
        at = commit.at
        self._accounts.write(batch)
        self._tasks.keep(batch, commit.tasks, at, before=at - ROW_AFTER_S, most=ROWS_BESIDE)
        _write_deals(
            batch,
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
            batch,
            [(item.worker, item.owner, at, documents.write_standing(item)) for item in commit.standings.values()],
        )
        if commit.events:
            _write_journal(batch, [(at, len(commit.events), documents.write_events(commit.events))])
        self._plans.write(batch, at)
        self._plans.over(task_id for task_id, row in commit.tasks.items() if row.settled)
        if commit.position is not None:
            self._write_position(batch, commit.position)

    def record_signed(self, key: str, transaction: SignedTransaction) -> None:
        """Keep the signed bytes of an effect; only then may they be sent (decision 25)."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(schema.effects)
                .where(schema.effects.c.number.in_(_numbers(connection, key)))
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
                sa.update(schema.effects)
                .where(schema.effects.c.number.in_(_numbers(connection, key)))
                .values(status=status, error=error[:2_000])
            )

    def set_position(self, block_number: int) -> None:
        """Remember that every event up to this block was taken."""
        with self._engine.begin() as connection, written_at_once(connection) as batch:
            self._write_position(batch, block_number)

    def _write_position(self, batch: Batch, block_number: int) -> None:
        _write_bindings(batch, [("block", str(block_number))])

    # --- reading --------------------------------------------------------------------------------------------------

    def live_tasks(self, *, settled_since: float | None = None, most: int = 0) -> list[TaskState]:
        """Tasks from which something is still expected, with their stories. What rows are behind with since the last
        process ended is written into them first.

        With ``settled_since`` (Unix seconds) those that were settled since then, too, for the chain may take them back:
        ``most`` at the most, of the newest tasks.
        """
        with self._lock, self._engine.begin() as connection:
            self._tasks.recover(connection)
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
        self._tasks.known({row.task_id: row.number for row in rows if not row.settled})
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

    def task(self, task_id: str) -> StoredTask | None:
        behind = self._tasks.behind.get(task_id)
        if behind is None:
            return super().task(task_id)
        state = documents.read_task(behind.row.told())
        return StoredTask(state, behind.row.story[-1].at if behind.row.story else behind.at)

    def story(self, task_id: str) -> list[StoryLine]:
        behind = self._tasks.behind.get(task_id)
        return super().story(task_id) if behind is None else list(behind.row.story)

    def known_tasks(self, task_ids: Collection[str]) -> dict[str, bool]:
        behind = {task_id: False for task_id in task_ids if task_id in self._tasks.behind}
        return super().known_tasks([task_id for task_id in task_ids if task_id not in behind]) | behind

    def tasks_of_deal(self, deal_id: str, *, limit: int, offset: int = 0) -> list[tuple[str, int, str]]:
        if any(behind.row.deal.deal_id == deal_id for behind in list(self._tasks.behind.values())):
            self.catch_up()
        return super().tasks_of_deal(deal_id, limit=limit, offset=offset)

    # --- forgetting -----------------------------------------------------------------------------------------------

    def purge(self, before: float, *, limit: int) -> int:
        """Delete those of the ``limit`` oldest tasks that were over ``before`` (local time), as many old rows of the
        journal, and four times as many old transactions of tasks that are not live; gives how many rows went. Deals
        stay: a row each.
        """
        first = (
            sa.select(schema.tasks.c.number, schema.tasks.c.updated_at)
            .where(schema.tasks.c.settled)
            .order_by(schema.tasks.c.number)
            .limit(limit)
            .subquery()
        )
        old = sa.select(first.c.number).where(first.c.updated_at < before)
        live = sa.select(schema.tasks.c.task_id).where(sa.not_(schema.tasks.c.settled))
        planned = (
            sa.select(schema.effects.c.number, schema.effects.c.created_at)
            .where(schema.effects.c.kind != PayAuditor.__name__)
            .where(schema.effects.c.task_id.not_in(live))
            .order_by(schema.effects.c.number)
            .limit(_EFFECTS_OF_TASK * limit)
            .subquery()
        )
        sent = sa.select(planned.c.number).where(planned.c.created_at < before)
        oldest = sa.select(schema.journal.c.number).order_by(schema.journal.c.number).limit(limit)
        with self._engine.begin() as connection:
            tasks = connection.execute(old).scalars().all()
            connection.execute(sa.delete(schema.tasks).where(schema.tasks.c.number.in_(tasks)))
            effects = connection.execute(sent).scalars().all()
            connection.execute(sa.delete(schema.effects).where(schema.effects.c.number.in_(effects)))
            journalled = connection.execute(
                sa.delete(schema.journal)
                .where(schema.journal.c.number.in_(oldest.scalar_subquery()))
                .where(schema.journal.c.at < before)
            ).rowcount
        return len(tasks) + len(effects) + journalled


def _numbers(connection: Connection, key: str) -> list[int]:
    return [row.number for row in find(connection, schema.effects, [key], columns=(schema.effects.c.number,))]
