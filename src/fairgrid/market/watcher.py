"""Keeps the book true: looks again at what an event of the hub touched, and at every open order now and then.

An event is only a hint where to look: the state comes from the chain itself, so events that come twice, late, or are
undone by a reorganisation lead to the same book.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from fairgrid.chain.interface import Chain, ChainEvent
from fairgrid.errors import FairgridError
from fairgrid.market.checks import Checks
from fairgrid.market.store import OrderBook
from fairgrid.protocol.hexes import ZERO32
from fairgrid.seams.clock import Clock, SystemClock

__all__ = ["Watcher"]

_PAUSE_AFTER_TROUBLE_S = 2.0
_ORDER_EVENTS = frozenset(
    {"OrdersMatched", "ClosedAppOrder", "ClosedDatasetOrder", "ClosedWorkerpoolOrder", "ClosedRequestOrder"}
)

_log = structlog.get_logger("fairgrid.market")


class Watcher:
    """Follows the hub for a book. `run` it as a task; `last_block` is how far it has read."""

    def __init__(
        self,
        chain: Chain,
        book: OrderBook,
        checks: Checks,
        *,
        clock: Clock | None = None,
        sweep_every_s: float = 60,
        poll_s: float = 0.5,
    ) -> None:
        """``sweep_every_s``: all open orders are looked at again so often, which also finds assets that were sold."""
        self._chain = chain
        self._book = book
        self._checks = checks
        self._clock = clock or SystemClock()
        self._sweep_every_s = sweep_every_s
        self._poll_s = poll_s
        self._looking = asyncio.Lock()
        self.last_block = 0

    async def run(self) -> None:
        """Watch until cancelled; a chain that does not answer is tried again."""
        while True:
            try:
                head = await self._chain.head()
                self.last_block = head.number
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._sweep_for_ever())
                    group.create_task(self._follow(head.number))
            except* FairgridError as trouble:
                _log.warning("watching_interrupted", reason=str(trouble.exceptions[0]))
            except* Exception as trouble:
                _log.error("watching_failed", exc_info=trouble)
            await self._clock.sleep(_PAUSE_AFTER_TROUBLE_S)

    async def sweep(self) -> None:
        """Look at every open order again."""
        await self.look_at(await asyncio.to_thread(self._book.open_hashes))

    async def look_at(self, order_hashes: Iterable[str], *, closed: bool = False) -> None:
        """Give orders of the book the state that the chain gives them; hashes that it does not have are skipped."""
        for order_hash in order_hashes:
            # One at a time: an older view of the chain must not be written after a newer one.
            async with self._looking:
                await self._look_at(order_hash, closed=closed)

    async def handle(self, event: ChainEvent) -> None:
        """Look at what an event touched."""
        if event.name in _ORDER_EVENTS:
            hashes = [value for name, value in event.arguments.items() if name.endswith("Hash") and value != ZERO32]
            await self.look_at(hashes, closed=event.name.startswith("Closed") and not event.removed)
        elif event.name == "Transfer" and event.arguments["value"] and not event.removed:
            sender = event.arguments["from"]
            await self.look_at(await asyncio.to_thread(lambda: self._book.open_hashes(signer=sender)))
        self.last_block = max(self.last_block, event.block_number)

    async def _look_at(self, order_hash: str, *, closed: bool) -> None:
        stored = await asyncio.to_thread(self._book.get, order_hash)
        if stored is None:
            return
        current = await self._checks.current(stored, closed=closed)
        if current != stored:
            await asyncio.to_thread(self._book.set_state, order_hash, current.status, current.remaining)
            _log.info("order_changed", order=order_hash, status=current.status.value, remaining=current.remaining)

    async def _follow(self, from_block: int) -> None:
        async for event in self._chain.follow(from_block=from_block, poll_s=self._poll_s):
            await self.handle(event)

    async def _sweep_for_ever(self) -> None:
        while True:
            await self.sweep()
            await self._clock.sleep(self._sweep_every_s)
