"""Where locked money is, to the last nRLC: of payers, pools and workers, in both lanes, until it is claimed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fairgrid.chain import calls
from fairgrid.client.boost import claim_boost_calls, read_boost
from fairgrid.client.claims import claim_calls
from fairgrid.client.funds import Funds, Role, events_until_now, explain_funds, read_deal
from fairgrid.client.journal import DealRecord
from fairgrid.errors import UsageError
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.ids import authorisation_message, result_hash, result_seal
from tests.client.test_bags import deal as batch_deal
from tests.worker.world import REQUESTER, SCHEDULER, STAKE, WORKER, World, bag, new_world

PRICE = 100
POOL_STAKE = 30
DIGEST = "0x" + "aa" * 32


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world(keep_states=40) as made:
        yield made


async def classic(world: World, size: int = 2, trust: int = 1) -> DealRecord:
    """A deal of the classic lane."""
    deal_id = await world.deal(volume=size, trust=trust, manifest=bag(await world.manifest(), size))
    made = await world.chain.head()
    return DealRecord(
        deal_id,
        (ids.task_id(deal_id, 0),),
        "bafy",
        "job.py",
        trust,
        PRICE * size,
        "0x",
        "0x",
        tasks=size,
        block_number=made.number,
    )


async def contribute(world: World, task: str) -> None:
    """The worker's stake is locked."""
    message = authorisation_message(WORKER.address, task, ZERO_ADDRESS)
    signed = SCHEDULER.sign_message(message if isinstance(message, bytes) else bytes.fromhex(message[2:]))
    seal = result_seal(WORKER.address, task, DIGEST)
    call = calls.contribute(world.chain.hub, task, result_hash(task, DIGEST), seal, signed)
    await world.chain.transact(call, WORKER)


async def funds(world: World, address: str, *records: DealRecord, scan: bool = False) -> Funds:
    return await explain_funds(world.chain, address, records, scan_from=0 if scan else None)


async def test_an_account_without_deals_has_nothing_to_explain(world: World) -> None:
    found = await funds(world, REQUESTER.address, scan=True)
    assert (found.locked, found.locks, found.unexplained) == (0, (), 0) and found.stake > 0


async def test_a_payers_locks_are_those_of_its_journal_until_each_task_is_settled(world: World) -> None:
    one, two = await classic(world, 2), await classic(world, 1)
    found = await funds(world, REQUESTER.address, one, two)
    assert {(lock.deal_id, lock.role, lock.amount, lock.tasks, lock.overdue) for lock in found.locks} == {
        (one.deal_id, Role.PAYER, 2 * PRICE, 2, False),
        (two.deal_id, Role.PAYER, PRICE, 1, False),
    }
    assert (found.locked, found.unexplained) == (3 * PRICE, 0)
    assert all(lock.command.startswith("fairgrid result 0x") and lock.until > found.now for lock in found.locks)

    await world.chain.transact(calls.initialize(world.chain.hub, one.deal_id, 0), SCHEDULER)
    task = ids.task_id(one.deal_id, 0)
    await contribute(world, task)
    await world.chain.transact(calls.reveal(world.chain.hub, task, DIGEST), WORKER)
    await world.chain.transact(calls.finalize(world.chain.hub, task, b""), SCHEDULER)
    found = await funds(world, REQUESTER.address, one, two)
    assert (found.locked, found.unexplained, sum(lock.amount for lock in found.locks)) == (2 * PRICE, 0, 2 * PRICE)
    state = await read_deal(world.chain, one.deal_id)
    assert (state.completed, state.refunded, state.open_tasks) == (1, 0, 1)


async def test_what_no_journal_knows_is_said_and_found_in_the_hubs_events(world: World) -> None:
    record = await classic(world, 2, trust=1_000)
    await world.chain.transact(calls.initialize(world.chain.hub, record.deal_id, 1), SCHEDULER)
    await contribute(world, ids.task_id(record.deal_id, 1))
    for signer, role, amount in (
        (REQUESTER, Role.PAYER, 2 * PRICE),
        (SCHEDULER, Role.POOL, 2 * POOL_STAKE),
        (WORKER, Role.WORKER, STAKE),
    ):
        assert (await funds(world, signer.address)).unexplained == amount
        found = await funds(world, signer.address, scan=True)
        assert (found.locked, found.unexplained) == (amount, 0)
        (lock,) = found.locks
        assert (lock.role, lock.deal_id, lock.amount) == (role, record.deal_id, amount)


async def test_a_deal_that_was_never_mined_locks_nothing(world: World) -> None:
    record = replace(await classic(world), block_number=0)
    assert (await funds(world, REQUESTER.address, record)).locks == ()


