"""The whole agent when something comes in between: aborts, a pool or a chain that is away, no gas, a stop."""

from __future__ import annotations

import asyncio
import threading
import time

from fairgrid.protocol.pool_messages import Abort
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Ready, Seal
from fairgrid.runtime.interface import SandboxJob
from tests.worker.fake_pool import FakePool
from tests.worker.world import (
    WORKER,
    AgentSetting,
    World,
    running,
    stored,
)


async def test_without_gas_nothing_is_contributed_and_the_reason_is_told(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        world.chain.set_balance(WORKER.address, 5)
        await pool.send(world.authorisation(lease))
        assert "cannot pay the gas" in (await pool.expect(LeaseFailed)).reason


async def test_a_worker_without_gas_says_so_and_enrols_when_it_has_some(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    world.chain.set_balance(WORKER.address, 0)
    async with running(world, setting):
        await pool.until(lambda: setting.announced.reasons)
        assert "to pay gas" in setting.announced.reasons[0] and pool.enrolments == []
        world.chain.set_balance(WORKER.address, 10**18)
        await pool.expect(Ready)
        assert setting.announced.ready_urls == [pool.url]


async def test_a_refusing_pool_is_named_once_and_asked_again(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    pool.refusal = "your deposit does not cover the stake"
    async with running(world, setting):
        await pool.until(lambda: len(pool.enrolments) >= 3)
        assert len(setting.announced.reasons) == 1 and "does not cover the stake" in setting.announced.reasons[0]
        pool.refusal = ""
        await pool.expect(Ready)


async def test_an_abort_kills_the_work_and_frees_the_slot(world: World, pool: FakePool, setting: AgentSetting) -> None:
    started, release = threading.Event(), threading.Event()

    def slow(_: SandboxJob) -> bytes:
        started.set()
        release.wait(10)
        return b"late"

    setting.function = slow
    lease, other = await world.task(), await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.until(started.is_set)
        await pool.send(Abort(lease.lease_id, lease.task_id, "not needed"))
        await pool.until(lambda: pool.heartbeats and pool.heartbeats[-1].held == ())
        assert pool.heartbeats[-1].free_slots == 1
        release.set()
        await pool.send(other)
        assert (await pool.expect(Seal)).task_id == other.task_id


async def test_a_chain_that_goes_away_before_the_contribution_delays_it_only(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        world.chain.down = True
        await pool.send(world.authorisation(lease))
        await asyncio.sleep(0.2)
        world.chain.down = False
        await pool.expect(Contributed)


async def test_a_lost_connection_is_made_anew_and_the_seal_sent_again(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.expect(Ready)
        await pool.send(lease)
        first = await pool.expect(Seal)
        await pool.drop()
        ready = await pool.expect(Ready)
        assert [(held.lease_id, held.phase) for held in ready.held] == [(lease.lease_id, "sealed")]
        assert await pool.expect(Seal) == first
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)


async def test_stopping_hands_back_what_is_computed_and_keeps_what_is_sealed(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    started, release = threading.Event(), threading.Event()

    def first_fast(job: SandboxJob) -> bytes:
        if job.arguments == ("go",):
            return b"fast"
        started.set()
        release.wait(10)
        return b"slow"

    setting.function = first_fast
    sealed = await world.task()
    computed = await world.task(manifest=await world.manifest(arguments=("slow",)))
    async with running(world, setting):
        await pool.send(sealed)
        await pool.expect(Seal)
        await pool.send(computed)
        await pool.until(started.is_set)
        release.set()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    failed = await pool.expect(LeaseFailed)
    assert failed.task_id == computed.task_id and "stopped" in failed.reason
    assert [held.task_id for held in await stored(setting)] == [sealed.task_id]
