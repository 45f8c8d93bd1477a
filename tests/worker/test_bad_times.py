"""A full disk, a database that is gone, a clock that is off: said clearly, nothing lost, and it goes on by itself."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Ready, Revealed, Seal
from fairgrid.runtime.interface import SandboxJob
from fairgrid.seams.clock import SystemClock
from fairgrid.worker.core.held import HeldTask
from fairgrid.worker.owner.availability import Readings
from fairgrid.worker.owner.clock_check import clock_warning
from fairgrid.worker.owner.owner_watch import OwnerWatch
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile
from fairgrid.worker.records.store import Finished, WorkerStore
from tests.worker.fake_pool import FakePool
from tests.worker.world import WORKER, AgentSetting, World, honest, running

HOUR = 3_600.0
NOW = 1_700_000_000.0


class FullStore(WorkerStore):
    """Its disk is full while it is told so."""

    full = False

    def apply(self, saves: Sequence[HeldTask], forgets: Sequence[Finished] = (), **ends: Any) -> None:
        if FullStore.full:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        super().apply(saves, forgets, **ends)


async def test_while_the_database_cannot_be_written_nothing_is_promised_and_afterwards_it_goes_on(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    setting.store = FullStore
    try:
        async with running(world, setting):
            await pool.expect(Ready)
            FullStore.full = True
            lease = await world.task()
            await pool.send(lease)
            await pool.until(lambda: any("cannot be written" in reason for reason in setting.announced.reasons))
            await asyncio.sleep(0.3)
            assert pool.phases == [] and not pool.seen(Seal), "not even the lease was accepted"
            reason = next(reason for reason in setting.announced.reasons if "cannot be written" in reason)
            assert "disk is full" in reason and "Make room" in reason
            FullStore.full = False
            await pool.expect(Seal)
            await pool.send(world.authorisation(lease))
            await pool.expect(Revealed)
    finally:
        FullStore.full = False


async def test_a_database_that_is_removed_is_written_anew_with_everything_that_a_stake_hangs_on(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task(trust=4)
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        for path in setting.folder.glob("worker.sqlite*"):
            path.unlink()
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
    store = WorkerStore.open(setting.folder / "worker.sqlite")
    try:
        held = store.load()
        assert [record.task_id for record in held] == [lease.task_id]
        assert held[0].contribution is not None and held[0].digest and held[0].salt
        assert store.bound("worker") == WORKER.address
        digest = held[0].digest
    finally:
        store.close()
    pool.messages.clear()
    async with running(world, setting):
        assert (await pool.expect(Ready)).held[0].task_id == lease.task_id
        await world.contribute(lease, digest)
        await pool.expect(Revealed)
    assert (await world.chain.view_task(lease.task_id)).status is TaskStatus.REVEALING


async def test_a_disk_that_fills_while_working_hands_the_lease_back_and_the_next_one_is_done(
    world: World, pool: FakePool, setting: AgentSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairgrid.worker.computing.work import LocalWork

    download, times = LocalWork.download, []

    async def full_once(self: LocalWork, *arguments: Any) -> None:
        times.append(1)
        if len(times) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        await download(self, *arguments)

    monkeypatch.setattr(LocalWork, "download", full_once)
    async with running(world, setting):
        await pool.send(await world.task())
        failed = await pool.expect(LeaseFailed)
        assert "No space left on device" in failed.reason and "Internal" not in failed.reason
        await pool.send(await world.task())
        await pool.expect(Seal)


async def test_with_too_little_free_disk_no_lease_is_taken_until_there_is_room(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    class Disk:
        free = 1 << 20

        def read(self, policy: WorkerPolicy) -> Readings:
            return Readings(free_disk_bytes=self.free)

    disk = Disk()
    setting.owner = OwnerWatch(
        setting.folder, PolicyFile(setting.folder / "policy.toml"), disk, clock=SystemClock(), every_s=0.05
    )
    async with running(world, setting):
        assert (await pool.expect(Ready)).free_slots == 0
        await pool.send(await world.task())
        assert "bytes of disk are free" in (await pool.expect(LeaseFailed)).reason
        disk.free = 1 << 40
        await pool.until(lambda: pool.heartbeats and pool.heartbeats[-1].free_slots == 1)
        await pool.send(await world.task())
        await pool.expect(Seal)


@pytest.mark.parametrize(
    ("chain", "pool_says", "words", "sure"),
    [
        (NOW, NOW, "", False),
        (NOW + 500, NOW - 500, "", False),
        (None, None, "", False),
        (NOW + 2 * HOUR, NOW + 2 * HOUR, "2.0 h later", True),
        (NOW - 3 * HOUR, NOW - 3 * HOUR, "3.0 h earlier", True),
        (NOW + 2 * HOUR, NOW, "If it is this machine", False),
        (NOW + 2 * HOUR, NOW - 2 * HOUR, "If it is this machine", False),
        (None, NOW + 2 * HOUR, "If it is this machine", False),
    ],
)
def test_two_witnesses_convict_a_clock_and_one_makes_a_doubt(
    chain: float | None, pool_says: float | None, words: str, sure: bool
) -> None:
    text, convicted = clock_warning(NOW, chain=chain, pool=pool_says)
    assert convicted is sure and words in text and bool(text) is bool(words)


async def test_a_worker_whose_clock_is_years_off_still_meets_the_chains_deadlines_and_says_so(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    # The twin's chain lives in 2023; this machine does not.
    lease = await world.task()
    async with running(world, setting) as agent:
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Revealed)
        await pool.until(lambda: "clock is off" in agent.snapshot()["clockWarning"])


async def test_a_lease_whose_contribution_deadline_has_passed_on_chain_is_not_computed(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    ran: list[int] = []

    def job(job: SandboxJob) -> bytes:
        ran.append(1)
        return honest(job)

    setting.function = job
    lease = await world.task()
    world.chain.skip(10**6)
    async with running(world, setting):
        await pool.send(lease)
        assert "deadline has passed" in (await pool.expect(LeaseFailed)).reason
    assert ran == []


async def test_an_authorisation_that_comes_after_the_deadline_is_refused_and_costs_nothing(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        world.chain.skip(10**6)
        before = await world.chain.head()
        await pool.send(world.authorisation(lease))
        assert "deadline has passed" in (await pool.expect(LeaseFailed)).reason
        assert (await world.chain.head()).number == before.number, "no transaction was sent"
    assert (await world.chain.view_task(lease.task_id)).contributors == ()
