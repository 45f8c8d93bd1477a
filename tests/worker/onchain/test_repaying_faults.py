"""A stake is paid back once, through kills, reorganisations, lost nonces and lost folders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from fairgrid.chain import calls
from fairgrid.chain.interface import Call, SignedTransaction
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import ServiceUnavailable
from fairgrid.protocol.pool_messages import Sponsored
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.onchain.repaying import SETTLED_BLOCKS
from fairgrid.worker.records.debts import DebtStore, RepaymentState
from tests.worker.onchain.sponsored import SPONSOR, STAKE, Life, got_back, indebted
from tests.worker.world import THIRD, WORKER, World, new_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world(keep_states=4) as made:
        yield made


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
