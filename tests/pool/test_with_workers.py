"""The real scheduler and real workers' agents in one process, over real sockets, on the chain's twin."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from msgspec import structs

from fairgrid.pool.app import pool_application
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_facts import ChainFacts
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol import ids
from fairgrid.protocol.archive import archive_digest
from fairgrid.protocol.results import cid_of_results
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.wire import MAX_FRAME_BYTES
from fairgrid.runtime.interface import SandboxJob
from fairgrid.seams.service import serving
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.agent import WorkerAgent
from tests.worker.world import OTHER, SCHEDULER, THIRD, WORKER, AgentSetting, World, honest, new_world, running

from .grid import FastClock

_SIGNERS = (WORKER, OTHER, THIRD)


@contextlib.asynccontextmanager
async def _pool(
    world: World, folder: Path, *, port: int = 0, audited: KeySigner | None = None, alone: bool = False
) -> AsyncIterator[tuple[PoolService, str]]:
    store = PoolStore.open(folder / "pool.db")
    try:
        async with (
            PoolService(
                chain=world.chain,
                signer=SCHEDULER,
                workerpool=world.workerpool,
                store=store,
                storage=world.storage,
                policy=Policy(
                    first_round_replicas=1 if alone or audited is not None else 3,
                    dispute_wait_s=100_000,
                    audit_share=0.0 if audited is None else 1.0,
                    authorisation_order=() if audited is None else (audited.address,),
                    seal_window_min_s=1_000,
                    lease_ttl_s=1_000,
                    restart_grace_s=1_000,
                    fill_wait_s=1_000,
                    authorisation_timeout_s=1_000,
                    opening_timeout_s=1_000,
                    upload_timeout_s=1_000,
                ),
                clock=FastClock(),
                scratch=folder / "uploads",
            ).running() as service,
            serving(pool_application(service), port=port, ws_max_size=MAX_FRAME_BYTES) as url,
        ):
            yield service, url
    finally:
        store.close()


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 120
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.05)


def _agent(
    world: World, folder: Path, url: str, signer: KeySigner, function: Callable[[SandboxJob], Any] = honest
) -> AbstractAsyncContextManager[WorkerAgent]:
    own = folder / signer.address
    own.mkdir()
    return running(world, AgentSetting(own, url, signer=signer, function=function))


def _wrong(job: SandboxJob) -> Any:
    """Compute, and change the result."""
    outcome = honest(job)
    (job.output_folder / "extra.txt").write_text("a lie")
    return outcome


async def test_agents_of_three_owners_bring_a_task_from_deal_to_done(tmp_path: Path) -> None:
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        service, url = await stack.enter_async_context(_pool(world, tmp_path))
        for signer in _SIGNERS:
            await stack.enter_async_context(_agent(world, tmp_path, url, signer))
        task = ids.task_id(await world.deal(trust=5), 0)

        async def completed() -> bool:
            return (await world.chain.view_task(task)).status is TaskStatus.COMPLETED

        await _until(completed)
        assert len((await world.chain.view_task(task)).contributors) == 3
        assert not service.machine.bans


async def test_a_pool_that_restarts_in_the_middle_goes_on_with_the_seals_it_had(tmp_path: Path) -> None:
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        pool = contextlib.AsyncExitStack()
        service, url = await pool.enter_async_context(_pool(world, tmp_path))
        for signer in _SIGNERS[:2]:
            await stack.enter_async_context(_agent(world, tmp_path, url, signer))
        task = ids.task_id(await world.deal(trust=5), 0)

        async def sealed() -> bool:
            state = service.machine.tasks.get(task)
            return state is not None and len(state.in_phase(ReplicaPhase.SEALED)) == 2

        async def completed() -> bool:
            return (await world.chain.view_task(task)).status is TaskStatus.COMPLETED

        await _until(sealed)
        seals = {replica.worker: replica.seal for replica in service.machine.tasks[task].replicas}
        await pool.aclose()
        again, _ = await stack.enter_async_context(_pool(world, tmp_path, port=int(url.rsplit(":", 1)[1])))
        await stack.enter_async_context(_agent(world, tmp_path, url, _SIGNERS[2]))
        await _until(completed)
        kept = {replica.worker: replica.seal for replica in again.machine.tasks[task].replicas}
        assert seals.items() <= kept.items()
        assert not again.machine.bans


async def test_agents_audit_in_silence_and_an_arbiter_takes_the_lie_from_the_requester(tmp_path: Path) -> None:
    liar, auditor, arbiter = _SIGNERS
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        service, url = await stack.enter_async_context(_pool(world, tmp_path, audited=liar))
        await stack.enter_async_context(_agent(world, tmp_path, url, liar, _wrong))
        await stack.enter_async_context(_agent(world, tmp_path, url, auditor))
        task = ids.task_id(await world.deal(trust=1), 0)

        async def consensus() -> bool:
            return (await world.chain.view_task(task)).status is TaskStatus.REVEALING

        await _until(consensus)
        # The third machine is asked about a task that has its consensus: it computes, seals and is never authorised.
        await stack.enter_async_context(_agent(world, tmp_path, url, arbiter))

        async def judged() -> bool:
            state = service.machine.tasks.get(task)
            return state is not None and state.judged

        await _until(judged)
        state = service.machine.tasks[task]
        assert state.disproved
        view = await world.chain.view_task(task)
        assert view.contributors == (liar.address,) and view.status is TaskStatus.REVEALING
        standings = service.machine.standings
        assert standings[liar.address].disproved == 1
        assert {standings[signer.address].valid for signer in (auditor, arbiter)} == {1}


async def test_an_audited_task_of_honest_agents_is_finalized(tmp_path: Path) -> None:
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        service, url = await stack.enter_async_context(_pool(world, tmp_path, audited=WORKER))
        for signer in _SIGNERS[:2]:
            await stack.enter_async_context(_agent(world, tmp_path, url, signer))
        task = ids.task_id(await world.deal(trust=1), 0)

        async def completed() -> bool:
            return (await world.chain.view_task(task)).status is TaskStatus.COMPLETED

        await _until(completed)
        assert (await world.chain.view_task(task)).contributors == (WORKER.address,)
        assert service.machine.standings[OTHER.address].valid == 1, "it was the silent one"


async def test_one_agent_ends_a_task_of_trust_1_in_one_transaction(tmp_path: Path) -> None:
    async with new_world() as world, contextlib.AsyncExitStack() as stack:
        service, url = await stack.enter_async_context(_pool(world, tmp_path, alone=True))
        await stack.enter_async_context(_agent(world, tmp_path, url, WORKER))
        task = ids.task_id(await world.deal(trust=1), 0)

        async def settled() -> bool:
            state = service.machine.tasks.get(task)
            return state is not None and state.phase is Phase.COMPLETED and state.is_settled

        await _until(settled)
        view = await world.chain.view_task(task)
        assert view.status is TaskStatus.COMPLETED and view.contributors == (WORKER.address,)
        cid = cid_of_results(view.results)
        assert cid is not None
        archive = tmp_path / "fetched.zip"
        await world.storage.fetch(cid, archive, max_bytes=1 << 20)
        assert archive_digest(archive) == view.result_digest
        sent = [transaction.function for block in world.chain._blocks for transaction in block.transactions]
        assert sent.count("contributeAndFinalize") == 1
        assert not {"contribute", "reveal", "finalize"} & set(sent)
        facts = service.machine.tasks[task].facts
        blank = structs.replace(service.machine.tasks[task], facts=ChainFacts())
        ((_, read),) = await service._watcher._comparison.changed([blank])
        assert read.contributions == facts.contributions, "what the views say is what the events said"
