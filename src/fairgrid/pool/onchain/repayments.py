"""Counts what sponsored workers pay back to the sponsor's account in the escrow, as the chain has it now.

The watcher gives every ``Transfer`` of the hub at least once, and those that a reorganisation took back. What was taken
back while the pool was away is found by the hashes of blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from fairgrid.chain.interface import Chain, ChainEvent
from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.sponsoring import DebtSums
from fairgrid.pool.records.repayment_store import RepaymentStore
from fairgrid.seams.clock import Clock

__all__ = ["SETTLED_BLOCKS", "Repayments"]

_log = structlog.get_logger(__name__)

SETTLED_BLOCKS: Final = 64
"""So deep below the newest block a repayment is not looked at any more."""
_LOOK_EVERY_S: Final = 30.0


class Repayments:
    """One pool's. `take` before the chain's position is stored, `keep` beside it."""

    def __init__(self, *, chain: Chain, store: RepaymentStore, clock: Clock, sponsor: str = "") -> None:
        """``sponsor`` is who gives now, if anybody does; who gave before is read from the database."""
        self._chain = chain
        self._store = store
        self._clock = clock
        self._sponsors = {sponsor} - {""}
        self.sums = DebtSums()
        """What all owe and repaid, as it was counted last."""

    async def begin(self) -> None:
        """Read whom repayments go to; before the first event."""
        self._sponsors |= await asyncio.to_thread(self._store.sponsors)
        await self._add_up()

    async def take(self, event: ChainEvent) -> None:
        """Count a ``Transfer`` of the hub, or count it no more; on disk when it returns."""
        given = event.arguments
        if given["to"] not in self._sponsors:
            return
        if event.removed:
            await asyncio.to_thread(self._store.undo, event)
            _log.warning("a reorganisation took a repayment back", worker=given["from"], tx=event.tx_hash)
        elif await asyncio.to_thread(self._store.add, event, self._clock.now()):
            _log.info("a worker repaid", worker=given["from"], nrlc=given["value"], tx=event.tx_hash)
        await self._add_up()

    async def keep(self) -> None:
        """Look again at repayments that are not deep yet, for ever."""
        while True:
            with contextlib.suppress(ServiceUnavailable):
                await self.look()
            await self._add_up()
            await self._clock.sleep(_LOOK_EVERY_S)

    async def _add_up(self) -> None:
        if self._sponsors:
            self.sums = DebtSums.of((await asyncio.to_thread(self._store.debts)).values())

    async def look(self) -> None:
        """Drop what lies in blocks that were replaced.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        waiting = await asyncio.to_thread(self._store.unsettled)
        if not waiting:
            return
        head = await self._chain.head()
        for block in waiting:
            if await self._chain.block_hash(block.number) != block.hash:
                dropped = await asyncio.to_thread(self._store.drop, block)
                _log.warning("repayments lay in a block that was replaced", block=block.number, dropped=dropped)
            elif block.number <= head.number - SETTLED_BLOCKS:
                await asyncio.to_thread(self._store.settle, block)
