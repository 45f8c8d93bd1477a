"""One worker's connection: challenge, enrolment, then frames, each checked before it reaches the scheduler.

A worker is a stranger. A frame that is too large, breaks the schema, comes too fast or carries a wrong signature ends
its own connection, and nothing else.
"""

from __future__ import annotations

import asyncio

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from fairgrid.errors import FairgridError, ServiceError
from fairgrid.pool.core.events import (
    Held,
    LeaseFailed,
    OpeningReceived,
    PhaseReported,
    SealReceived,
    UploadReported,
    WorkerBeat,
    WorkerCached,
    WorkerReady,
)
from fairgrid.pool.workers.enrolment import enrol_worker
from fairgrid.pool.workers.frames import TurnedAway, decode_frame, receive_frame, refuse_worker
from fairgrid.pool.workers.interface import Desk, Session
from fairgrid.pool.workers.rates import Bucket
from fairgrid.protocol import pool_messages, wire, worker_messages
from fairgrid.protocol.hexes import from_hex
from fairgrid.protocol.sealing import worker_key_message
from fairgrid.protocol.seals import recover_message_signer
from fairgrid.protocol.sponsorship import agreement_message

__all__ = ["serve_worker"]

_log = structlog.get_logger(__name__)

_BURST = 200.0
_FRAMES_PER_S = 50.0
_MISSED_HEARTBEATS = 3
_KEY_WITHIN_S = 8.0
_WHY_EVERY_S = 1.0
"""A new answer costs a look at every live task; in between a worker gets the last one again."""


async def serve_worker(desk: Desk, socket: WebSocket) -> None:
    """Serve one connection from challenge to end; never raises for what the other side does."""
    await socket.accept()
    try:
        try:
            session, joined = await enrol_worker(desk, socket)
        except TurnedAway as turned:
            desk.refusals[turned.kind] += 1
            await refuse_worker(socket, str(turned))
            return
        await desk.attach(session)
        try:
            desk.feed(joined)
            reason = await _converse(desk, socket, session)
        finally:
            desk.detach(session)
        _log.info("worker gone", worker=session.worker, reason=reason)
        await refuse_worker(socket, reason)
    except (WebSocketDisconnect, RuntimeError, OSError):
        # The other side closed first; Starlette raises RuntimeError for a send after that.
        return


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
        if isinstance(error, TurnedAway):
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
                text = await receive_frame(socket)
        except TimeoutError:
            raise TurnedAway(f"No heartbeat within {silence:g} s.", "silent") from None
        session.heard_at = desk.now()
        if not bucket.take(session.heard_at):
            raise TurnedAway(f"More than {rate:.0f} messages a second.", "rate")
        await _take(desk, session, decode_frame(text))


async def _take(desk: Desk, session: Session, message: worker_messages.WorkerMessage) -> None:
    worker = session.worker
    match message:
        case worker_messages.Ready():
            held = _held(message.held)
            finished = await desk.finished_among([lease.task_id for lease in held])
            desk.feed(WorkerReady(worker, held, message.free_slots, finished))
        case worker_messages.Heartbeat():
            desk.feed(WorkerBeat(worker, _held(message.held), message.free_slots))
        case worker_messages.CacheReport():
            desk.feed(WorkerCached(worker, message.tails))
        case worker_messages.PhaseReport():
            desk.feed(PhaseReported(worker, message.lease_id, message.task_id, message.phase))
        case worker_messages.Seal():
            if recover_message_signer(from_hex(message.seal), message.signature) != session.key:
                raise TurnedAway("A seal was not signed by the worker's key.")
            desk.feed(
                SealReceived(worker, message.lease_id, message.task_id, message.round, message.seal, message.signature)
            )
        case worker_messages.Opening():
            desk.feed(
                OpeningReceived(worker, message.lease_id, message.task_id, message.digest, message.salt, message.usage)
            )
        case worker_messages.Uploaded():
            digest, salt = message.digest or "", message.salt or ""
            given = (message.lease_id, message.task_id, message.cid, message.callback_data)
            desk.feed(UploadReported(worker, *given, digest=digest if salt else "", salt=salt, usage=message.usage))
        case worker_messages.LeaseFailed():
            desk.feed(LeaseFailed(worker, message.lease_id, message.task_id, message.reason))
        case worker_messages.Contributed() | worker_messages.Revealed():
            return  # Only the chain is believed, and it is read anyway.
        case worker_messages.SponsorRequest():
            await _sponsor(desk, session, message)
        case worker_messages.TaskKeyRequest():
            session.send(await _task_key(desk, session, message))
        case worker_messages.SpotAnswer():
            await desk.spot_answered(worker, message.check_id, message.answer)
        case worker_messages.WhyRequest():
            if session.why is None or desk.now() >= session.why_at + _WHY_EVERY_S:
                session.why, session.why_at = desk.why(worker), desk.now()
            session.send(session.why)
        case worker_messages.LiveOutput() | worker_messages.Progress() | worker_messages.PartialResult():
            desk.live.take(worker, message)
        case worker_messages.Enrol():
            raise TurnedAway("This worker is enrolled already.", "schema")


async def _task_key(desk: Desk, session: Session, request: worker_messages.TaskKeyRequest) -> pool_messages.TaskKey:
    identity, task_id = desk.identity, request.task_id
    message = worker_key_message(
        identity.chain_id, identity.hub, identity.workerpool, session.worker, task_id, from_hex(request.public_key)
    )
    if recover_message_signer(message, request.signature) != session.key:
        raise TurnedAway("A request for a task's key was not signed by the worker's key.")
    try:
        async with asyncio.timeout(_KEY_WITHIN_S):
            sealed = await desk.task_key(session.worker, request, context=message)
    except (ServiceError, TimeoutError) as error:
        return pool_messages.TaskKey(task_id, reason=(str(error) or "Storage did not answer in time.")[:500])
    except FairgridError as error:
        return pool_messages.TaskKey(task_id, reason=str(error)[:500], lasting=True)
    return pool_messages.TaskKey(task_id, sealed=sealed)


async def _sponsor(desk: Desk, session: Session, request: worker_messages.SponsorRequest) -> None:
    identity, worker = desk.identity, session.worker
    message = agreement_message(identity.chain_id, identity.hub, identity.workerpool, worker)
    if recover_message_signer(message, request.agreement) != session.key:
        raise TurnedAway("The agreement to a sponsorship was not signed by the worker's key.")
    try:
        answer = await desk.sponsor(session, request.agreement, repays=request.repays is True)
    except ServiceError as error:
        answer = pool_messages.Sponsored(
            stake_nrlc=0, coins_wei=0, reason=f"The chain does not answer now: {error}"[:500]
        )
    session.send(answer)


def _held(leases: tuple[worker_messages.HeldLease, ...]) -> tuple[Held, ...]:
    return tuple(Held(lease.lease_id, lease.task_id, lease.phase) for lease in leases)
