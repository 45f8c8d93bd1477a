"""A stake is paid back once, through kills, reorganisations, lost nonces and lost folders, and only to who gave it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from fairgrid.chain import calls
from fairgrid.chain.interface import Call, SignedTransaction
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import ServiceUnavailable
from fairgrid.protocol.pool_messages import Sponsored
from fairgrid.protocol.worker_messages import SponsorRequest
from fairgrid.seams.clock import SystemClock
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.agent import AgentOptions
from fairgrid.worker.core.debts import Debt, Repay
from fairgrid.worker.core.held import Phase
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.onchain.repaying import SETTLED_BLOCKS, Repayer
from fairgrid.worker.onchain.transactions import Transactions
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.records.debts import DebtStore, RepaymentState
from fairgrid.worker.records.store import Finished, WorkerStore
from tests.worker.fake_pool import FakePool
from tests.worker.world import ADMIN, DEPOSIT, OTHER, THIRD, WORKER, AgentSetting, World, new_world, running

STAKE = 100
SPONSOR = OTHER


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world(keep_states=4) as made:
        yield made


class Life:
    """One process of a worker that was sponsored, from its folder on; the next one is another `Life`."""

    def __init__(
        self,
        world: World,
        folder: Path,
        *,
        how: Repay = Repay.EARNINGS,
        chain: ModelChain | None = None,
        worker: str = WORKER.address,
        replace_after_s: float = 60.0,
    ) -> None:
        self.world, self.chain = world, chain or world.chain
        self.store = WorkerStore.open(folder / "worker.sqlite")
        self.debts = DebtStore(self.store)
        self.said: list[str] = []
        machine = WorkerMachine(slots=1)
        clock, options = SystemClock(), AgentOptions(replace_after_s=replace_after_s)
        transactions = Transactions(self.chain, WORKER, clock=clock, poll_s=0.01)
        self.repayer = Repayer(
            chain=self.chain,
            signer=WORKER,
            worker=worker,
            workerpool=world.workerpool,
            machine=machine,
            transactions=transactions,
            store=self.store,
            how=lambda: how,
            clock=clock,
            options=options,
            say=self.said.append,
        )
        transactions.beside = self.repayer.unmined

    def earn(self, nrlc: int) -> None:
        """The history says that a task brought so much."""
        name = f"0x{len(self.store.finished(limit=None)):064x}"
        line = Finished(name, name, self.world.workerpool, Phase.UPLOADED, "completed", nrlc, 1.0)
        self.store.apply([], retired=[line])

    @property
    def debt(self) -> Debt:
        found = self.debts.debt(self.world.workerpool)
        assert found is not None
        return found

    async def looks(self, times: int = 2) -> None:
        for _ in range(times):
            await self.repayer.look()


async def give(world: World, nrlc: int = STAKE, *, by: KeySigner = SPONSOR, to: str = WORKER.address) -> Sponsored:
    """The sponsor gives; what the pool says of it."""
    receipt = await world.chain.transact(calls.transfer_deposit(world.chain.hub, to, nrlc), by)
    return Sponsored(nrlc, 0, "", by.address, nrlc, 0, receipt.tx_hash)


async def got_back(world: World, who: KeySigner = SPONSOR) -> int:
    """What the sponsor has more than after it gave."""
    return (await world.chain.view_account(who.address)).stake - (DEPOSIT - STAKE)


async def indebted(world: World, folder: Path, **life: object) -> Life:
    made = Life(world, folder, **life)  # type: ignore[arg-type]
    await made.repayer.begin()
    await made.repayer.asking()
    await made.repayer.answered(await give(world))
    assert made.debt.given_nrlc == STAKE
    return made


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


# --- kills, reorganisations, lost things --------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


class Mortal(ModelChain):
    """Dies around the calls of one payment."""

    dies = ""

    async def prepare(self, call: Call, signer: KeySigner, *, nonce: int | None = None) -> SignedTransaction:  # type: ignore[override]
        prepared = await super().prepare(call, signer, nonce=nonce)
        if self.dies == "signed, not stored":
            raise Killed
        return prepared

    async def broadcast(self, transaction: SignedTransaction) -> None:
        if self.dies == "stored, not sent":
            raise Killed
        await super().broadcast(transaction)
        if self.dies == "sent":
            raise Killed


@pytest.mark.parametrize("moment", ["signed, not stored", "stored, not sent", "sent"])
@pytest.mark.parametrize("payment", [1, 4])
async def test_a_worker_killed_at_any_step_of_any_payment_pays_each_once(
    world: World, tmp_path: Path, moment: str, payment: int
) -> None:
    world.chain.__class__ = Mortal
    mortal = world.chain
    assert isinstance(mortal, Mortal)
    life = await indebted(world, tmp_path)
    for number in (1, 2, 3, 4, 5):
        life.earn(25)
        mortal.dies = moment if number == payment else ""
        if mortal.dies:
            with pytest.raises(Killed):
                await life.looks()
            mortal.dies = ""
            life.store.close()
            life = Life(world, tmp_path)
            await life.repayer.begin()
        await life.looks()
        assert await got_back(world) == min(25 * number, STAKE)
    assert len(life.debts.repayments()) == 4
    mortal.dies = ""


@pytest.mark.parametrize("drop", [True, False])
async def test_a_payment_that_a_reorganisation_took_back_is_made_again_by_the_same_bytes(
    world: World, tmp_path: Path, drop: bool
) -> None:
    life = await indebted(world, tmp_path)
    life.earn(60)
    await life.looks()
    (before,) = life.debts.repayments()
    world.chain.reorganise(1, drop=drop)
    assert await got_back(world) == 0
    life.earn(200)
    await life.looks(4)
    world.chain.mine()
    await life.looks(4)
    assert await got_back(world) == STAKE
    first, second = life.debts.repayments()
    assert first.versions == before.versions and (first.nrlc, second.nrlc) == (60, 40)


async def test_a_payment_whose_nonce_another_took_is_signed_anew_when_it_can_be_mined_no_more(
    world: World, tmp_path: Path
) -> None:
    life = await indebted(world, tmp_path)
    life.earn(STAKE)
    world.chain.automine = False
    await life.looks(1)
    (lost,) = life.debts.repayments()
    world.chain._pool.clear()  # The node forgets what waits.
    world.chain.automine = True
    other = await world.chain.prepare(calls.transfer_deposit(world.chain.hub, THIRD.address, 1), WORKER)
    assert other.nonce == lost.versions[-1].nonce
    await world.chain.broadcast(other)
    await life.looks(3)
    assert await got_back(world) == 0 and len(life.debts.repayments()) == 1
    for _ in range(SETTLED_BLOCKS):
        world.chain.mine()
    await life.looks(3)
    assert [payment.state for payment in life.debts.repayments()] == [RepaymentState.FAILED, RepaymentState.OPEN]
    assert await got_back(world) == STAKE


async def test_a_payment_that_is_not_mined_is_offered_dearer_under_its_nonce_and_counts_once(
    world: World, tmp_path: Path
) -> None:
    life = await indebted(world, tmp_path, replace_after_s=0.0)
    life.earn(STAKE)
    world.chain.automine = False
    await life.looks(2)
    (payment,) = life.debts.repayments()
    assert len(payment.versions) > 1 and len({version.nonce for version in payment.versions}) == 1
    world.chain.automine = True
    world.chain.mine()
    await life.looks(3)
    assert await got_back(world) == STAKE and len(life.debts.repayments()) == 1


async def test_what_the_owner_paid_by_hand_is_not_paid_again(world: World, tmp_path: Path) -> None:
    life = await indebted(world, tmp_path)
    await world.chain.transact(calls.transfer_deposit(world.chain.hub, SPONSOR.address, 70), WORKER)
    life.earn(10 * STAKE)
    await life.looks(3)
    assert [payment.nrlc for payment in life.debts.repayments()] == [30] and await got_back(world) == STAKE


async def test_a_folder_that_was_restored_does_not_pay_what_was_paid_since(world: World, tmp_path: Path) -> None:
    life = await indebted(world, tmp_path)
    life.earn(10 * STAKE)
    old = (tmp_path / "worker.sqlite").read_bytes()
    await life.looks(3)
    assert await got_back(world) == STAKE
    life.store.close()
    (tmp_path / "restored").mkdir()
    (tmp_path / "restored" / "worker.sqlite").write_bytes(old)
    restored = Life(world, tmp_path / "restored")
    await restored.repayer.begin()
    restored.earn(10 * STAKE)
    await restored.looks(3)
    assert await got_back(world) == STAKE


async def test_a_folder_that_was_lost_owes_nothing_by_itself(world: World, tmp_path: Path) -> None:
    life = await indebted(world, tmp_path)
    claim = Sponsored(STAKE, 0, "", SPONSOR.address, STAKE, 0, life.debt.deposit_tx)
    (tmp_path / "new").mkdir()
    fresh = Life(world, tmp_path / "new")
    await fresh.repayer.asking()
    await fresh.repayer.answered(claim)
    fresh.earn(10 * STAKE)
    await fresh.looks(3)
    assert fresh.debt.refusal and await got_back(world) == 0


async def test_a_file_that_was_removed_is_not_made_by_it_and_what_is_owed_goes_into_the_new_one(
    world: World, tmp_path: Path
) -> None:
    life = await indebted(world, tmp_path)
    for path in tmp_path.glob("worker.sqlite*"):
        path.unlink()
    life.earn(STAKE)
    await life.looks()
    assert not list(tmp_path.glob("worker.sqlite")) and await got_back(world) == 0
    life.store.recreate([])
    life.earn(STAKE)
    await life.looks()
    assert life.debt.given_nrlc == STAKE
    life.earn(STAKE)
    await life.looks()
    assert await got_back(world) == STAKE


async def test_nothing_is_signed_beside_a_transaction_of_this_key_that_nobody_here_knows(
    world: World, tmp_path: Path
) -> None:
    life = await indebted(world, tmp_path)
    life.earn(STAKE)
    world.chain.automine = False
    stray = await world.chain.prepare(calls.transfer_deposit(world.chain.hub, THIRD.address, 1), WORKER)
    await world.chain.broadcast(stray)
    await life.looks()
    assert life.debts.repayments() == () and "1 transactions" in life.repayer.trouble[world.workerpool]
    world.chain.automine = True
    world.chain.mine()
    await life.looks()
    assert await got_back(world) == STAKE and life.repayer.trouble == {}


async def test_a_database_that_cannot_be_written_keeps_the_payment_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = await indebted(world, tmp_path)
    life.earn(STAKE)

    def full(*arguments: object) -> int:
        raise OperationalError("insert", {}, Exception("disk full"))

    with monkeypatch.context() as patched:
        patched.setattr(DebtStore, "add", full)
        await life.looks()
    assert await got_back(world) == 0 and "disk full" in life.repayer.trouble[world.workerpool]
    await life.looks()
    assert await got_back(world) == STAKE


async def test_a_chain_that_does_not_answer_is_waited_for(world: World, tmp_path: Path) -> None:
    life = await indebted(world, tmp_path)
    life.earn(STAKE)
    world.chain.down = True
    await life.looks()
    with pytest.raises(ServiceUnavailable):
        await world.chain.head()
    world.chain.down = False
    await life.looks()
    assert await got_back(world) == STAKE


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
