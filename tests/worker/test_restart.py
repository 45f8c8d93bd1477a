"""Killed at every stored step and started again: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fairgrid.chain.twin_blocks import GAS, GAS_PRICE_WEI
from fairgrid.protocol.archive import archive_digest
from fairgrid.protocol.pool_messages import Lease, PoolMessage, TaskDone, UploadRequest
from fairgrid.protocol.views import Task, TaskStatus
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Ready, Revealed, Seal, Uploaded, WorkerMessage
from fairgrid.worker.agent import WorkerAgent
from fairgrid.worker.core.held import HeldTask
from fairgrid.worker.records.store import Finished, WorkerStore
from tests.worker.fake_pool import FakePool
from tests.worker.world import WORKER, AgentSetting, World, build_agent, new_world, running

WRITES = 16
"""Writes of one task from lease to end."""


class Killed(Exception):
    """The process is gone."""


class MortalStore(WorkerStore):
    """Dies at the ``dies_at``-th write: instead of it, or right after it."""

    dies_at: ClassVar[int] = 0
    before: ClassVar[bool] = False
    writes: ClassVar[int] = 0

    def apply(self, saves: Sequence[HeldTask], forgets: Sequence[Finished] = (), **ends: Any) -> None:
        MortalStore.writes += 1
        dies = self.writes == self.dies_at
        if dies and self.before:
            raise Killed
        super().apply(saves, forgets, **ends)
        if dies:
            raise Killed


class Scheduler:
    """Plays the pool for one task: leases, authorises, asks for the upload, finalizes."""

    def __init__(self, world: World, pool: FakePool, lease: Lease) -> None:
        self._world = world
        self._pool = pool
        self._lease = lease
        self.seals: list[str] = []
        self.cid = ""

    async def play(self) -> None:
        """Answer for ever."""
        while True:
            await self._pool.until(lambda: self._pool.messages, timeout_s=60)
            for answer in await self._answers(self._pool.messages.pop(0)):
                with contextlib.suppress(Exception):
                    await self._pool.send(answer)

    async def _answers(self, message: WorkerMessage) -> list[PoolMessage]:
        lease, task = self._lease, await self._world.chain.view_task(self._lease.task_id)
        match message:
            case Ready(held=()) if task.status is TaskStatus.ACTIVE and not task.contributors:
                return [lease]
            case Seal():
                self.seals.append(message.seal)
                return [self._world.authorisation(lease)]
            case Revealed():
                return [UploadRequest(lease.lease_id, lease.task_id)]
            case Uploaded():
                self.cid = message.cid
                if task.status is TaskStatus.REVEALING:
                    await self._world.finalize(lease)
                return [TaskDone(lease.task_id)]
            case LeaseFailed():
                raise AssertionError(f"a restart is no failure: {message.reason}")
            case _:
                return []


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world() as made:
        yield made


@pytest.fixture
async def pool(world: World) -> AsyncIterator[FakePool]:
    async with pool_of(world) as opened:
        yield opened


def pool_of(world: World) -> FakePool:
    """A pool that serves the world's workerpool."""
    return FakePool(chain_id=world.chain.chain_id, hub=world.chain.hub, workerpool=world.workerpool)


async def _to_the_end(world: World, setting: AgentSetting, scheduler: Scheduler, lease: Lease) -> int:
    """Live and die until the task is over and nothing of it is left; how often it died."""
    deaths = 0
    playing = asyncio.create_task(scheduler.play())
    try:
        async with asyncio.timeout(40):
            while True:
                agent, store = build_agent(world, setting)
                life = asyncio.create_task(agent.run())
                try:
                    while not life.done():
                        await asyncio.wait((life, playing), timeout=0.02, return_when=asyncio.FIRST_COMPLETED)
                        if playing.done():
                            playing.result()
                        over = world.chain.model.view_task(lease.task_id).status is TaskStatus.COMPLETED
                        if over:
                            world.chain.mine()
                        if over and not life.done() and not store.load():
                            agent.stop()
                            with contextlib.suppress(Killed):
                                await life
                                return deaths
                            return deaths + 1
                    with pytest.raises(Killed):
                        life.result()
                    deaths += 1
                finally:
                    life.cancel()
                    await asyncio.gather(life, return_exceptions=True)
                    store.close()
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


async def _check_outcome(world: World, scheduler: Scheduler, lease: Lease, tmp_path: Path) -> None:
    spent = 10**21 - await world.chain.balance_wei(WORKER.address)
    assert spent == 2 * GAS * GAS_PRICE_WEI, "one contribution, one reveal, and no other transaction"
    await _check_paid(world, scheduler, lease, tmp_path)


