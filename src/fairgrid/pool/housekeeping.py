"""What keeps a pool's tables in order while it works: rows that are behind are written, old ones are deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.retention import Retention
from fairgrid.pool.records.store import PoolStore
from fairgrid.seams.clock import Clock

__all__ = ["Housekeeping"]

_DAY_S = 86_400.0
_PURGE_STEP = 200
_PURGE_PAUSE_S = 0.1
_PURGE_EVERY_S = 600.0
_ROWS_EVERY_S = 5.0


class _PurgeTransactions(Protocol):
    def __call__(self, before: float, *, limit: int) -> Awaitable[int]: ...


class Housekeeping:
    """Two loops, each for ever: `write_rows` and `purge`."""

    def __init__(
        self,
        *,
        machine: PoolMachine,
        store: PoolStore,
        clock: Clock,
        policy: Callable[[], Policy],
        purge_transactions: _PurgeTransactions,
    ) -> None:
        """``purge_transactions`` deletes up to ``limit`` transactions of before a local time; gives how many went."""
        self._machine = machine
        self._store = store
        self._clock = clock
        self._policy = policy
        self._purge_transactions = purge_transactions

    async def write_rows(self) -> None:
        """Where little happens no commit follows that would write the rows of what changed: they come after a while."""
        while True:
            await self._clock.sleep(_ROWS_EVERY_S)
            await asyncio.to_thread(self._store.write_rows, self._clock.now(), older_than_s=_ROWS_EVERY_S)

    async def purge(self) -> None:
        """Delete rows that are older than the policy keeps them, in small steps."""
        retention = Retention(self._store)
        while True:
            policy, now = self._policy(), self._clock.now()
            gone = await asyncio.to_thread(
                retention.step, policy, now, connected=frozenset(self._machine.workers), limit=_PURGE_STEP
            )
            for worker in gone.workers:
                self._machine.forget_standing(worker)
            rows = gone.rows
            if policy.keep_rows_days:
                rows += await self._purge_transactions(now - policy.keep_rows_days * _DAY_S, limit=_PURGE_STEP)
            await self._clock.sleep(_PURGE_PAUSE_S if rows else _PURGE_EVERY_S)
