"""A worker's enrolment: the pool's challenge, and the signatures that prove worker, owner, operator and machine."""

from __future__ import annotations

import asyncio
import secrets

from starlette.websockets import WebSocket

from fairgrid import __version__
from fairgrid.errors import OrderError, ServiceError
from fairgrid.pool.core.events import (
    WorkerJoined,
)
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.workers.frames import TurnedAway, decode_frame, receive_frame
from fairgrid.pool.workers.interface import Desk, Session
from fairgrid.protocol import pool_messages, wire, worker_messages
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.machine import Machine, machine_message
from fairgrid.protocol.seals import challenge_message, recover_message_signer, recover_typed_data_signer
from fairgrid.protocol.typed_data import Domain, enrolment_typed_data, typed_data_hash
from fairgrid.seams.addresses import network_of_ip

__all__ = ["enrol_worker"]

_ENROL_WITHIN_S = 10.0


async def enrol_worker(desk: Desk, socket: WebSocket) -> tuple[Session, WorkerJoined]:
    """Challenge whoever connected, and welcome the worker that answers: who it is, whose, and what it offers.

    Raises:
        TurnedAway: it is late, proves nothing, or is not wanted here.
        WebSocketDisconnect: it closed.
    """
    identity = desk.identity
    nonce = "0x" + secrets.token_hex(32)
    await socket.send_text(
        wire.encode(
            pool_messages.Challenge(
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
            enrol = decode_frame(await receive_frame(socket))
    except TimeoutError:
        raise TurnedAway(f"No enrolment within {_ENROL_WITHIN_S:.0f} s of the challenge.", "late") from None
    if not isinstance(enrol, worker_messages.Enrol):
        raise TurnedAway(f"The first message must be 'enrol', not {enrol.kind!r}.", "schema")
    if enrol.version != wire.PROTOCOL_VERSION:
        raise TurnedAway(
            f"This pool (fairgrid {__version__}) speaks protocol version {wire.PROTOCOL_VERSION}, the worker "
            f"{enrol.version}: update one of them.",
            "version",
        )
    worker, owner, key = await _checked_identity(desk, enrol, nonce)
    if desk.is_banned(worker, owner):
        raise TurnedAway(
            f"This worker or its owner was banned by this pool: {desk.ban_reason(worker, owner)}.", "banned"
        )
    try:
        if (refusal := await desk.refusal(worker, owner)) and not desk.is_busy(worker):
            raise TurnedAway(refusal, "private")
    except ServiceError as error:
        raise TurnedAway(f"The pool cannot read the chain just now ({error}); try again.", "chain") from error
    if not desk.has_room():
        raise TurnedAway("This pool has as many workers as it takes; try again later.", "full")
    try:
        score, stake = await desk.worker_facts(worker)
    except ServiceError as error:
        raise TurnedAway(f"The pool cannot read the chain just now ({error}); try again.", "chain") from error
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
        opens_keys=enrol.opens_keys is True,
    )
    await socket.send_text(wire.encode(pool_messages.Welcome(heartbeat_s=desk.policy.heartbeat_s, now=desk.now())))
    benchmark = enrol.machine.benchmark if enrol.machine is not None else None
    network = network_of_ip(host, ipv6_bits=56) or "unknown"
    fuel_per_s = benchmark.fuel_per_s if benchmark is not None else 0
    return Session(worker, owner, key, network, fuel_per_s, enrol.slots), joined


async def _checked_identity(desk: Desk, enrol: worker_messages.Enrol, nonce: str) -> tuple[str, str, str]:
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
        raise TurnedAway(f"The enrolment is malformed: {error}") from error
    try:
        if signed_by != owner and not await desk.signed_by_contract(
            owner, typed_data_hash(document), enrol.owner_signature
        ):
            raise TurnedAway(
                f"The enrolment was not signed by the owner {owner} for this worker, workerpool, chain and hub. "
                f"Sign it again for workerpool {identity.workerpool}."
            )
        if key != worker:
            await _check_operator(desk, worker, owner, key)
    except ServiceError as error:
        raise TurnedAway(f"The pool cannot read the chain just now ({error}); try again.", "chain") from error
    if claimed_by != key:
        raise TurnedAway(f"What the machine offers was not signed by the worker's key {key} for this connection.")
    return worker, owner, key


async def _check_operator(desk: Desk, worker: str, owner: str, key: str) -> None:
    """A key that is not the worker's own must be the working operator of the owner's role account (decision 21)."""
    account = None if worker == owner else await desk.role_account(worker)
    if account is None:
        raise TurnedAway(f"The challenge was not signed by the worker's key {worker}.")
    if account.owner != owner:
        raise TurnedAway(f"The role account {worker} belongs to another owner than {owner}.")
    if account.operator != key or not account.may_work:
        raise TurnedAway(f"The challenge was not signed by the working operator of the role account {worker}.")


def _claimed_by(identity: PoolIdentity, enrol: worker_messages.Enrol, machine: Machine, nonce: str) -> str:
    message = machine_message(
        identity.chain_id, identity.hub, identity.workerpool, checksum(enrol.worker), nonce, machine
    )
    return recover_message_signer(message, enrol.machine_signature or "0x")
