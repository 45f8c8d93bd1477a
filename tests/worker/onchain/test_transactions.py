"""A worker's transaction that is not mined is offered again for more, under the same nonce, and counts once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.chain import calls
from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.fees import FeeCaps
from fairgrid.chain.interface import SignedTransaction
from fairgrid.protocol.ids import result_hash, result_seal
from fairgrid.protocol.pool_messages import Lease
from fairgrid.protocol.views import ContributionStatus
from fairgrid.protocol.worker_messages import Seal
from fairgrid.seams.clock import SystemClock
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.held import Phase, Step
from fairgrid.worker.onchain.transactions import Transactions
from fairgrid.worker.records.store import WorkerStore
from tests.worker.fake_pool import FakePool
from tests.worker.machine_kit import CONTRIBUTION_MINED, TASK, TO_CONTRIBUTED, TO_CONTRIBUTING, fed, record
from tests.worker.machine_kit import transaction as made_up
from tests.worker.world import WORKER, AgentSetting, World, new_world, running

DIGEST = "0x" + "dd" * 32


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world() as made:
        yield made


def _transactions(world: World, *, caps: FeeCaps | None = None, replace_after_s: float = 0.05) -> Transactions:
    return Transactions(
        world.chain, WORKER, clock=SystemClock(), poll_s=0.01, replace_after_s=replace_after_s, caps=caps
    )


async def _signed(world: World, lease: Lease) -> SignedTransaction:
    call = calls.contribute(
        world.chain.hub,
        lease.task_id,
        result_hash(lease.task_id, DIGEST),
        result_seal(WORKER.address, lease.task_id, DIGEST),
        world.authorisation(lease).signature,
    )
    return await world.chain.prepare(call, WORKER)


def _always() -> bool:
    return True


async def test_what_is_not_mined_is_replaced_by_a_dearer_one_with_its_nonce_and_that_is_mined(world: World) -> None:
    lease = await world.task(trust=4)
    first = await _signed(world, lease)
    world.chain.automine = False
    sender = _transactions(world)
    replaced = await sender.deliver(lease.task_id, Step.CONTRIBUTE, [first], wanted=_always)
    assert isinstance(replaced, ev.TransactionReplaced)
    dearer = replaced.transaction
    assert dearer.nonce == first.nonce and dearer.hash != first.hash
    assert read_envelope(dearer.raw).fees.max_fee_wei * 8 >= read_envelope(first.raw).fees.max_fee_wei * 9
    world.chain.automine = True
    patient = _transactions(world, replace_after_s=50.0)
    mined = await patient.deliver(lease.task_id, Step.CONTRIBUTE, [first, dearer], wanted=_always)
    assert isinstance(mined, ev.TransactionMined) and mined.succeeded
    assert mined.tx_hash == dearer.hash


async def test_the_earlier_one_counts_if_it_was_mined_meanwhile(world: World) -> None:
    lease = await world.task(trust=4)
    first = await _signed(world, lease)
    world.chain.automine = False
    sender = _transactions(world)
    replaced = await sender.deliver(lease.task_id, Step.CONTRIBUTE, [first], wanted=_always)
    assert isinstance(replaced, ev.TransactionReplaced)
    world.chain.mine()
    patient = _transactions(world, replace_after_s=50.0)
    mined = await patient.deliver(lease.task_id, Step.CONTRIBUTE, [first, replaced.transaction], wanted=_always)
    assert isinstance(mined, ev.TransactionMined)
    assert mined.tx_hash == first.hash


async def test_the_caps_are_never_exceeded(world: World) -> None:
    lease = await world.task(trust=4)
    first = await _signed(world, lease)
    world.chain.automine = False
    offered = read_envelope(first.raw).fees
    sender = _transactions(world, caps=FeeCaps(max_fee_wei=offered.max_fee_wei, max_tip_wei=offered.tip_wei))
    delivered = asyncio.create_task(sender.deliver(lease.task_id, Step.CONTRIBUTE, [first], wanted=_always))
    await asyncio.sleep(0.3)
    assert not delivered.done()
    async with asyncio.timeout(30):
        while not delivered.done():
            world.chain.mine()
            await asyncio.sleep(0.02)
    mined = delivered.result()
    assert isinstance(mined, ev.TransactionMined) and mined.tx_hash == first.hash


def test_the_dearer_version_is_stored_before_it_is_sent_and_the_earlier_one_kept() -> None:
    machine = fed(TO_CONTRIBUTING)
    first = record(machine).contribution
    dearer = made_up(0, "dearer")
    saved, sent = machine.handle(ev.TransactionReplaced(TASK, Step.CONTRIBUTE, dearer))
    assert isinstance(saved, to_do.Save) and sent == to_do.Broadcast(TASK, Step.CONTRIBUTE)
    assert first is not None
    assert saved.held.versions(Step.CONTRIBUTE) == (first, dearer)
    machine.handle(CONTRIBUTION_MINED)
    assert record(machine).phase is Phase.CONTRIBUTED


def test_a_replacement_that_comes_too_late_is_nothing() -> None:
    machine = fed(TO_CONTRIBUTED)
    assert machine.handle(ev.TransactionReplaced(TASK, Step.CONTRIBUTE, made_up(0, "dearer"))) == []


def test_every_version_survives_a_restart(tmp_path: Path) -> None:
    held = record(fed((*TO_CONTRIBUTING, ev.TransactionReplaced(TASK, Step.CONTRIBUTE, made_up(0, "dearer")))))
    store = WorkerStore.open(tmp_path / "worker.sqlite")
    try:
        store.apply([held])
        (loaded,) = store.load()
        assert loaded.versions(Step.CONTRIBUTE) == held.versions(Step.CONTRIBUTE)
        store.apply([replace(held, earlier=())])
        (loaded,) = store.load()
        assert loaded.earlier == ()
    finally:
        store.close()


async def test_an_agent_whose_transaction_is_stuck_contributes_once(world: World, tmp_path: Path) -> None:
    async with FakePool(chain_id=world.chain.chain_id, hub=world.chain.hub, workerpool=world.workerpool) as pool:
        setting = AgentSetting(folder=tmp_path, url=pool.url)
        setting.options = replace(setting.options, replace_after_s=0.1)
        lease = await world.task(trust=4)
        async with running(world, setting) as agent:
            await pool.send(lease)
            await pool.expect(Seal)
            world.chain.automine = False
            await pool.send(world.authorisation(lease))

            def replaced() -> bool:
                return any("offers more" in held["last"] for held in agent.snapshot()["held"])

            await pool.until(replaced)
            world.chain.automine = True
            world.chain.mine()

            async def contributed() -> bool:
                mine = await world.chain.view_contribution(lease.task_id, WORKER.address)
                return mine.status is ContributionStatus.CONTRIBUTED

            async with asyncio.timeout(60):
                while not await contributed():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        sent = [made for block in world.chain._blocks for made in block.transactions if made.sender == WORKER.address]
        assert [made.function for made in sent] == ["contribute"]
