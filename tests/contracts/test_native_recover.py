"""`recover` of native coins: what reached the hub without a deposit is the hub owner's."""

from __future__ import annotations

import boa
import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex
from tests.contracts.native_world import WEI_PER_NRLC, NativeWorld
from tests.contracts.registries import Log, reverts

GWEI = WEI_PER_NRLC


def force(native: NativeWorld, how: str, wei: int) -> None:
    """Let coins reach the hub that it does not see."""
    if how == "destroyed":
        native.give_coins(native.stranger, wei)
        # Code that destroys itself at its creation, for the hub.
        code = from_hex("0x73" + native.hub.address[2:] + "ff")
        boa.env.deploy(bytecode=code, value=wei, sender=native.stranger.address)
    else:
        native.give_coins(native.hub.address, wei)


@pytest.mark.parametrize("how", ["destroyed", "mined"])
def test_the_owner_recovers_coins_that_were_forced_upon_the_hub(native: NativeWorld, how: str) -> None:
    native.fund(native.requester, 10)
    force(native, how, 13 * GWEI + 5)
    assert native.coins(native.hub.address) == 23 * GWEI + 5
    native.check_money()
    with reverts("Ownable: caller is not the owner"):
        native.hub.call("recover", sender=native.stranger.address)
    answer, logs = native.hub.transact("recover", sender=native.owner.address)
    assert answer == 13
    minted = {"from": ZERO_ADDRESS, "to": native.owner.address, "value": 13}
    assert logs == [Log(native.hub.address, "Transfer", minted)]
    assert (native.balance(native.owner), native.balance(native.requester)) == (13, 10)
    native.check_money()
    assert native.hub.call("recover", sender=native.owner.address) == 0
    native.escrow.call("withdraw", 13, sender=native.owner.address)
    native.escrow.call("withdraw", 10, sender=native.requester.address)
    assert native.coins(native.hub.address) == 5


@pytest.mark.parametrize(("wei", "credit"), [(GWEI - 1, 0), (GWEI, 1)])
def test_less_than_one_nrlc_stays_until_more_comes(native: NativeWorld, wei: int, credit: int) -> None:
    force(native, "mined", wei)
    assert native.hub.call("recover", sender=native.owner.address) == credit
    force(native, "mined", 2 * GWEI - wei)
    assert native.hub.call("recover", sender=native.owner.address) == 2 - credit


def test_locked_money_is_not_recovered(native: NativeWorld) -> None:
    native.deal()
    assert native.hub.call("recover", sender=native.owner.address) == 0


def test_forced_coins_are_nobodys_deposit_and_no_change(native: NativeWorld) -> None:
    force(native, "mined", 100 * GWEI)
    native.give_coins(native.stranger, GWEI + 1)
    native.escrow.call("deposit", sender=native.stranger.address, value=GWEI + 1)
    assert (native.balance(native.stranger), native.coins(native.stranger)) == (1, 1)
    assert native.hub.call("recover", sender=native.owner.address) == 100
