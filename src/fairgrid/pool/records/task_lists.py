"""Lists of a pool's tasks by what an operator asks for. Every method blocks: call it from a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.pool.core.phases import FINAL_PHASES
from fairgrid.pool.records import ledger_entries, schema
from fairgrid.pool.records.documents import read_deal
from fairgrid.pool.records.places import find

__all__ = ["MOST_LOOKED_THROUGH", "TaskFilter", "TaskLine", "TaskLists", "TransactionLine"]

MOST_LOOKED_THROUGH: Final = 100_000
"""So many of the newest tasks, or deals, are looked through for a worker, a requester or an app."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """What is asked for; empty: everything. Addresses are in their checksummed form."""

    phase: str = ""
    deal: str = ""
    requester: str = ""
    app: str = ""
    worker: str = ""


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One task of a list. Times are local seconds since 1970."""

    task_id: str
    deal_id: str
    index: int
    phase: str
    created_at: float
    updated_at: float
    requester: str
    app: str
    trust: int


@dataclass(frozen=True, slots=True)
class TransactionLine:
    """A signed version of a transaction that carries out something for a task."""

    at: float
    function: str
    tx_hash: str
    nonce: int
    status: str
    block: int


class TaskLists:
    """Reads the tables of one pool."""

    def __init__(self, engine: Engine, *, catch_up: Callable[[], None] = lambda: None) -> None:
        """``catch_up`` has what the pool did not write into its tables yet written."""
        self._engine = engine
        self._catch_up = catch_up

    def page(self, wanted: TaskFilter, *, limit: int, offset: int) -> list[TaskLine]:
        """Begun tasks, newest first."""
        self._catch_up()
        tasks, deals = schema.tasks, schema.deals
        query = (
            sa.select(
                tasks.c.task_id,
                tasks.c.deal_id,
                tasks.c.task_index,
                tasks.c.phase,
                tasks.c.created_at,
                tasks.c.updated_at,
                deals.c.document,
            )
            .outerjoin(deals, deals.c.deal_id == tasks.c.deal_id)
            .order_by(tasks.c.number.desc())
            .limit(limit)
            .offset(offset)
        )
        if wanted.phase:
            query = query.where(tasks.c.phase == wanted.phase)
            if wanted.phase not in FINAL_PHASES:
                # By the index of what is not over: of a million tasks few are.
                query = query.where(sa.not_(tasks.c.settled))
        if wanted.deal:
            query = query.where(tasks.c.deal_id == wanted.deal)
        with self._reading() as connection:
            if wanted.worker:
                query = query.where(tasks.c.number.in_(self._numbers_of(connection, wanted.worker)))
            if wanted.requester or wanted.app:
                query = query.where(tasks.c.deal_id.in_(self._deals_of(wanted)))
            rows = connection.execute(query).all()
        return [self._line(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many begun tasks are in which phase."""
        self._catch_up()
        phase = schema.tasks.c.phase
        with self._reading() as connection:
            rows = connection.execute(sa.select(phase, sa.func.count()).group_by(phase)).all()
        return {row[0]: int(row[1]) for row in rows}

    def transactions(self, task_id: str) -> list[TransactionLine]:
        """Every version of every transaction that was signed for a task, in order."""
        sent, carried, effects = ledger_entries.transactions, ledger_entries.carried, schema.effects
        with self._reading() as connection:
            keys = [row.key for row in find(connection, effects, [task_id], columns=(effects.c.key,), prefix=True)]
            rows = connection.execute(
                sa.select(sent)
                .join(carried, carried.c.tx_hash == sent.c.tx_hash)
                .where(carried.c.key.in_(keys))
                .order_by(sent.c.signed_at, sent.c.nonce)
            ).all()
        return [
            TransactionLine(row.signed_at, row.function, row.tx_hash, int(row.nonce), row.status, row.block_number or 0)
            for row in rows
        ]

    def sent_since(self, at: float) -> int:
        """How many transactions were mined, or reverted, of those signed since ``at``."""
        sent = ledger_entries.transactions
        query = sa.select(sa.func.count()).where(sent.c.signed_at >= at).where(sent.c.status.in_(("mined", "reverted")))
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def last_block(self) -> int | None:
        """The last block of which every event was taken; None before the first."""
        bindings = schema.bindings
        with self._reading() as connection:
            found = connection.execute(sa.select(bindings.c.value).where(bindings.c.name == "block"))
            value = found.scalar_one_or_none()
        return None if value is None else int(value)

    def _numbers_of(self, connection: Connection, worker: str) -> sa.Select[Any]:
        # An index by worker would make every write dearer.
        last = connection.execute(sa.select(sa.func.max(schema.tasks.c.number))).scalar_one() or 0
        tasks = schema.tasks
        return (
            sa.select(tasks.c.number)
            .where(tasks.c.number > last - MOST_LOOKED_THROUGH)
            .where(tasks.c.story.contains(f'"{worker}"', autoescape=True))
        )

    def _deals_of(self, wanted: TaskFilter) -> sa.Select[Any]:
        deals = schema.deals
        newest = (
            sa.select(deals.c.deal_id, deals.c.document)
            .order_by(deals.c.created_at.desc())
            .limit(MOST_LOOKED_THROUGH)
            .subquery()
        )
        query = sa.select(newest.c.deal_id)
        for name, address in (("requester", wanted.requester), ("app", wanted.app)):
            if address:
                query = query.where(newest.c.document.contains(f'"{name}":"{address}"', autoescape=True))
        return query

    @staticmethod
    def _line(row: Any) -> TaskLine:
        deal = read_deal(row.document) if row.document is not None else None
        return TaskLine(
            row.task_id,
            row.deal_id,
            int(row.task_index),
            row.phase,
            row.created_at,
            row.updated_at,
            deal.requester if deal else "",
            deal.app if deal else "",
            deal.trust if deal else 0,
        )

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)
