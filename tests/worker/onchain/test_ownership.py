"""A cold owner's worker: the role account stakes and is paid, the key on the machine works and can do no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.chain import calls
from fairgrid.errors import ContractReverted, UsageError
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.views import ContributionStatus, RoleAccount
from fairgrid.protocol.worker_messages import Contributed, Ready, Revealed, Seal
from fairgrid.worker.onchain.ownership import (
    Ownership,
    check_ownership,
    load_ownership,
    own_key,
    save_ownership,
    sign_ownership,
)
from tests.worker.fake_pool import FakePool
from tests.worker.world import ADMIN, OTHER, THIRD, WORKER, AgentSetting, World, new_world, running

ACCOUNT = checksum("0x" + "ac" * 20)
COLD = THIRD


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world() as made:
        made.chain.role_accounts[ACCOUNT] = RoleAccount(COLD.address, WORKER.address, 1)
        await made.chain.transact(calls.deposit_for(made.chain.hub, 1_000, ACCOUNT), ADMIN)
        yield made


def ownership(world: World) -> Ownership:
    return sign_ownership(COLD, ACCOUNT, world.workerpool, chain_id=world.chain.chain_id, hub=world.chain.hub)


async def test_the_account_contributes_reveals_and_stakes_and_the_key_owns_nothing(
    world: World, tmp_path: Path
) -> None:
    lease = await world.task()
    before = await world.chain.view_account(WORKER.address)
    async with FakePool(chain_id=world.chain.chain_id, hub=world.chain.hub, workerpool=world.workerpool) as pool:
        setting = AgentSetting(folder=tmp_path, url=pool.url, ownership=ownership(world))
        async with running(world, setting):
            await pool.expect(Ready)
            enrolment = pool.enrolments[0]
            assert (enrolment.owner, enrolment.worker) == (COLD.address, ACCOUNT)
            await pool.send(lease)
            await pool.expect(Seal)
            await pool.send(world.authorisation_for(lease, ACCOUNT))
            await pool.expect(Contributed)
            await pool.expect(Revealed)
    mine = await world.chain.view_contribution(lease.task_id, ACCOUNT)
    assert mine.status is ContributionStatus.PROVED
    assert (await world.chain.view_account(ACCOUNT)).locked > 0
    assert await world.chain.view_account(WORKER.address) == before


async def test_a_key_that_is_not_the_operator_cannot_contribute_through_the_account(world: World) -> None:
    lease = await world.task()
    call = calls.contribute(ACCOUNT, lease.task_id, "0x" + "11" * 32, "0x" + "22" * 32, "0x" + "33" * 65)
    with pytest.raises(ContractReverted, match="lacks the role"):
        await world.chain.prepare(call, OTHER)


async def test_an_enrolment_that_fits_the_chain_is_taken_and_survives_its_file(world: World, tmp_path: Path) -> None:
    signed = ownership(world)
    await check_ownership(signed, world.chain, key=WORKER.address, workerpool=world.workerpool)
    save_ownership(signed, tmp_path / "owner.json")
    assert load_ownership(tmp_path / "owner.json") == signed
    assert signed.entry(WORKER.address) == ACCOUNT
    alone = own_key(WORKER, world.workerpool, chain_id=world.chain.chain_id, hub=world.chain.hub)
    assert alone.entry(WORKER.address) == world.chain.hub


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chain_id": 1}, "on chain 1"),
        ({"hub": ACCOUNT}, "with hub"),
        ({"workerpool": ACCOUNT}, "enrolled this worker at"),
        ({"worker": OTHER.address}, "no role account"),
        ({"owner": OTHER.address}, "belongs to"),
        ({"signature": "0x" + "11" * 65}, "not signed by"),
    ],
)
async def test_an_enrolment_for_something_else_is_refused(world: World, change: dict[str, object], reason: str) -> None:
    wrong = replace(ownership(world), **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=reason):
        await check_ownership(wrong, world.chain, key=WORKER.address, workerpool=world.workerpool)


@pytest.mark.parametrize(
    "account",
    [RoleAccount(COLD.address, OTHER.address, 1), RoleAccount(COLD.address, WORKER.address, 2)],
    ids=["another operator", "another role"],
)
async def test_an_account_that_does_not_let_this_key_work_is_refused(world: World, account: RoleAccount) -> None:
    world.chain.role_accounts[ACCOUNT] = account
    with pytest.raises(UsageError, match="setOperator"):
        await check_ownership(ownership(world), world.chain, key=WORKER.address, workerpool=world.workerpool)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"owner": "0x12"}'])
def test_a_file_that_is_no_enrolment_names_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "owner.json").write_text(text)
    with pytest.raises(UsageError, match="worker enrol"):
        load_ownership(tmp_path / "owner.json")
