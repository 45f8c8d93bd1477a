"""One transaction a task, or a run, on a real node: real scheduler, real agents, contracts that are called back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fairgrid.chain import calls
from fairgrid.client import claims
from fairgrid.client.bags import BagFollower
from fairgrid.client.claims import materialise
from fairgrid.client.journal import DealRecord
from fairgrid.errors import ContractReverted
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol.hexes import ZERO32, from_hex, keccak, to_hex32
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.views import TaskStatus
from fairgrid.runtime.interface import SandboxJob
from fairgrid.wallet.keys import KeySigner
from tests.pool.anvil_world import AnvilWorld, anvil_world, until
from tests.worker.world import (
    DEPOSIT,
    OTHER,
    REQUESTER,
    SCHEDULER,
    WORKER,
    bag,
    running,
)

POLICY = Policy(
    seal_window_min_s=300,
    lease_ttl_s=300,
    restart_grace_s=60,
    fill_wait_s=60,
    authorisation_timeout_s=60,
    batch_probe_tasks=2,
    batch_run_tasks=4,
)

REMEMBERS = "0x6004355f5560643560015500"
"""Runtime code: keeps the task id and the first word of the bytes, whatever it is called with."""
REVERTS = "0x5f5ffd"
BURNS = "0x5b5f56"
"""Runtime code: goes round until its gas is spent."""


@pytest.fixture
async def world(anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[AnvilWorld]:
    async with anvil_world(anvil, tmp_path) as made:
        yield made


def numbered(job: SandboxJob) -> bytes:
    """The index that it was given is its result."""
    (job.output_folder / "number.txt").write_text(job.arguments[0])
    return b""


def answering(data: str) -> Callable[[SandboxJob], bytes]:
    """A job whose callback bytes are these."""

    def job(task: SandboxJob) -> bytes:
        (task.output_folder / "computed.json").write_text(f'{{"callback-data": "{data}"}}')
        return b""

    return job


async def accounts(world: AnvilWorld, *signers: KeySigner) -> list[tuple[int, int]]:
    """What each won or lost, and what it has locked."""
    views = [await world.chain.view_account(signer.address) for signer in signers]
    return [(view.stake - DEPOSIT, view.locked) for view in views]


async def test_a_bag_of_trust_1_is_paid_for_a_transaction_a_run_and_none_of_the_pools(world: AnvilWorld) -> None:
    async with world.pool(POLICY) as (service, url):
        async with (
            running(world.world, world.agent(url, numbered)),
            running(world.world, world.agent(url, numbered, OTHER)),
        ):
            manifest = bag(await world.world.manifest(), 12)
            deal = await world.world.deal(lane=True, volume=12, trust=1, manifest=manifest)
            before = {signer: world.sent_by(signer) for signer in (SCHEDULER, WORKER, OTHER)}

            async def is_over() -> bool:
                states = service.machine.tasks.values()
                done = sum(state.count for state in states if state.phase is Phase.COMPLETED)
                return done == 12

            await until(is_over)
            lane = await world.chain.view_lane(deal)
            runs = [state for state in service.machine.tasks.values() if state.count]
            assert lane.cursor == 12 and 3 <= len(runs) <= 5
            sent = {signer: world.sent_by(signer) - count for signer, count in before.items()}
            assert sent[SCHEDULER] == 0 and sent[WORKER] + sent[OTHER] == len(runs)
            for state in runs:
                view = await world.chain.view_task(state.task_id)
                assert view.status is TaskStatus.COMPLETED and view.result_digest == state.facts.result_digest
    scheduler, requester, *workers = await accounts(world, SCHEDULER, REQUESTER, WORKER, OTHER)
    assert requester == (-1_200, 0) and scheduler == (120, 0)
    assert sum(won for won, _ in workers) == 1_080 and all(locked == 0 for _, locked in workers)


async def test_a_worker_that_lost_its_place_to_an_opened_run_contributes_with_the_same_authorisation(
    world: AnvilWorld,
) -> None:
    async with world.pool(POLICY) as (service, url):
        manifest = bag(await world.world.manifest(), 2)
        deal = await world.world.deal(lane=True, volume=2, trust=1, manifest=manifest)

        def opens_it_meanwhile(job: SandboxJob) -> bytes:
            # What a pool's restart may lead to: it opens a run that its worker computes for settling.
            if job.arguments[0] == "1":
                opening.set()
                assert opened.wait(30)
            return numbered(job)

        opening, opened = threading.Event(), threading.Event()
        async with running(world.world, world.agent(url, opens_it_meanwhile)):
            await until(lambda: asyncio.to_thread(opening.wait, 0.05))
            await world.chain.transact(calls.open_run(world.chain.hub, deal, 2), SCHEDULER)
            opened.set()
            await world.completed(run_id(deal, 0, 2))

            async def is_known() -> bool:
                return service.machine.tasks[run_id(deal, 0, 2)].phase is Phase.COMPLETED

            await until(is_known)
    scheduler, requester, worker = await accounts(world, SCHEDULER, REQUESTER, WORKER)
    assert (scheduler, requester, worker) == ((20, 0), (-200, 0), (180, 0))


@pytest.mark.parametrize(("code", "remembers"), [(REMEMBERS, True), (REVERTS, False), (BURNS, False)])
async def test_a_callback_gets_the_agreed_bytes_in_the_workers_one_transaction_and_cannot_undo_the_payment(
    world: AnvilWorld, code: str, remembers: bool
) -> None:
    consumer = world.put(code)
    async with (
        world.pool(POLICY) as (service, url),
        running(world.world, world.agent(url, answering("0x" + "2a" * 32))),
    ):
        deal = await world.world.deal(trust=1, callback=consumer)
        sent = world.sent_by(WORKER)
        view = await world.completed(task_id(deal, 0))
        assert view.results_callback == b"\x2a" * 32
        assert view.result_digest == to_hex32(keccak(b"\x2a" * 32))
        assert world.sent_by(WORKER) == sent + 1

        async def is_known() -> bool:
            return service.machine.tasks[task_id(deal, 0)].phase is Phase.COMPLETED

        await until(is_known)
        lines = [line.text for line in service.machine.story(task_id(deal, 0))]
        assert "A worker is authorised to contribute and finalize." in lines
    assert (world.word(consumer, 0) == task_id(deal, 0)) is remembers
    assert (world.word(consumer, 1) == "0x" + "2a" * 32) is remembers
    scheduler, requester, worker = await accounts(world, SCHEDULER, REQUESTER, WORKER)
    assert (scheduler, requester, worker) == ((10, 0), (-100, 0), (90, 0))


async def test_a_job_without_callback_bytes_gives_the_callback_its_error_document_and_is_paid(
    world: AnvilWorld,
) -> None:
    consumer = world.put(REMEMBERS)
    async with world.pool(POLICY) as (_, url), running(world.world, world.agent(url, numbered)):
        deal = await world.world.deal(trust=1, callback=consumer)
        view = await world.completed(task_id(deal, 0))
    assert b'"kind":"callback"' in view.results_callback
    assert view.result_digest == to_hex32(keccak(view.results_callback))
    assert world.word(consumer, 0) == task_id(deal, 0)


def answering_with_its_index(job: SandboxJob) -> bytes:
    """A job of a bag: its callback bytes are a word that ends with its index."""
    word = f"0x{int(job.arguments[0]) + 1:064x}"
    (job.output_folder / "computed.json").write_text(f'{{"callback-data": "{word}"}}')
    return b""


async def test_a_run_settled_at_once_calls_back_for_each_task_that_is_materialised_and_only_once(
    world: AnvilWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_CATCH_UP_S", 0.3)
    consumer, count = world.put(REMEMBERS), 3
    async with (
        world.pool(POLICY) as (service, url),
        running(world.world, world.agent(url, answering_with_its_index)),
    ):
        manifest, block = bag(await world.world.manifest(), count), (await world.chain.head()).number
        deal = await world.world.deal(lane=True, volume=count, trust=1, manifest=manifest, callback=consumer)

        async def is_over() -> bool:
            states = service.machine.tasks.values()
            return sum(state.count for state in states if state.phase is Phase.COMPLETED) == count

        await until(is_over)
        assert world.word(consumer, 0) == ZERO32, "a run calls nobody back"
        paid = await accounts(world, SCHEDULER, REQUESTER, WORKER)
        record = DealRecord(
            deal, (task_id(deal, 0),), "", "job.py", 1, 300, ZERO32, "0x", block, tasks=count, batch=True
        )
        follower = await BagFollower.open(world.chain, record)
        try:
            for index in (2, 0, 1):
                made = await materialise(world.chain, world.world.storage, OTHER, record, follower, index)
                word = f"0x{index + 1:064x}"
                view = await world.chain.view_task(made.task_id)
                assert view.status is TaskStatus.COMPLETED and view.results_callback == from_hex(word)
                assert (world.word(consumer, 0), world.word(consumer, 1)) == (task_id(deal, index), word)
            with pytest.raises(ContractReverted):
                await materialise(world.chain, world.world.storage, OTHER, record, follower, 2)
        finally:
            await follower.close()
        assert world.word(consumer, 1) == f"0x{2:064x}", "the one that came last"
    assert await accounts(world, SCHEDULER, REQUESTER, WORKER) == paid == [(30, 0), (-300, 0), (270, 0)]
