"""One worker's connection: challenge, enrolment, then frames, each checked before it reaches the scheduler.

A worker is a stranger. A frame that is too large, breaks the schema, comes too fast or carries a wrong signature ends
its own connection, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from fairgrid import __version__
from fairgrid.errors import FairgridError, OrderError, ServiceError
from fairgrid.pool.core.events import (
    Event,
    Held,
    LeaseFailed,
    OpeningReceived,
    PhaseReported,
    SealReceived,
    UploadReported,
    WorkerBeat,
    WorkerCached,
    WorkerJoined,
    WorkerReady,
)
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.state import PoolIdentity
from fairgrid.pool.jobs.live import LiveBoard
from fairgrid.pool.workers.rates import Bucket
from fairgrid.protocol import wire
from fairgrid.protocol.hexes import checksum, from_hex
from fairgrid.protocol.machine import Machine, machine_message
from fairgrid.protocol.seals import challenge_message, recover_message_signer, recover_typed_data_signer
from fairgrid.protocol.sponsorship import agreement_message
from fairgrid.protocol.typed_data import Domain, enrolment_typed_data, typed_data_hash
from fairgrid.protocol.views import RoleAccount
from fairgrid.seams.addresses import network_of_ip

__all__ = ["Desk", "Session", "serve_worker"]

_log = structlog.get_logger(__name__)

_ENROL_WITHIN_S = 10.0
_LAST_WORD_S = 2.0
_OUTBOX = 1_000
_BURST = 200.0
_FRAMES_PER_S = 50.0
_MISSED_HEARTBEATS = 3
_POLICY_VIOLATION = 1008
_WHY_EVERY_S = 1.0
"""A new answer costs a look at every live task; in between a worker gets the last one again."""


class Desk(Protocol):
    """What a connection needs of its pool."""

    @property
    def identity(self) -> PoolIdentity: ...
    @property
    def policy(self) -> Policy: ...

    @property
    def live(self) -> LiveBoard: ...

    @property
    def refusals(self) -> Counter[str]:
        """How many connections were turned away or ended for what a worker sent, by kind."""
        ...

    def now(self) -> float: ...
    def feed(self, event: Event) -> None: ...
    def is_banned(self, worker: str, owner: str) -> bool: ...

    def ban_reason(self, worker: str, owner: str) -> str:
        """Why one of them is banned; empty if none is."""
        ...

    def has_room(self) -> bool: ...
    def is_busy(self, worker: str) -> bool:
        """True while a worker has something to end here."""
        ...

    def why(self, worker: str) -> wire.Why: ...

    async def spot_answered(self, worker: str, check_id: str, answer: int) -> None:
        """A worker answered a test of its speed."""
        ...

    async def refusal(self, worker: str, owner: str) -> str:
        """Why a private pool does not take this worker; empty if it does."""
        ...

    async def sponsor(self, session: Session, agreement: str) -> wire.Sponsored:
        """Help a newcomer, within the policy's caps."""
        ...

    async def role_account(self, address: str) -> RoleAccount | None:
        """The role account at an address; None when there is none."""
        ...

    async def signed_by_contract(self, owner: str, digest: str, signature: str) -> bool:
        """True if ``owner`` is a contract that says so (ERC-1271)."""
        ...

    async def worker_facts(self, worker: str) -> tuple[int, int]:
        """Score and free deposit (nRLC) on chain."""
        ...

    async def finished_among(self, task_ids: list[str]) -> frozenset[str]:
        """Those of these tasks that are settled."""
        ...

    async def attach(self, session: Session) -> None:
        """Take a worker's connection, instead of an older one of the same worker."""
        ...

    def detach(self, session: Session) -> None: ...


class _Turned(Exception):
    """The worker is turned away; the text says why, ``kind`` in one word for whoever counts."""

    def __init__(self, text: str, kind: str = "identity") -> None:
        self.kind = kind
        super().__init__(text)


