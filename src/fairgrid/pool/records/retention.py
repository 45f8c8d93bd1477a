"""Forgetting, so that a pool's database stays as large as its work and not as its age. In small steps, oldest first.

What is kept for ever: bans, what operators did, sponsored newcomers (each is helped once) and what they repaid, records
of workers that lied or are owed something.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from fairgrid.pool.core.accounts import day_of
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records import documents, schema
from fairgrid.pool.records.account_store import AccountStore
from fairgrid.pool.records.store import PoolStore

__all__ = ["Forgotten", "Retention"]

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What one step deleted."""

    rows: int
    workers: tuple[str, ...] = ()
    """Whose records went; the scheduler forgets them, too."""


class Retention:
    """Deletes what is older than the policy keeps it. Every method blocks: call it from a thread."""

    def __init__(self, store: PoolStore) -> None:
        self._store = store
        self._engine: Engine = store.engine
        self._after = ""

    def step(self, policy: Policy, now: float, *, connected: Collection[str] = (), limit: int = 200) -> Forgotten:
        """Delete at most some ``limit`` rows of each kind; nothing is left to do when it gives no row."""
        rows = 0
        workers: tuple[str, ...] = ()
        if policy.keep_rows_days:
            before = now - policy.keep_rows_days * _DAY_S
            rows += self._store.purge(before, limit=limit)
            rows += self._deals(before, limit)
        if policy.keep_usage_days:
            before = now - policy.keep_usage_days * _DAY_S
            rows += AccountStore(self._engine).purge(day_of(max(before, 0.0)), limit=limit)
        if policy.keep_standings_days:
            workers = self._standings(now, now - policy.keep_standings_days * _DAY_S, connected, limit)
        return Forgotten(rows + len(workers), workers)

    def _deals(self, before: float, limit: int) -> int:
        """Deals of which nothing more is expected and no task is left."""
        tasks = sa.select(schema.tasks.c.number).where(schema.tasks.c.deal_id == schema.deals.c.deal_id)
        old = (
            sa.select(schema.deals.c.deal_id)
            .where(schema.deals.c.settled)
            .where(schema.deals.c.updated_at < before)
            .where(~tasks.exists())
            .limit(limit)
        )
        with self._engine.begin() as connection:
            found = connection.execute(old).scalars().all()
            if found:
                connection.execute(sa.delete(schema.deals).where(schema.deals.c.deal_id.in_(found)))
        return len(found)

    def _standings(self, now: float, before: float, connected: Collection[str], limit: int) -> tuple[str, ...]:
        """Records of workers that are gone; looks at some of them a step, round and round."""
        known = schema.standings
        page = (
            sa.select(known.c.worker, known.c.document)
            .where(known.c.updated_at < before)
            .where(known.c.worker > self._after)
            .order_by(known.c.worker)
            .limit(limit)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(page).all()
            self._after = rows[-1].worker if len(rows) == limit else ""
            gone = []
            for row in rows:
                standing = documents.read_standing(row.document)
                if standing.disproved or standing.owed_nrlc or standing.is_quarantined(now):
                    continue
                if row.worker not in connected:
                    gone.append(row.worker)
            if gone:
                connection.execute(sa.delete(known).where(known.c.worker.in_(gone)).where(known.c.updated_at < before))
        return tuple(gone)