async def test_an_overdue_deal_is_claimed_with_all_its_tasks_and_everybodys_money(world: World) -> None:
    record = await classic(world, 3, trust=1_000)
    await world.chain.transact(calls.initialize(world.chain.hub, record.deal_id, 1), SCHEDULER)
    await contribute(world, ids.task_id(record.deal_id, 1))
    early = await read_deal(world.chain, record.deal_id)
    with pytest.raises(UsageError, match=r"still has [0-9]+ s until its deadline"):
        claim_calls(world.chain.hub, early)
    world.chain.skip(early.deadline - early.now)
    (lock,) = (await funds(world, REQUESTER.address, record)).locks
    assert lock.overdue and lock.command == f"fairgrid deal claim {record.deal_id}" and "claim it" in lock.frees
    sent = claim_calls(world.chain.hub, await read_deal(world.chain, record.deal_id))
    assert {call.function for call in sent} == {"claimArray", "initializeAndClaimArray"}
    for call in sent:
        await world.chain.transact(call, WORKER)
    for signer in (REQUESTER, SCHEDULER, WORKER):
        assert (await funds(world, signer.address, record, scan=True)).locked == 0
    over = await read_deal(world.chain, record.deal_id)
    assert (over.open_tasks, over.refunded) == (0, 3)
    with pytest.raises(UsageError, match="is over"):
        claim_calls(world.chain.hub, over)


async def test_the_batch_lane_with_an_open_run_and_unopened_tasks(world: World) -> None:
    record = await batch_deal(world)
    await world.chain.transact(calls.open_run(world.chain.hub, record.deal_id, 2), SCHEDULER)
    found = await funds(world, REQUESTER.address, record)
    assert (found.locked, found.unexplained, found.locks[0].tasks) == (6 * PRICE, 0, 6)
    state = await read_deal(world.chain, record.deal_id, await events_until_now(world.chain, 0))
    assert ([count for _, _, count in state.open_runs], state.unopened, state.statuses) == ([2], 4, {})
    world.chain.skip(state.deadline - state.now)
    state = await read_deal(world.chain, record.deal_id, await events_until_now(world.chain, 0))
    for call in claim_calls(world.chain.hub, state):
        await world.chain.transact(call, REQUESTER)
    assert (await funds(world, REQUESTER.address, record)).locked == 0
    state = await read_deal(world.chain, record.deal_id, await events_until_now(world.chain, 0))
    assert (state.open_tasks, state.refunded, state.unopened) == (0, 6, 0)


async def test_deals_of_boost_are_explained_on_both_sides_and_claimed_by_anybody(world: World) -> None:
    deal_id = await world.deal(volume=3, trust=1, boost=True)
    for signer, role, each in ((REQUESTER, Role.PAYER, PRICE), (SCHEDULER, Role.POOL, POOL_STAKE)):
        found = await funds(world, signer.address, scan=True)
        assert (found.locked, found.unexplained) == (3 * each, 0)
        (lock,) = found.locks
        assert (lock.role, lock.amount, lock.tasks, lock.deal_id) == (role, 3 * each, 3, deal_id)
        assert lock.command == f"fairgrid deal show {deal_id}" and not lock.overdue
    state = await read_boost(world.chain, deal_id)
    assert state is not None and (state.open_tasks, state.price, state.is_overdue) == (3, PRICE, False)
    with pytest.raises(UsageError, match="until its deadline"):
        claim_boost_calls(world.chain.hub, state)
    world.chain.skip(state.deadline - state.now)
    await world.chain.transact(calls.claim_boost(world.chain.hub, deal_id, 0), WORKER)
    state = await read_boost(world.chain, deal_id)
    assert state is not None and (state.open_tasks, state.refunded, state.is_overdue) == (2, 1, True)
    (lock,) = (await funds(world, REQUESTER.address, scan=True)).locks
    assert (lock.amount, lock.command) == (2 * PRICE, f"fairgrid deal claim {deal_id}")
    for call in claim_boost_calls(world.chain.hub, state):
        await world.chain.transact(call, WORKER)
    assert (await funds(world, REQUESTER.address, scan=True)).locked == 0
    state = await read_boost(world.chain, deal_id)
    assert state is not None and (state.open_tasks, state.refunded, state.completed) == (0, 3, 0)
    with pytest.raises(UsageError, match="is over"):
        claim_boost_calls(world.chain.hub, state)
    assert await read_boost(world.chain, "0x" + "77" * 32) is None


async def test_an_unknown_deal_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="does not know deal"):
        await read_deal(world.chain, "0x" + "77" * 32)
