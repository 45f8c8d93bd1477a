"""Bags of the batch lane: the real scheduler and real workers' agents over real sockets, on the chain's twin."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from fairgrid.client.bags import BagFollower, collect_bag
from fairgrid.client.journal import DealRecord
from fairgrid.client.progress import ignore_progress
from fairgrid.pool.app import pool_application
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.wire import MAX_FRAME_BYTES
from fairgrid.runtime.interface import SandboxJob
from fairgrid.seams.service import serving
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.computing.misbehave import Misbehaviour
from tests.pool.test_with_workers import _until
from tests.worker.world import (
    DEPOSIT,
    OTHER,
    SCHEDULER,
    THIRD,
    WORKER,
    AgentSetting,
    World,
    bag,
    build_agent,
    new_world,
    running,
)

from .grid import FastClock

POLICY = Policy(
    seal_window_min_s=1_000,
    lease_ttl_s=1_000,
    restart_grace_s=1_000,
    authorisation_timeout_s=1_000,
    opening_timeout_s=1_000,
    upload_timeout_s=1_000,
    batch_probe_tasks=2,
    batch_run_tasks=4,
)


@contextlib.asynccontextmanager
async def pool(world: World, folder: Path, *, port: int = 0) -> AsyncIterator[tuple[PoolService, str]]:
    store = PoolStore.open(folder / "pool.db")
    try:
        async with (
            PoolService(
                chain=world.chain,
                signer=SCHEDULER,
                workerpool=world.workerpool,
                store=store,
                storage=world.storage,
                policy=POLICY,
                clock=FastClock(),
                scratch=folder / "uploads",
            ).running() as service,
            serving(pool_application(service), port=port, ws_max_size=MAX_FRAME_BYTES) as url,
        ):
            yield service, url
    finally:
        store.close()


def square(job: SandboxJob) -> bytes:
    """Task 3 fails on every machine."""
    number = int(job.arguments[0])
    if number == 3:
        raise ValueError("three")
    (job.output_folder / "square.txt").write_text(str(number * number))
    return b""


def setting(folder: Path, url: str, signer: KeySigner, misbehaviour: Misbehaviour | None = None) -> AgentSetting:
    own = folder / signer.address
    own.mkdir(exist_ok=True)
    made = AgentSetting(own, url, signer=signer, function=square)
    return replace(made, options=replace(made.options, slots=2, misbehaviour=misbehaviour))


async def record_of(world: World, size: int, trust: int) -> DealRecord:
    manifest = bag(await world.manifest(), size)
    deal = await world.deal(lane=True, volume=size, trust=trust, manifest=manifest)
    block = (await world.chain.head()).number
    return DealRecord(deal, ("",), "", "", trust, 100 * size, "", "", block_number=block, tasks=size, batch=True)


async def over(follower: BagFollower) -> bool:
    return (await follower.read(quiet_s=0.02)).is_over


async def test_a_bag_is_computed_by_agreeing_workers_and_collected(tmp_path: Path) -> None:
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        _, url = await stack.enter_async_context(pool(world, tmp_path))
        for signer in (WORKER, OTHER):
            await stack.enter_async_context(running(world, setting(tmp_path, url, signer)))
        record = await record_of(world, 9, 4)
        follower = await BagFollower.open(world.chain, record)
        await _until(lambda: over(follower))
        found = follower.ledger.bag()
        assert found.completed == 9 and not found.refunded
        outcomes = await collect_bag(
            world.chain, world.storage, record.deal_id, follower.deal, found, tmp_path / "out", ignore_progress
        )
        assert [outcome.error is not None for outcome in outcomes] == [index == 3 for index in range(9)]
        assert (tmp_path / "out" / "8" / "square.txt").read_text() == "64"
        assert {len(run.workers) for run in found.runs} == {2}
        payments = follower.ledger.payments()
        assert sum(line.net for line in payments) == 0
        for signer in (WORKER, OTHER):
            account = await world.chain.view_account(signer.address)
            assert (account.stake - DEPOSIT, account.locked) == (
                next(line.net for line in payments if line.account == signer.address),
                0,
            )
        await follower.close()


def sent_by(world: World, signer: KeySigner) -> list[str]:
    return [
        sent.function for block in world.chain._blocks for sent in block.transactions if sent.sender == signer.address
    ]


async def test_a_bag_of_trust_1_is_settled_by_its_workers_a_transaction_a_run_and_none_of_the_pool(
    tmp_path: Path,
) -> None:
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        service, url = await stack.enter_async_context(pool(world, tmp_path))
        for signer in (WORKER, OTHER):
            await stack.enter_async_context(running(world, setting(tmp_path, url, signer)))
        record = await record_of(world, 12, 1)
        before = {signer: len(sent_by(world, signer)) for signer in (WORKER, OTHER, SCHEDULER)}
        follower = await BagFollower.open(world.chain, record)
        await _until(lambda: over(follower))
        found = follower.ledger.bag()
        assert found.completed == 12 and not found.refunded
        outcomes = await collect_bag(
            world.chain, world.storage, record.deal_id, follower.deal, found, tmp_path / "out", ignore_progress
        )
        assert [outcome.error is not None for outcome in outcomes] == [index == 3 for index in range(12)]
        sent = [name for signer in (WORKER, OTHER) for name in sent_by(world, signer)[before[signer] :]]
        assert sent == ["settleRun"] * len(found.runs)
        assert len(sent_by(world, SCHEDULER)) == before[SCHEDULER]
        payments = follower.ledger.payments()
        assert sum(line.net for line in payments) == 0
        for signer in (WORKER, OTHER):
            account = await world.chain.view_account(signer.address)
            earned = next((line.net for line in payments if line.account == signer.address), 0)
            assert (account.stake - DEPOSIT, account.locked) == (earned, 0)
        assert all(state.phase is Phase.COMPLETED for state in service.machine.tasks.values())
        await follower.close()


async def test_a_worker_that_is_killed_with_an_unopened_run_settles_it_after_its_restart(tmp_path: Path) -> None:
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        service, url = await stack.enter_async_context(pool(world, tmp_path))
        agent, held = build_agent(world, setting(tmp_path, url, OTHER))
        killed = asyncio.create_task(agent.run())
        record = await record_of(world, 2, 1)
        follower = await BagFollower.open(world.chain, record)

        async def sealed() -> bool:
            return any(replica.seal for task in service.machine.tasks.values() for replica in task.replicas)

        await _until(sealed)
        killed.cancel()
        await asyncio.wait((killed,))
        held.close()
        await stack.enter_async_context(running(world, setting(tmp_path, url, OTHER)))
        await _until(lambda: over(follower))
        assert follower.ledger.bag().completed == 2
        assert sent_by(world, OTHER).count("settleRun") == 1
        assert (await world.chain.view_account(OTHER.address)).locked == 0
        await follower.close()


async def test_a_liar_is_cut_down_to_the_task_that_it_lies_about_and_all_others_are_paid(tmp_path: Path) -> None:
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        service, url = await stack.enter_async_context(pool(world, tmp_path))
        await stack.enter_async_context(running(world, setting(tmp_path, url, THIRD, Misbehaviour.FLIP_BYTE)))
        for signer in (WORKER, OTHER):
            await stack.enter_async_context(running(world, setting(tmp_path, url, signer)))
        record = await record_of(world, 6, 5)
        follower = await BagFollower.open(world.chain, record)

        async def all_but_lies() -> bool:
            bag = await follower.read(quiet_s=0.02)
            return bag.completed == 4 and len(bag.open_runs) == 2

        await _until(all_but_lies)
        bag = follower.ledger.bag()
        # It lies about the middle one of what it computed: of tasks 0 and 1, and of 2 to 5.
        assert sorted(first for _, first, _ in bag.open_runs) == [1, 4]
        assert {count for _, _, count in bag.open_runs} == {1}
        states = service.machine.tasks
        assert states[run_id(record.deal_id, 2, 4)].phase is Phase.SPLIT
        world.chain.skip(3_001)
        await _until(lambda: over(follower))
        assert follower.ledger.bag().refunded == (1, 4)
        assert sum(line.net for line in follower.ledger.payments()) == 0
        for signer in (WORKER, OTHER, THIRD):
            assert (await world.chain.view_account(signer.address)).locked == 0
        await follower.close()


async def test_a_pool_that_restarts_and_a_worker_that_is_killed_lose_nothing_of_a_bag(tmp_path: Path) -> None:
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        first_pool = contextlib.AsyncExitStack()
        service, url = await first_pool.enter_async_context(pool(world, tmp_path))
        port = int(url.rsplit(":", 1)[1])
        for signer in (WORKER, THIRD):
            await stack.enter_async_context(running(world, setting(tmp_path, url, signer)))
        agent, held = build_agent(world, setting(tmp_path, url, OTHER))
        killed = asyncio.create_task(agent.run())
        record = await record_of(world, 8, 4)
        follower = await BagFollower.open(world.chain, record)

        async def some_contributed() -> bool:
            return any(task.facts.contributions for task in service.machine.tasks.values())

        await _until(some_contributed)
        killed.cancel()
        await asyncio.wait((killed,))
        held.close()
        await first_pool.aclose()
        await stack.enter_async_context(pool(world, tmp_path, port=port))
        await stack.enter_async_context(running(world, setting(tmp_path, url, OTHER)))
        await _until(lambda: over(follower))
        found = follower.ledger.bag()
        assert found.completed == 8
        for run in found.runs:
            assert (await world.chain.view_task(run.run_id)).status is TaskStatus.COMPLETED
        assert sum(line.net for line in follower.ledger.payments()) == 0
        await follower.close()
