"""A stake is paid back out of what is earned, and only to who gave it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.chain import calls
from fairgrid.protocol.pool_messages import Sponsored
from fairgrid.protocol.worker_messages import SponsorRequest
from fairgrid.seams.clock import SystemClock
from fairgrid.worker.agent import AgentOptions
from fairgrid.worker.core.debts import Repay
from fairgrid.worker.onchain.repaying import SETTLED_BLOCKS
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.records.debts import RepaymentState
from tests.worker.fake_pool import FakePool
from tests.worker.onchain.sponsored import SPONSOR, STAKE, Life, give, got_back, indebted
from tests.worker.world import ADMIN, DEPOSIT, THIRD, WORKER, AgentSetting, World, new_world, running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world(keep_states=4) as made:
        yield made


async def test_what_is_earned_goes_back_first_in_four_payments_at_most_and_then_no_more(
    world: World, tmp_path: Path
) -> None:
    life = await indebted(world, tmp_path)
    seen = []
    for earned in (24, 1, 30, 10, 20, 500, 500):
        life.earn(earned)
        await life.looks()
        seen.append(await got_back(world))
    assert seen == [0, 25, 55, 55, 85, 100, 100]
    assert [payment.nrlc for payment in life.debts.repayments()] == [25, 30, 30, 15]
    assert life.debt.repaid_nrlc == STAKE and life.debt.owed_nrlc == 0
    assert any("repaid" in text and "nothing more" in text for text in life.said)
    for _ in range(SETTLED_BLOCKS):
        world.chain.mine()
    await life.looks()
    assert life.debt.is_settled
    assert {payment.state for payment in life.debts.repayments()} == {RepaymentState.SETTLED}


async def test_a_stake_that_came_as_tokens_of_the_sponsor_is_owed_as_well(world: World, tmp_path: Path) -> None:
    life = Life(world, tmp_path)
    await life.repayer.asking()
    receipt = await world.chain.transact(calls.deposit_for(world.chain.hub, STAKE, WORKER.address), ADMIN)
    await life.repayer.answered(Sponsored(STAKE, 0, "", ADMIN.address, STAKE, 0, receipt.tx_hash))
    life.earn(STAKE)
    await life.looks()
    assert (await world.chain.view_account(ADMIN.address)).stake == STAKE


# --- hostile pools ------------------------------------------------------------------------------------------------


async def test_a_pool_that_names_the_gift_of_somebody_else_gets_nothing(world: World, tmp_path: Path) -> None:
    life = Life(world, tmp_path, how=Repay.DEPOSIT)
    await life.repayer.asking()
    friend = await give(world, by=THIRD)
    claim = Sponsored(STAKE, 0, "", SPONSOR.address, STAKE, 0, friend.deposit_tx)
    await life.repayer.answered(claim)
    await life.looks()
    assert "gave 0." in life.debt.refusal and life.said == [life.debt.refusal]
    assert life.debts.repayments() == ()


async def test_a_pool_that_names_what_came_before_it_was_asked_gets_nothing(world: World, tmp_path: Path) -> None:
    wages = await give(world)
    life = Life(world, tmp_path, how=Repay.DEPOSIT)
    await life.repayer.asking()
    await life.repayer.answered(wages)
    await life.looks()
    assert "older than this worker's request" in life.debt.refusal and life.debts.repayments() == ()


async def test_a_pool_that_asks_for_more_than_came_gets_nothing_and_its_honest_answer_counts(
    world: World, tmp_path: Path
) -> None:
    life = Life(world, tmp_path, how=Repay.DEPOSIT)
    await life.repayer.asking()
    honest = await give(world)
    await life.repayer.answered(Sponsored(10 * STAKE, 0, "", SPONSOR.address, 10 * STAKE, 0, honest.deposit_tx))
    assert "wants 1000 nRLC" in life.debt.refusal
    await life.repayer.answered(honest)
    await life.looks()
    assert await got_back(world) == STAKE


async def test_what_was_agreed_stays_whatever_the_pool_says_later(world: World, tmp_path: Path) -> None:
    life = await indebted(world, tmp_path)
    more = await give(world, STAKE, by=THIRD)
    before = life.debt
    await life.repayer.answered(more)
    await life.repayer.answered(Sponsored(STAKE, 0, "", THIRD.address, STAKE, 0, before.deposit_tx))
    assert life.debt == before and "stays as it is" in life.said[-1]
    life.earn(10 * STAKE)
    await life.looks()
    assert await got_back(world) == STAKE
    assert (await world.chain.view_account(THIRD.address)).stake == DEPOSIT - STAKE


async def test_an_address_in_other_letters_is_the_same_one(world: World, tmp_path: Path) -> None:
    life = Life(world, tmp_path, how=Repay.DEPOSIT)
    await life.repayer.asking()
    gift = await give(world)
    await life.repayer.answered(replace(gift, sponsor=SPONSOR.address.lower()))
    await life.looks()
    assert await got_back(world) == STAKE


async def test_a_debt_that_was_not_asked_for_is_refused(world: World, tmp_path: Path) -> None:
    life = Life(world, tmp_path)
    await life.repayer.answered(await give(world))
    assert life.debts.debts() == () and "asked for nothing" in life.said[0]


async def test_a_stake_that_the_chain_took_back_is_not_paid_back(world: World, tmp_path: Path) -> None:
    life = await indebted(world, tmp_path)
    world.chain.reorganise(1, drop=True)
    life.earn(10 * STAKE)
    await life.looks()
    assert life.debts.repayments() == () and "is gone" in life.repayer.trouble[world.workerpool]


async def test_a_pool_that_gave_nothing_is_owed_nothing_and_may_be_asked_again(world: World, tmp_path: Path) -> None:
    life = Life(world, tmp_path)
    await life.repayer.asking()
    await life.repayer.answered(Sponsored(0, 0, "This pool does not sponsor newcomers."))
    assert life.debts.debts() == ()


# --- the owner's word ---------------------------------------------------------------------------------------------


async def test_an_owner_that_says_never_pays_nothing_and_the_pool_is_not_told_otherwise(
    world: World, tmp_path: Path
) -> None:
    life = await indebted(world, tmp_path, how=Repay.NEVER)
    life.earn(10 * STAKE)
    await life.looks(3)
    assert life.debts.repayments() == () and not life.repayer.agrees


async def test_the_stake_of_an_owners_account_is_left_to_its_owner(world: World, tmp_path: Path) -> None:
    life = Life(world, tmp_path, worker=THIRD.address, how=Repay.DEPOSIT)
    await life.repayer.asking()
    await life.repayer.answered(await give(world, to=THIRD.address))
    await life.looks(3)
    assert life.debts.repayments() == () and "Only the owner can pay" in life.said[-1]
    assert life.debt.owed_nrlc == STAKE


async def test_a_worker_asks_over_the_wire_and_repays_what_the_chain_shows(world: World, tmp_path: Path) -> None:
    options = AgentOptions(poll_s=0.03, receipt_poll_s=0.01, settled_poll_s=0.05, sponsor=True)
    pool = FakePool(chain_id=world.chain.chain_id, hub=world.chain.hub, workerpool=world.workerpool)
    async with pool:
        setting = AgentSetting(tmp_path, pool.url, options=options, policy=WorkerPolicy(repay="deposit"))
        async with running(world, setting):
            await pool.until(lambda: [message for message in pool.messages if isinstance(message, SponsorRequest)])
            (asked,) = [message for message in pool.messages if isinstance(message, SponsorRequest)]
            assert asked.repays is True
            await pool.send(await give(world))

            async def repaid() -> bool:
                return await got_back(world) == STAKE

            for _ in range(600):
                if await repaid():
                    break
                await SystemClock().sleep(0.05)
            assert await repaid()
