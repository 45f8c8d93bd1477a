"""How often a worker asks its node for one task, on a real chain: what providers of nodes count, and bill.

Nothing here depends on time: the worker looks at the chain only when something happens.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.network import Network
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol.hexes import from_hex, keccak, to_hex
from fairgrid.protocol.pool_messages import OpeningRequest, TaskDone, UploadRequest
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import Contributed, Opening, Revealed, Seal, Uploaded
from fairgrid.worker.agent import AgentOptions
from tests.worker.fake_pool import FakePool
from tests.worker.world import AgentSetting, World, real_world, running

RARELY = AgentOptions(poll_s=3_600.0, receipt_poll_s=0.5, slots=2)


@dataclass
class Place:
    """A world on a real chain, the worker's own connection to it, and its pool."""

    world: World
    mine: JsonRpcChain
    pool: FakePool
    setting: AgentSetting

    @property
    def reads(self) -> int:
        """Calls so far that are no transaction, and no repeated question for a receipt: those depend on the node."""
        return self.mine.rpc.asked.reads - self.mine.rpc.asked.calls["eth_getTransactionReceipt"]


@pytest.fixture
async def place(anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Place]:
    async with real_world(anvil.rpc_url) as world:
        hub, chain_id = world.chain.hub, world.chain.chain_id
        code = anvil.request("eth_getCode", hub, "latest")
        pinned = to_hex(keccak(from_hex(code)))
        network = Network("test", chain_id, anvil.rpc_url, hub, pinned, world.chain.rlc, "", "", "", world.workerpool)
        async with (
            await JsonRpcChain.connect(network) as mine,
            FakePool(chain_id=chain_id, hub=hub, workerpool=world.workerpool) as pool,
        ):
            setting = AgentSetting(folder=tmp_path, url=pool.url, chain=mine, options=RARELY)
            yield Place(world, mine, pool, setting)


def told(path: str, reads: int, requests: int, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{path}: {reads} reads in {requests} requests a task")


async def test_a_classic_task_takes_at_most_38_reads_in_24_requests(
    place: Place, anvil: AnvilProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    world, pool = place.world, place.pool
    lease = await world.task(trust=1)
    async with running(world, place.setting) as agent:
        await pool.until(lambda: agent.is_enrolled)
        reads, requests = place.reads, place.mine.rpc.asked.requests
        await pool.send(lease)
        await pool.expect(Seal)
        assert place.reads - reads <= 6, "computing takes deal, task, account and app, read once"
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        await pool.expect(Revealed)
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        await pool.expect(Uploaded)
        await pool.send(OpeningRequest(lease.lease_id, lease.task_id))
        await pool.expect(Opening)
        await world.finalize(lease)
        await pool.send(TaskDone(lease.task_id))
        await pool.until(lambda: not agent.holds_anything())
        assert (await world.chain.view_task(lease.task_id)).status is TaskStatus.COMPLETED
        reads, requests = place.reads - reads, place.mine.rpc.asked.requests - requests
    told("classic path", reads, requests, capsys)
    assert reads <= 38
    assert requests <= 24


async def test_a_task_that_ends_at_once_takes_at_most_27_reads_in_15_requests(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    world, pool = place.world, place.pool
    leases = [await world.task(trust=1) for _ in range(2)]
    async with running(world, place.setting) as agent:
        await pool.until(lambda: agent.is_enrolled)
        for lease in leases:
            reads, requests = place.reads, place.mine.rpc.asked.requests
            await pool.send(lease)
            await pool.expect(Seal)
            await pool.send(UploadRequest(lease.lease_id, lease.task_id, early=True))
            await pool.expect(Uploaded)
            await pool.send(replace(world.authorisation(lease), fast=True))
            await pool.expect(Contributed)
            await pool.send(TaskDone(lease.task_id))
            await pool.until(lambda: not agent.holds_anything())
            assert (await world.chain.view_task(lease.task_id)).status is TaskStatus.COMPLETED
            reads, requests = place.reads - reads, place.mine.rpc.asked.requests - requests
            told("fast path", reads, requests, capsys)
            assert reads <= 27
            assert requests <= 15


async def test_a_worker_that_holds_nothing_asks_nothing(place: Place) -> None:
    often = replace(place.setting, options=replace(RARELY, poll_s=0.01))
    async with running(place.world, often) as agent:
        await place.pool.until(lambda: agent.is_enrolled)
        before = place.mine.rpc.asked.requests
        heartbeats = len(place.pool.heartbeats)
        await place.pool.until(lambda: len(place.pool.heartbeats) >= heartbeats + 3)
        assert place.mine.rpc.asked.requests == before