@dataclass(slots=True, eq=False)
class Session:
    """An enrolled worker's connection. `send` never waits: a worker that does not read is cut off."""

    worker: str
    owner: str
    key: str
    """Whose signatures count for the worker: itself, or the operator of its role account."""
    network: str = "unknown"
    """The network that it came from, a /24 of IPv4 or a /56 of IPv6."""
    fuel_per_s: int = 0
    """What its benchmark claims."""
    slots: int = 1
    outbox: asyncio.Queue[wire.PoolMessage | None] = field(default_factory=lambda: asyncio.Queue(_OUTBOX))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    why: wire.Why | None = None
    why_at: float = 0.0
    unwelcome: bool = False
    """It was taken off the pool's list, and ends what it has begun."""
    heard_at: float = 0.0
    """When it spoke last, by the pool's clock."""

    def send(self, message: wire.PoolMessage) -> None:
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.end("This worker does not read what it is sent.")

    def end(self, reason: str) -> None:
        """Close the connection after telling the worker why."""
        self.reason = self.reason or reason
        self.ended.set()


async def serve_worker(desk: Desk, socket: WebSocket) -> None:
    """Serve one connection from challenge to end; never raises for what the other side does."""
    await socket.accept()
    try:
        try:
            session, joined = await _enrol(desk, socket)
        except _Turned as turned:
            desk.refusals[turned.kind] += 1
            await _refuse(socket, str(turned))
            return
        await desk.attach(session)
        try:
            desk.feed(joined)
            reason = await _converse(desk, socket, session)
        finally:
            desk.detach(session)
        _log.info("worker gone", worker=session.worker, reason=reason)
        await _refuse(socket, reason)
    except (WebSocketDisconnect, RuntimeError, OSError):
        # The other side closed first; Starlette raises RuntimeError for a send after that.
        return


async def _enrol(desk: Desk, socket: WebSocket) -> tuple[Session, WorkerJoined]:
    identity = desk.identity
    nonce = "0x" + secrets.token_hex(32)
    await socket.send_text(
        wire.encode(
            wire.Challenge(
                nonce=nonce,
                chain_id=identity.chain_id,
                hub=identity.hub,
                workerpool=identity.workerpool,
                version=wire.PROTOCOL_VERSION,
            )
        )
    )
    try:
        async with asyncio.timeout(_ENROL_WITHIN_S):
            enrol = _decode(await _receive(socket))
    except TimeoutError:
        raise _Turned(f"No enrolment within {_ENROL_WITHIN_S:.0f} s of the challenge.", "late") from None
    if not isinstance(enrol, wire.Enrol):
        raise _Turned(f"The first message must be 'enrol', not {enrol.kind!r}.", "schema")
    if enrol.version != wire.PROTOCOL_VERSION:
        raise _Turned(
            f"This pool (fairgrid {__version__}) speaks protocol version {wire.PROTOCOL_VERSION}, the worker "
            f"{enrol.version}: update one of them.",
            "version",
        )
    worker, owner, key = await _checked_identity(desk, enrol, nonce)
    if desk.is_banned(worker, owner):
        raise _Turned(f"This worker or its owner was banned by this pool: {desk.ban_reason(worker, owner)}.", "banned")
    try:
        if (refusal := await desk.refusal(worker, owner)) and not desk.is_busy(worker):
            raise _Turned(refusal, "private")
    except ServiceError as error:
        raise _Turned(f"The pool cannot read the chain just now ({error}); try again.", "chain") from error
    if not desk.has_room():
        raise _Turned("This pool has as many workers as it takes; try again later.", "full")
    try:
        score, stake = await desk.worker_facts(worker)
    except ServiceError as error:
        raise _Turned(f"The pool cannot read the chain just now ({error}); try again.", "chain") from error
    host = socket.client.host if socket.client is not None else ""
    near = network_of_ip(host, ipv6_bits=48)
    joined = WorkerJoined(
        worker,
        owner,
        enrol.slots,
        score,
        stake,
        enrol.runtimes,
        enrol.machine,
        near,
        fast=enrol.fast is True,
        settles=enrol.settles is True,
    )
    await socket.send_text(wire.encode(wire.Welcome(heartbeat_s=desk.policy.heartbeat_s, now=desk.now())))
    benchmark = enrol.machine.benchmark if enrol.machine is not None else None
    network = network_of_ip(host, ipv6_bits=56) or "unknown"
    fuel_per_s = benchmark.fuel_per_s if benchmark is not None else 0
    return Session(worker, owner, key, network, fuel_per_s, enrol.slots), joined


