"""What can be asked of the scheduler's tables. Every method blocks: call it from a thread."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.chain.transaction_rows import transaction_of
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.task_state import StoryLine
from fairgrid.pool.core.worker_state import Ban
from fairgrid.pool.records import documents, schema
from fairgrid.pool.records.places import find
from fairgrid.pool.records.rows import EffectStatus, StoredEffect, StoredTask
from fairgrid.protocol.ids import task_id as id_of_task

__all__ = ["PoolArchive"]


class PoolArchive:
    """The tables of one workerpool's scheduler, to be read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def position(self) -> int | None:
        """The last block of which every event was taken; None for a new database."""
        with self._reading() as connection:
            value = connection.execute(
                sa.select(schema.bindings.c.value).where(schema.bindings.c.name == "block")
            ).scalar_one_or_none()
        return None if value is None else int(value)

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

    def standings(self) -> list[Standing]:
        """Every worker's record."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(schema.standings.c.document)).scalars().all()
        return [documents.read_standing(document) for document in rows]

    def bans(self) -> list[Ban]:
        with self._reading() as connection:
            rows = connection.execute(sa.select(schema.bans)).all()
        return [Ban(row.worker, row.owner, row.task_id, row.reason, row.evidence, row.at) for row in rows]

    def transactions_under_way(self) -> list[StoredEffect]:
        """Transactions that are planned or signed and of which no receipt was seen, in the order of their nonces."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.effects)
                .where(schema.UNMINED)
                .where(schema.effects.c.status.in_([EffectStatus.PLANNED, EffectStatus.SIGNED]))
                .where(schema.effects.c.kind.in_(list(documents.TRANSACTIONS)))
            ).all()
        found = [_effect(row) for row in rows]
        return sorted(found, key=lambda effect: (effect.transaction is None, _nonce(effect), effect.key))

    def effect(self, key: str) -> StoredEffect | None:
        """A transaction by its key; None for one that is not known."""
        with self._reading() as connection:
            rows = find(connection, schema.effects, [key])
        return _effect(rows[0]) if rows and rows[0].kind in documents.TRANSACTIONS else None

    def task(self, task_id: str) -> StoredTask | None:
        """A task without its story; None for one that is not known."""
        with self._reading() as connection:
            rows = find(connection, schema.tasks, [task_id])
        return StoredTask(documents.read_task(rows[0].document), rows[0].updated_at) if rows else None

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
            rows = find(connection, schema.tasks, task_ids, columns=(schema.tasks.c.task_id, schema.tasks.c.settled))
        return {row.task_id: row.settled for row in rows}

    def story(self, task_id: str) -> list[StoryLine]:
        """Everything that happened to a task, in order; empty for one that is not known."""
        with self._reading() as connection:
            rows = find(connection, schema.tasks, [task_id], columns=(schema.tasks.c.story,))
        return documents.read_story(task_id, rows[0].story) if rows else []

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)


def _effect(row: Any) -> StoredEffect:
    transaction = None
    if row.raw is not None:
        transaction = transaction_of(row)
    instruction = documents.read_transaction(row.kind, row.document)
    return StoredEffect(row.key, instruction, EffectStatus(row.status), row.attempt, transaction)


def _nonce(effect: StoredEffect) -> int:
    return effect.transaction.nonce if effect.transaction else 0
