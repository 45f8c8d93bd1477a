"""The connection to a pool that may be away, confused or hostile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from fairgrid.errors import UsageError
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.pool_messages import Lease, PoolMessage, Refused, Welcome
from fairgrid.protocol.seals import challenge_message, recover_message_signer, recover_typed_data_signer
from fairgrid.protocol.typed_data import Domain, enrolment_typed_data
from fairgrid.protocol.wire import MAX_FRAME_BYTES, encode
from fairgrid.protocol.worker_messages import HeldLease, Ready
from fairgrid.seams.clock import SystemClock
from fairgrid.wallet.keys import dev_signer
from fairgrid.worker.connection.link import LinkOptions, PoolLink, websocket_url
from tests.worker.fake_pool import FakePool
from tests.worker.machine_kit import LEASE, TASK

HUB, WORKERPOOL, OTHER = (dev_signer(index).address for index in (7, 8, 9))
SIGNER = dev_signer(1)


class User:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.enrolments = 0
        self.rejections: list[str] = []
        self.disconnections: list[str] = []
        self.messages: list[PoolMessage] = []

    def enrolled(self) -> None:
        self.enrolments += 1

    def disconnected(self, reason: str) -> None:
        self.disconnections.append(reason)

    def rejected(self, reason: str) -> None:
        self.rejections.append(reason)

    def received(self, message: PoolMessage) -> None:
        self.messages.append(message)

    def status(self) -> tuple[tuple[HeldLease, ...], int]:
        return (HeldLease("l1", TASK, "sealed"),), 3


@asynccontextmanager
async def linked(pool: FakePool, claims: Callable[[], Machine] | None = None) -> AsyncIterator[tuple[PoolLink, User]]:
    user = User()
    options = LinkOptions(
        url=pool.url,
        chain_id=31337,
        hub=HUB,
        workerpool=WORKERPOOL,
        runtimes=("r/1",),
        slots=3,
        claims=claims,
        first_pause_s=0.02,
        longest_pause_s=0.1,
        answer_s=2,
    )
    link = PoolLink(options, signer=SIGNER, user=user, clock=SystemClock())
    task = asyncio.create_task(link.run())
    try:
        yield link, user
    finally:
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled(), "the link never ends by itself"


@pytest.fixture
async def pool() -> AsyncIterator[FakePool]:
    async with FakePool(chain_id=31337, hub=HUB, workerpool=WORKERPOOL, heartbeat_s=0.1) as opened:
        yield opened


async def test_a_worker_enrols_with_both_signatures_and_beats(pool: FakePool) -> None:
    async with linked(pool) as (_, user):
        await pool.until(lambda: len(pool.heartbeats) >= 2)
        enrolment = pool.enrolments[0]
        assert (enrolment.owner, enrolment.worker) == (SIGNER.address, SIGNER.address)
        assert (enrolment.runtimes, enrolment.slots) == (("r/1",), 3)
        document = enrolment_typed_data(SIGNER.address, SIGNER.address, WORKERPOOL, Domain(31337, HUB))
        assert recover_typed_data_signer(document, enrolment.owner_signature) == SIGNER.address
        answered = challenge_message(31337, HUB, WORKERPOOL, SIGNER.address, pool.challenge.nonce)
        assert recover_message_signer(answered, enrolment.nonce_signature) == SIGNER.address
        assert pool.heartbeats[0].free_slots == 3 and pool.heartbeats[0].held[0].phase == "sealed"
        assert user.enrolments == 1 and user.rejections == []


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        ({"chain_id": 1}, "chain 1"),
        ({"hub": OTHER}, f"hub {OTHER}"),
        ({"workerpool": OTHER}, f"workerpool {OTHER}"),
        ({"version": 2}, "version 2"),
        ({"hub": HUB.swapcase().replace("0X", "0x")}, "checksum"),
    ],
)
async def test_a_pool_of_another_chain_hub_or_pool_gets_no_signature(
    pool: FakePool, claim: dict[str, object], word: str
) -> None:
    pool.claim(**claim)
    async with linked(pool) as (_, user):
        await pool.until(lambda: len(user.rejections) >= 2)
        assert word in user.rejections[0]
        assert pool.enrolments == [] and user.enrolments == 0


async def test_a_refusal_is_told_and_enrolment_tried_again(pool: FakePool) -> None:
    pool.refusal = "your deposit is 0 nRLC, 50 are needed"
    async with linked(pool) as (_, user):
        await pool.until(lambda: len(user.rejections) >= 2)
        assert "your deposit is 0 nRLC" in user.rejections[0]
        pool.refusal = ""
        await pool.until(lambda: user.enrolments == 1)


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "[]",
        "{}",
        "\x00",
        b"\xff\xfe",
        "[" * 50_000,
        json.dumps({"kind": "lease"}),
        encode(LEASE),
        encode(Welcome(1.0)),
        encode(Refused("no")),
        "x" * (MAX_FRAME_BYTES + 1),
    ],
    ids=lambda frame: str(frame)[:12],
)
async def test_a_pool_that_does_not_begin_with_a_challenge_is_left(pool: FakePool, frame: str | bytes) -> None:
    pool.first_frames = [frame]
    async with linked(pool) as (_, user):
        await pool.until(lambda: len(user.rejections) >= 2)
        assert pool.enrolments == [] and user.messages == []


@pytest.mark.parametrize(
    "frame",
    [
        "nonsense",
        json.dumps({"kind": "lease", "lease_id": "l"}),
        encode(LEASE).replace('"round":0', '"round":"0"'),
        encode(LEASE).replace("{", '{"extra":1,', 1),
        encode(Refused("go away")),
        encode(Welcome(1.0)),
        b"\x00" * 100,
        "y" * (MAX_FRAME_BYTES + 1),
    ],
    ids=lambda frame: str(frame)[:12],
)
async def test_a_frame_that_breaks_the_protocol_ends_the_connection_and_it_is_made_anew(
    pool: FakePool, frame: str | bytes
) -> None:
    async with linked(pool) as (_, user):
        await pool.send_raw(frame)
        await pool.until(lambda: user.enrolments == 2)
        assert user.messages == [] and len(user.disconnections) == 1


async def test_valid_messages_arrive_in_order(pool: FakePool) -> None:
    leases = [Lease(f"l{number}", TASK, TASK, number, 0, 30.0) for number in range(20)]
    async with linked(pool) as (_, user):
        for lease in leases:
            await pool.send(lease)
        await pool.until(lambda: len(user.messages) == 20)
        assert user.messages == leases


async def test_a_lost_pool_is_found_again_when_it_is_back(pool: FakePool) -> None:
    async with linked(pool) as (link, user):
        await pool.until(lambda: user.enrolments == 1)
        await pool.close()
        await pool.until(lambda: len(user.rejections) >= 1)
        assert user.disconnections and not link.send(Ready((), 1)), "nothing is queued for a pool that is away"
        await pool.open()
        await pool.until(lambda: user.enrolments == 2)


async def test_flush_returns_when_all_was_sent_or_nobody_listens(pool: FakePool) -> None:
    async with linked(pool) as (link, user):
        await asyncio.wait_for(link.flush(), 1)
        await pool.until(lambda: user.enrolments == 1)
        assert link.send(Ready((), 2))
        await asyncio.wait_for(link.flush(), 1)
        await pool.expect(Ready)


@pytest.mark.parametrize("heartbeat_s", [0.0, -1.0, float("nan"), float("inf"), 1e300])
async def test_a_senseless_heartbeat_interval_neither_floods_nor_kills(pool: FakePool, heartbeat_s: float) -> None:
    pool.heartbeat_s = heartbeat_s
    async with linked(pool) as (_, user):
        await pool.until(lambda: user.enrolments == 1 or user.rejections)
        await asyncio.sleep(0.3)
        assert len(pool.heartbeats) <= 10


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:80", "ws://127.0.0.1:80/worker"),
        ("https://pool.example/base/", "wss://pool.example/base/worker"),
        ("ws://h:1", "ws://h:1/worker"),
    ],
)
def test_the_endpoint_follows_from_the_pools_url(url: str, endpoint: str) -> None:
    assert websocket_url(url) == endpoint


@pytest.mark.parametrize("url", ["", "pool", "ftp://pool", "http://"])
def test_what_is_no_url_of_a_pool_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not a pool's address"):
        websocket_url(url)


async def test_what_the_owner_changed_is_told_by_connecting_anew_and_free_disk_is_no_change(pool: FakePool) -> None:
    machine = Machine(cpus=2, disk_bytes=100)
    async with linked(pool, lambda: machine) as (link, user):
        await pool.until(lambda: len(pool.enrolments) == 1 and user.enrolments == 1)
        machine = replace(machine, disk_bytes=5)
        link.tell_changes()
        await pool.until(lambda: len(pool.heartbeats) >= 2)
        assert len(pool.enrolments) == 1 and not user.disconnections
        machine = replace(machine, network=("*",), network_runtimes=("r/1",))
        link.tell_changes()
        link.tell_changes()
        await pool.until(lambda: len(pool.enrolments) == 2 and user.enrolments == 2)
        told = pool.enrolments[1].machine
        assert told is not None and told.network == ("*",)
        assert len(user.disconnections) == 1