async def _checked_identity(desk: Desk, enrol: wire.Enrol, nonce: str) -> tuple[str, str, str]:
    """Worker, owner and the key that signs for the worker, each proved by a signature."""
    identity = desk.identity
    try:
        worker, owner = checksum(enrol.worker), checksum(enrol.owner)
        document = enrolment_typed_data(owner, worker, identity.workerpool, Domain(identity.chain_id, identity.hub))
        signed_by = recover_typed_data_signer(document, enrol.owner_signature)
        answer = challenge_message(identity.chain_id, identity.hub, identity.workerpool, worker, nonce)
        key = recover_message_signer(answer, enrol.nonce_signature)
        claimed_by = key if enrol.machine is None else _claimed_by(identity, enrol, enrol.machine, nonce)
    except OrderError as error:
        raise _Turned(f"The enrolment is malformed: {error}") from error
    try:
        if signed_by != owner and not await desk.signed_by_contract(
            owner, typed_data_hash(document), enrol.owner_signature
        ):
            raise _Turned(
                f"The enrolment was not signed by the owner {owner} for this worker, workerpool, chain and hub. "
                f"Sign it again for workerpool {identity.workerpool}."
            )
        if key != worker:
            await _check_operator(desk, worker, owner, key)
    except ServiceError as error:
        raise _Turned(f"The pool cannot read the chain just now ({error}); try again.", "chain") from error
    if claimed_by != key:
        raise _Turned(f"What the machine offers was not signed by the worker's key {key} for this connection.")
    return worker, owner, key


async def _check_operator(desk: Desk, worker: str, owner: str, key: str) -> None:
    """A key that is not the worker's own must be the working operator of the owner's role account (decision 21)."""
    account = None if worker == owner else await desk.role_account(worker)
    if account is None:
        raise _Turned(f"The challenge was not signed by the worker's key {worker}.")
    if account.owner != owner:
        raise _Turned(f"The role account {worker} belongs to another owner than {owner}.")
    if account.operator != key or not account.may_work:
        raise _Turned(f"The challenge was not signed by the working operator of the role account {worker}.")


def _claimed_by(identity: PoolIdentity, enrol: wire.Enrol, machine: Machine, nonce: str) -> str:
    message = machine_message(
        identity.chain_id, identity.hub, identity.workerpool, checksum(enrol.worker), nonce, machine
    )
    return recover_message_signer(message, enrol.machine_signature or "0x")


