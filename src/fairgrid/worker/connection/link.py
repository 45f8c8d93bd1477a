"""The worker's outgoing websocket to its pool: enrol, heartbeat, reconnect; every frame is checked before it is used.

The pool is not trusted: a challenge for another chain, hub or workerpool than those of the worker's network file is not
signed (decision 31), a frame that breaks the protocol ends the connection, and what it asks for is judged elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from fairgrid.errors import UsageError
from fairgrid.pool.client import pool_urls
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.machine import Machine, machine_message
from fairgrid.protocol.pool_messages import Challenge, PoolMessage, Refused, Welcome
from fairgrid.protocol.seals import challenge_message
from fairgrid.protocol.wire import MAX_FRAME_BYTES, PROTOCOL_VERSION, ProtocolViolation, decode_pool_message, encode
from fairgrid.protocol.worker_messages import Enrol, Heartbeat, HeldLease, WorkerMessage
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer
from fairgrid.worker.connection.understood import Understood
from fairgrid.worker.onchain.ownership import Ownership, own_key

__all__ = ["LinkOptions", "LinkUser", "PoolLink", "websocket_url"]

_log = structlog.get_logger(__name__)

_AMONG_SEVERAL_S = 1.0
"""Of several processes of a pool one leads soon: they are asked more often than one that is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """How to reach a pool, and which one it must be."""

    url: str
    """The pool's base URL, http or https; those of several processes of one pool with commas between."""
    chain_id: int
    hub: str
    workerpool: str
    runtimes: tuple[str, ...]
    slots: int
    claims: Callable[[], Machine] | None = None
    """What the machine offers, asked at each enrolment; None: nothing is said of it."""
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0
    answer_s: float = 20.0
    """How long the pool may take to answer during enrolment."""


class LinkUser(Protocol):
    """Who is told what happens on the link."""

    def enrolled(self) -> None:
        """The pool welcomed this worker."""

    def disconnected(self, reason: str) -> None:
        """An enrolled connection ended."""

    def rejected(self, reason: str) -> None:
        """No enrolment: the pool is away, refuses, or is not the one of the network file. It is tried again."""

    def received(self, message: PoolMessage) -> None:
        """A valid message came."""

    def status(self) -> tuple[tuple[HeldLease, ...], int]:
        """Leases held and free slots, for heartbeats."""
        ...


class _Rejected(Exception):
    """This connection leads nowhere."""


def websocket_url(url: str) -> str:
    """The worker's endpoint of a pool's base URL.

    Raises:
        UsageError: it is no http, https, ws or wss URL.
    """
    parts = urlsplit(url.rstrip("/"))
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise UsageError(f"{url!r} is not a pool's address. Give one like http://127.0.0.1:8080.")
    return urlunsplit((schemes[parts.scheme], parts.netloc, parts.path + "/worker", "", ""))


