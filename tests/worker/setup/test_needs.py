"""What is missing is named with its number and its remedy; what is there is not asked for."""

from __future__ import annotations

from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.setup.needs import needs_on_chain
from tests.worker.world import WORKER, new_world


async def test_a_worker_with_coins_and_deposit_lacks_nothing() -> None:
    async with new_world() as world:
        needs = await needs_on_chain(
            world.chain, key=WORKER.address, worker=WORKER.address, workerpool=world.workerpool
        )
    assert [need.name for need in needs] == ["coins", "deposit"]
    assert all(need.is_there and not need.remedy for need in needs)


async def test_a_newcomer_is_told_what_to_send_where() -> None:
    newcomer = KeySigner.generate().address
    async with new_world() as world:
        world.chain.set_balance(newcomer, 0)
        coins, deposit = await needs_on_chain(world.chain, key=newcomer, worker=newcomer, workerpool=world.workerpool)
    assert not coins.is_there and newcomer in coins.remedy and "--sponsor" in coins.remedy
    assert not deposit.is_there and "30 %" in deposit.remedy and newcomer in deposit.remedy