async def _converse(desk: Desk, socket: WebSocket, session: Session) -> str:
    """Read and write until one side ends it; gives the reason."""
    tasks = [
        asyncio.create_task(_read(desk, socket, session)),
        asyncio.create_task(_write(socket, session)),
        asyncio.create_task(_until_ended(session)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        error = task.exception()
        if isinstance(error, _Turned):
            desk.refusals[error.kind] += 1
            return str(error)
        if error is not None and not isinstance(error, WebSocketDisconnect | RuntimeError | OSError):
            raise error
    return session.reason or "The connection was closed."


async def _until_ended(session: Session) -> None:
    await session.ended.wait()


async def _write(socket: WebSocket, session: Session) -> None:
    while True:
        message = await session.outbox.get()
        if message is not None:
            await socket.send_text(wire.encode(message))


async def _read(desk: Desk, socket: WebSocket, session: Session) -> None:
    # A task takes three messages or more: a machine with many slots may say more than one with a single one.
    burst, rate = _BURST + 4 * session.slots, _FRAMES_PER_S + 2 * session.slots
    bucket = Bucket.full(burst, rate, at=desk.now())
    silence = _MISSED_HEARTBEATS * desk.policy.heartbeat_s
    while True:
        try:
            async with asyncio.timeout(silence):
                text = await _receive(socket)
        except TimeoutError:
            raise _Turned(f"No heartbeat within {silence:g} s.", "silent") from None
        session.heard_at = desk.now()
        if not bucket.take(session.heard_at):
            raise _Turned(f"More than {rate:.0f} messages a second.", "rate")
        await _take(desk, session, _decode(text))


async def _take(desk: Desk, session: Session, message: wire.WorkerMessage) -> None:
    worker = session.worker
    match message:
        case wire.Ready():
            held = _held(message.held)
            finished = await desk.finished_among([lease.task_id for lease in held])
            desk.feed(WorkerReady(worker, held, message.free_slots, finished))
        case wire.Heartbeat():
            desk.feed(WorkerBeat(worker, _held(message.held), message.free_slots))
        case wire.CacheReport():
            desk.feed(WorkerCached(worker, message.tails))
        case wire.PhaseReport():
            desk.feed(PhaseReported(worker, message.lease_id, message.task_id, message.phase))
        case wire.Seal():
            if recover_message_signer(from_hex(message.seal), message.signature) != session.key:
                raise _Turned("A seal was not signed by the worker's key.")
            desk.feed(
                SealReceived(worker, message.lease_id, message.task_id, message.round, message.seal, message.signature)
            )
        case wire.Opening():
            desk.feed(
                OpeningReceived(worker, message.lease_id, message.task_id, message.digest, message.salt, message.usage)
            )
        case wire.Uploaded():
            digest, salt = message.digest or "", message.salt or ""
            given = (message.lease_id, message.task_id, message.cid, message.callback_data)
            desk.feed(UploadReported(worker, *given, digest=digest if salt else "", salt=salt, usage=message.usage))
        case wire.LeaseFailed():
            desk.feed(LeaseFailed(worker, message.lease_id, message.task_id, message.reason))
        case wire.Contributed() | wire.Revealed():
            return  # Only the chain is believed, and it is read anyway.
        case wire.SponsorRequest():
            await _sponsor(desk, session, message)
        case wire.SpotAnswer():
            await desk.spot_answered(worker, message.check_id, message.answer)
        case wire.WhyRequest():
            if session.why is None or desk.now() >= session.why_at + _WHY_EVERY_S:
                session.why, session.why_at = desk.why(worker), desk.now()
            session.send(session.why)
        case wire.LiveOutput() | wire.Progress() | wire.PartialResult():
            desk.live.take(worker, message)
        case wire.Enrol():
            raise _Turned("This worker is enrolled already.", "schema")


async def _sponsor(desk: Desk, session: Session, request: wire.SponsorRequest) -> None:
    identity, worker = desk.identity, session.worker
    message = agreement_message(identity.chain_id, identity.hub, identity.workerpool, worker)
    if recover_message_signer(message, request.agreement) != session.key:
        raise _Turned("The agreement to a sponsorship was not signed by the worker's key.")
    try:
        answer = await desk.sponsor(session, request.agreement)
    except ServiceError as error:
        answer = wire.Sponsored(stake_nrlc=0, coins_wei=0, reason=f"The chain does not answer now: {error}"[:500])
    session.send(answer)


def _held(leases: tuple[wire.HeldLease, ...]) -> tuple[Held, ...]:
    return tuple(Held(lease.lease_id, lease.task_id, lease.phase) for lease in leases)


def _decode(text: str) -> wire.WorkerMessage:
    try:
        return wire.decode_worker_message(text)
    except FairgridError as error:
        raise _Turned(str(error), "schema") from error


async def _receive(socket: WebSocket) -> str:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text = message.get("text")
    if text is None:
        raise _Turned("Messages are text frames of JSON; a binary frame came.", "schema")
    return str(text)


async def _refuse(socket: WebSocket, reason: str) -> None:
    """Say why and close; who does not read is not waited for."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORD_S):
            await socket.send_text(wire.encode(wire.Refused(reason=reason[:500])))
            await socket.close(_POLICY_VIOLATION)