class PoolLink:
    """One connection at a time to one pool, made anew for ever while `run` runs."""

    def __init__(
        self,
        options: LinkOptions,
        *,
        signer: Signer,
        user: LinkUser,
        clock: Clock,
        ownership: Ownership | None = None,
    ) -> None:
        """``ownership`` None: the signer is its own owner and worker. Raises UsageError when the URL cannot be one."""
        self._ownership = ownership or own_key(signer, options.workerpool, chain_id=options.chain_id, hub=options.hub)
        self._options = options
        self._endpoints = [websocket_url(url) for url in pool_urls(options.url)]
        self._signer = signer
        self._user = user
        self._clock = clock
        self._outbox: asyncio.Queue[WorkerMessage] | None = None
        self._slots = options.slots
        self._connection: ClientConnection | None = None
        self._closing: asyncio.Task[None] | None = None
        self._understood = Understood(clock)
        self._told: Machine | None = None
        self.pool_time: float | None = None
        """What the pool's clock said at the last enrolment."""

    def send(self, message: WorkerMessage) -> bool:
        """Queue a message; False (and dropped) while not enrolled."""
        if self._outbox is None:
            return False
        self._outbox.put_nowait(message)
        return True

    @property
    def not_understood(self) -> tuple[str, ...]:
        """What this pool, of an older release, is not told (`Understood.unknown`)."""
        return self._understood.unknown

    def set_slots(self, slots: int) -> None:
        """Offer so many slots from now on; the pool is told by connecting anew, leases are kept."""
        if slots == self._slots:
            return
        self._slots = slots
        if self._connection is not None:
            self._closing = asyncio.ensure_future(self._connection.close())

    def tell_changes(self) -> None:
        """Tell the pool what the owner allows since it was last told, if that changed; by connecting anew."""
        if self._connection is None or self._options.claims is None or self._told is None:
            return
        if _lasting(self._options.claims()) != self._told:
            self._told = None
            self._closing = asyncio.ensure_future(self._connection.close())

    async def flush(self) -> None:
        """Wait until everything queued was handed to the network, or the connection is gone."""
        outbox = self._outbox
        if outbox is not None:
            await outbox.join()

    async def run(self) -> None:
        """Connect, enrol, serve, and again after a growing pause; ends only by cancellation."""
        pause_s = self._options.first_pause_s
        tried = 0
        while True:
            welcomed = False
            endpoint = self._endpoints[tried % len(self._endpoints)]
            try:
                # A proxy of the environment does not lead to this machine's own services.
                local = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")
                async with connect(
                    endpoint,
                    max_size=MAX_FRAME_BYTES,
                    open_timeout=self._options.answer_s,
                    close_timeout=1,
                    ping_interval=10,
                    ping_timeout=20,
                    proxy=None if local else True,
                ) as connection:
                    self._understood.connected()
                    heartbeat_s = await self._enrol(connection)
                    welcomed = True
                    await self._serve(connection, heartbeat_s)
                reason = "the pool closed the connection"
            except (OSError, TimeoutError, WebSocketException, UsageError, _Rejected) as error:
                reason = str(error) or type(error).__name__
            if welcomed:
                pause_s = self._options.first_pause_s
                self._user.disconnected(reason)
            else:
                self._user.rejected(f"{endpoint}: {reason}")
            tried += 1
            await self._clock.sleep(pause_s * random.uniform(0.7, 1.3))
            longest_s = self._options.longest_pause_s
            if len(self._endpoints) > 1:
                longest_s = min(longest_s, _AMONG_SEVERAL_S)
            pause_s = min(pause_s * 2, longest_s)

    async def _enrol(self, connection: ClientConnection) -> float:
        options = self._options
        challenge = await self._answer(connection)
        if not isinstance(challenge, Challenge):
            raise _Rejected(f"the pool began with {challenge.kind!r} instead of a challenge")
        if challenge.version != PROTOCOL_VERSION:
            raise _Rejected(
                f"the pool speaks protocol version {challenge.version}, this worker {PROTOCOL_VERSION}: update one"
            )
        claims = (challenge.chain_id, checksum(challenge.hub), checksum(challenge.workerpool))
        pinned = (options.chain_id, options.hub, options.workerpool)
        for name, claimed, expected in zip(("chain", "hub", "workerpool"), claims, pinned, strict=True):
            if claimed != expected:
                raise _Rejected(
                    f"the pool serves {name} {claimed}, this worker's network file says {expected}. Nothing was signed"
                )
        enrolment = self._understood.fitted(self._enrolment(challenge))
        assert enrolment is not None
        await connection.send(encode(enrolment))
        answer = await self._answer(connection)
        if isinstance(answer, Refused):
            self._understood.refused(answer.reason)
            raise _Rejected(f"the pool refuses this worker: {answer.reason}")
        if not isinstance(answer, Welcome):
            raise _Rejected(f"the pool answered the enrolment with {answer.kind!r}")
        self.pool_time = answer.now
        return answer.heartbeat_s

    def _enrolment(self, challenge: Challenge) -> Enrol:
        options, worker = self._options, self._ownership.worker
        bound = (options.chain_id, options.hub, options.workerpool, worker, challenge.nonce)
        machine = options.claims() if options.claims is not None else None
        self._told = _lasting(machine) if machine is not None else None
        signed = None if machine is None else self._signer.sign_message(machine_message(*bound, machine))
        return Enrol(
            owner=self._ownership.owner,
            worker=worker,
            owner_signature=self._ownership.signature,
            nonce_signature=self._signer.sign_message(challenge_message(*bound)),
            runtimes=options.runtimes,
            slots=self._slots,
            version=PROTOCOL_VERSION,
            fast=True,
            settles=True,
            opens_keys=True,
            machine=machine,
            machine_signature=signed,
        )

    async def _answer(self, connection: ClientConnection) -> PoolMessage:
        async with asyncio.timeout(self._options.answer_s):
            return decode_pool_message(await connection.recv())

    async def _serve(self, connection: ClientConnection, heartbeat_s: float) -> None:
        outbox: asyncio.Queue[WorkerMessage] = asyncio.Queue()
        self._outbox = outbox
        self._connection = connection
        helpers = [
            asyncio.create_task(self._write(connection, outbox)),
            asyncio.create_task(self._beat(heartbeat_s)),
        ]
        try:
            self._user.enrolled()
            async for frame in connection:
                message = decode_pool_message(frame)
                if isinstance(message, Refused):
                    self._understood.refused(message.reason)
                    raise ProtocolViolation(f"the pool ended the enrolment: {message.reason}")
                if isinstance(message, Challenge | Welcome):
                    raise ProtocolViolation(f"the pool sent {message.kind!r} after the enrolment")
                self._user.received(message)
        finally:
            self._outbox = None
            self._connection = None
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            while not outbox.empty():
                outbox.get_nowait()
                outbox.task_done()

    async def _write(self, connection: ClientConnection, outbox: asyncio.Queue[WorkerMessage]) -> None:
        while True:
            message = self._understood.fitted(await outbox.get())
            try:
                with contextlib.suppress(WebSocketException, OSError):
                    if message is not None:
                        await connection.send(encode(message))
            finally:
                outbox.task_done()

    async def _beat(self, heartbeat_s: float) -> None:
        # Half of what the pool asks for, within reason: the number comes from outside.
        pause_s = min(max(heartbeat_s / 2, 0.05), 60.0) if math.isfinite(heartbeat_s) else 5.0
        while True:
            await self._clock.sleep(pause_s)
            held, free_slots = self._user.status()
            self.send(Heartbeat(held=held, free_slots=free_slots))


def _lasting(machine: Machine) -> Machine:
    """What of the claims changes only when somebody wants it to."""
    return replace(machine, disk_bytes=0)
