"""One process of a pool: it stands by until nobody leads, leads until it must not or hands over, and stands by again.

While it stands by, its HTTP answers say who leads, and its workers' socket sends them on with status 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import DBAPIError

from fairgrid.errors import ServiceError, ServiceUnavailable, UsageError
from fairgrid.pool.processes.leadership import RENEW_S, Leader, Leadership, LeadershipLost, ProcessSeen
from fairgrid.pool.records.ledger import Superseded
from fairgrid.seams.clock import Clock

__all__ = ["LeadingPool", "PoolGate"]

_log = structlog.get_logger(__name__)

_POLL_S = 0.5
_RETRY_AFTER_S = 2
_OTHERS_FIRST_S = 10.0
_DRAIN_S = 5.0


class LeadingPool(Protocol):
    """A pool that schedules: `PoolService` behind its HTTP rim."""

    @property
    def application(self) -> Any:
        """What answers requests while this process leads (ASGI)."""
        ...

    async def drain(self) -> None:
        """Take nothing new, and finish what is in hand."""
        ...


class PoolGate:
    """An ASGI application that is the pool while its process leads, and says who leads otherwise.

    ``lead`` opens the pool for one term and closes it in the end; it runs anew for each term.
    """

    def __init__(
        self,
        leadership: Leadership,
        *,
        lead: Callable[[Leader], AbstractAsyncContextManager[LeadingPool]],
        clock: Clock,
        patient: bool = False,
    ) -> None:
        """``patient``: a service that does not answer is waited for at the start too, not only later."""
        self._leadership = leadership
        self._patient = patient
        self._lead = lead
        self._clock = clock
        self._pool: LeadingPool | None = None
        self._known: Leader | None = None
        self._yielding = asyncio.Event()
        self._settled = asyncio.Event()

    @property
    def leads(self) -> bool:
        """True while this process schedules."""
        return self._pool is not None

    @property
    def known_leader(self) -> Leader | None:
        """Who leads, as far as this process knows."""
        return self._known

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PoolGate]:
        """Take part until the block is left; entered once it is known whether this process leads.

        Raises:
            UsageError: the SQLite database is in use, or the pool cannot be opened as configured.
            ServiceUnavailable: the database or the chain does not answer at start, and this gate is not patient.
        """
        turns = asyncio.create_task(self._take_turns(), name="leadership")
        settled = asyncio.create_task(self._settled.wait())
        body = asyncio.current_task()
        assert body is not None
        leaving = False

        def ended(task: asyncio.Task[None]) -> None:
            if not leaving and not task.cancelled():
                body.cancel()

        try:
            await asyncio.wait((turns, settled), return_when=asyncio.FIRST_COMPLETED)
            if turns.done():
                leaving = True
                turns.result()
            turns.add_done_callback(ended)
            try:
                yield self
            except asyncio.CancelledError:
                if turns.done() and not turns.cancelled() and (error := turns.exception()) is not None:
                    body.uncancel()
                    raise error from None
                raise
        finally:
            leaving = True
            settled.cancel()
            turns.cancel()
            await asyncio.gather(turns, settled, return_exceptions=True)
            await asyncio.to_thread(self._leadership.close)

    async def hand_over(self, note: Callable[[], Awaitable[None]] | None = None) -> ProcessSeen:
        """Finish what is in hand and let a process that stands by take over; gives the one that can.

        ``note`` is called while this process leads still, if there is one to hand over to.

        Raises:
            UsageError: this process does not lead, or nobody stands by.
        """
        if self._pool is None:
            raise UsageError("This process does not lead, so it has nothing to hand over. Ask the one that leads.")
        fit = [other for other in await asyncio.to_thread(self._leadership.others) if other.fit]
        if not fit:
            raise UsageError(
                "No other process of this pool stands by, so nobody would schedule. Start one on the same PostgreSQL "
                "database, and try again."
            )
        if note is not None:
            await note()
        self._yielding.set()
        return fit[0]

    # --- turns ----------------------------------------------------------------------------------------------------

    async def _take_turns(self) -> None:
        while True:
            leader = await self._win()
            handed_over = False
            try:
                async with self._lead(leader) as pool:
                    self._known, self._pool = leader, pool
                    self._yielding.clear()
                    _log.info("this process leads", epoch=leader.epoch, process=leader.process)
                    self._settled.set()
                    try:
                        await self._until_over()
                        handed_over = True
                    finally:
                        self._pool = None
            except (LeadershipLost, Superseded, DBAPIError) as error:
                _log.error("leadership lost; this process stands by", epoch=leader.epoch, reason=str(error))
            except OSError as error:
                if not self._settled.is_set():
                    raise
                _log.error("this machine fails; the process stands by", epoch=leader.epoch, reason=str(error))
            except ServiceError as error:
                if not self._settled.is_set() and not (self._patient and isinstance(error, ServiceUnavailable)):
                    raise
                _log.error("this process cannot schedule now; it stands by", epoch=leader.epoch, reason=str(error))
            finally:
                # Nobody who asks now may be sent back to this process.
                self._pool = self._known = None
                await asyncio.to_thread(self._leadership.resign, stay_away=handed_over)
            if handed_over:
                _log.info("handed over", epoch=leader.epoch)
                await self._let_others_go_first(leader.epoch)
            else:
                await self._clock.sleep(_POLL_S)

    async def _until_over(self) -> None:
        """Renew until this process is to hand over; raises LeadershipLost when it may not go on."""
        assert self._pool is not None
        while True:
            try:
                async with asyncio.timeout(3 * RENEW_S):
                    await asyncio.to_thread(self._leadership.renew)
            except TimeoutError:
                raise LeadershipLost("the database does not answer") from None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._yielding.wait(), RENEW_S)
                break
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await self._pool.drain()

    async def _win(self) -> Leader:
        while True:
            try:
                leader = await asyncio.to_thread(self._leadership.lead)
                if leader is not None:
                    return leader
                await self._look()
                self._settled.set()
            except ServiceUnavailable as error:
                if not self._settled.is_set():
                    raise
                _log.warning("the database does not answer; this process waits", error=str(error))
            await self._clock.sleep(_POLL_S)

    async def _let_others_go_first(self, epoch: int) -> None:
        until = self._clock.now() + _OTHERS_FIRST_S
        with contextlib.suppress(ServiceUnavailable):
            while self._clock.now() < until:
                await asyncio.to_thread(self._leadership.stand_by, fit=False)
                await self._look()
                if self._known is not None and self._known.epoch > epoch:
                    return
                await self._clock.sleep(_POLL_S / 5)

    async def _look(self) -> None:
        known = await asyncio.to_thread(self._leadership.leader)
        if known is not None and (self._known is None or known.epoch != self._known.epoch):
            _log.info("this process stands by", leader=known.address, epoch=known.epoch)
        self._known = known

    # --- requests -------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pool = self._pool
        if pool is not None:
            await pool.application(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(send, healthy=scope["path"] == "/health")
        elif scope["type"] == "websocket":
            await receive()
            if "websocket.http.response" in scope.get("extensions", {}):
                await self._answer(send, kind="websocket.http.response")
            else:
                await send({"type": "websocket.close", "code": 1013, "reason": "stands by"})

    async def _answer(self, send: Any, *, kind: str = "http.response", healthy: bool = False) -> None:
        leader = self._known
        where = leader.address if leader else "nobody yet"
        document = {
            "error": f"This process of the pool stands by; {where} leads. Try there, or again in {_RETRY_AFTER_S} s.",
            "status": "standing by",
            "leader": leader.address if leader else "",
            "epoch": leader.epoch if leader else 0,
        }
        headers = [
            (b"content-type", b"application/json"),
            (b"retry-after", str(_RETRY_AFTER_S).encode()),
            (b"access-control-allow-origin", b"*"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": f"{kind}.start", "status": 200 if healthy else 503, "headers": headers})
        await send({"type": f"{kind}.body", "body": json.dumps(document).encode()})