async def _check_paid(world: World, scheduler: Scheduler, lease: Lease, tmp_path: Path) -> None:
    task = await world.chain.view_task(lease.task_id)
    assert (task.status, task.contributors) == (TaskStatus.COMPLETED, (WORKER.address,))
    archive = tmp_path / "fetched.zip"
    await world.storage.fetch(scheduler.cid, archive, max_bytes=1 << 20)
    assert archive_digest(archive) == task.result_digest
    account = await world.chain.view_account(WORKER.address)
    assert account.locked == 0 and account.stake > 10_000


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("dies_at", [0, *range(1, WRITES + 1)])
async def test_killed_around_any_write_the_task_is_still_done_once_and_paid(
    world: World, pool: FakePool, tmp_path: Path, dies_at: int, before: bool
) -> None:
    MortalStore.dies_at, MortalStore.before, MortalStore.writes = dies_at, before, 0
    lease = await world.task()
    setting = AgentSetting(folder=tmp_path, url=pool.url, store=MortalStore)
    scheduler = Scheduler(world, pool, lease)
    deaths = await _to_the_end(world, setting, scheduler, lease)
    async with running(world, setting):
        await pool.until(lambda: not list((tmp_path / "tasks").iterdir()))
    if dies_at == 0:
        assert MortalStore.writes == WRITES, "the range of this test must cover every write"
    assert deaths == (1 if dies_at else 0)
    await _check_outcome(world, scheduler, lease, tmp_path)


async def test_a_sealed_task_keeps_its_seal_over_a_restart(world: World, pool: FakePool, tmp_path: Path) -> None:
    lease = await world.task()
    setting = AgentSetting(folder=tmp_path, url=pool.url)
    async with running(world, setting):
        await pool.send(lease)
        first = await pool.expect(Seal)
    async with running(world, setting):
        assert await pool.expect(Seal) == first


async def test_a_contribution_that_waits_in_the_nodes_queue_is_sent_again_with_the_same_bytes(
    tmp_path: Path,
) -> None:
    async with new_world() as world:
        async with pool_of(world) as pool:
            lease = await world.task()
            setting = AgentSetting(folder=tmp_path, url=pool.url)
            world.chain.automine = False
            async with running(world, setting) as agent:
                await pool.send(lease)
                await pool.expect(Seal)
                await pool.send(world.authorisation(lease))
                await pool.until(lambda: agent_phase(agent, lease) == "contributing")
            store = WorkerStore.open(tmp_path / "worker.sqlite")
            (held,) = store.load()
            store.close()
            assert held.contribution is not None
            pool.messages.clear()
            async with running(world, setting):
                await pool.expect(Ready)  # who contributed and revealed before that tells of the reveal only
                world.chain.automine = True
                world.chain.mine()
                contributed = await pool.expect(Contributed)
                assert contributed.tx_hash == held.contribution.hash
                await pool.expect(Revealed)


def agent_phase(agent: WorkerAgent, lease: Lease) -> str:
    """The phase that heartbeats tell."""
    held, _ = agent.talk.status()
    return next((str(one.phase) for one in held if one.task_id == lease.task_id), "")


async def test_a_reveal_missed_while_the_worker_was_off_is_made_when_it_is_back(
    world: World, pool: FakePool, tmp_path: Path
) -> None:
    lease = await world.task(trust=4)
    setting = AgentSetting(folder=tmp_path, url=pool.url)
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
    store = WorkerStore.open(tmp_path / "worker.sqlite")
    (held,) = store.load()
    store.close()
    await world.contribute(lease, held.digest)
    world.chain.skip(100)
    await pool.close()
    async with running(world, setting):
        await pool.until(lambda: world.chain.model.view_task(lease.task_id).reveal_counter == 1)


async def test_a_reorganisation_that_drops_the_contribution_is_mended(tmp_path: Path) -> None:
    async with new_world(keep_states=5) as world:
        async with pool_of(world) as pool:
            lease = await world.task(trust=4)
            async with running(world, AgentSetting(folder=tmp_path, url=pool.url)):
                await pool.send(lease)
                await pool.expect(Seal)
                await pool.send(world.authorisation(lease))
                first = await pool.expect(Contributed)
                world.chain.reorganise(1, drop=True)
                assert world.chain.model.view_task(lease.task_id).contributors == ()
                assert (await pool.expect(Contributed)).tx_hash == first.tx_hash
                assert world.chain.model.view_task(lease.task_id).contributors == (WORKER.address,)


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
async def test_a_reorganisation_that_takes_back_a_task_that_was_done_is_mended(tmp_path: Path, restarted: bool) -> None:
    async with new_world(keep_states=9) as world, pool_of(world) as pool:
        lease = await world.task()
        setting = AgentSetting(folder=tmp_path, url=pool.url)
        scheduler = Scheduler(world, pool, lease)

        def view(task_id: str) -> Task:
            return world.chain.model.view_task(task_id)

        playing = asyncio.create_task(scheduler.play())
        try:
            async with running(world, setting) as agent:
                await pool.until(lambda: view(lease.task_id).status is TaskStatus.COMPLETED)
                await pool.until(lambda: not agent.holds_anything())
                if not restarted:
                    world.chain.reorganise(2, drop=True)
                    assert view(lease.task_id).reveal_counter == 0
                    await pool.until(lambda: view(lease.task_id).status is TaskStatus.COMPLETED)
            if restarted:
                world.chain.reorganise(2, drop=True)
                async with running(world, setting):
                    await pool.until(lambda: view(lease.task_id).status is TaskStatus.COMPLETED)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
        await _check_paid(world, scheduler, lease, tmp_path)
