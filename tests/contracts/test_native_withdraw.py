"""Native coins out of the escrow: `withdraw`, `withdrawTo`."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.contracts.native_world import WEI_PER_NRLC, NativeWorld
from tests.contracts.registries import NO_DATA, Log, Reverted, public_abi, reverts
from tests.contracts.world import mock

GWEI = WEI_PER_NRLC


@pytest.fixture
def receiver(native: NativeWorld) -> Any:
    """A contract that owns the hub and has 10 nRLC in its account; what it does with coins can be chosen."""
    contract = mock("coin_receiver")
    native.fund(str(contract.address), 10)
    native.hub.call("transferOwnership", str(contract.address), sender=native.owner.address)
    return contract


def test_a_withdrawal_pays_coins(native: NativeWorld) -> None:
    native.fund(native.stranger, 10)
    answer, logs = native.escrow.transact("withdraw", 4, sender=native.stranger.address)
    assert answer is True
    burnt = {"from": native.stranger.address, "to": ZERO_ADDRESS, "value": 4}
    assert logs == [Log(native.hub.address, "Transfer", burnt)]
    assert (native.balance(native.stranger), native.coins(native.stranger)) == (6, 4 * GWEI)
    assert native.hub.call("totalSupply") == native.held() == 6
    native.check_money()


def test_a_withdrawal_to_somebody_else(native: NativeWorld) -> None:
    native.fund(native.stranger, 10)
    assert native.escrow.call("withdrawTo", 10, native.requester.address, sender=native.stranger.address) is True
    assert (native.balance(native.stranger), native.coins(native.requester)) == (0, 10 * GWEI)
    assert native.coins(native.stranger) == native.coins(native.hub.address) == 0


@pytest.mark.parametrize("amount", [11, 2**96, 2**256 - 1, 2**256 // GWEI + 1])
def test_more_than_the_balance_cannot_be_withdrawn(native: NativeWorld, amount: int) -> None:
    native.fund(native.stranger, 10)
    native.fund(native.requester, 10)
    with reverts(NO_DATA):
        native.escrow.call("withdraw", amount, sender=native.stranger.address)
    with reverts(NO_DATA):
        native.escrow.call("withdrawTo", amount, native.stranger.address, sender=native.stranger.address)


def test_locked_money_cannot_be_withdrawn(native: NativeWorld) -> None:
    native.fund(native.requester, 11_001)
    native.fund(native.scheduler)
    native.match(native.orders())
    with reverts(NO_DATA):
        native.escrow.call("withdraw", 1, sender=native.requester.address)


def test_nothing_can_be_withdrawn(native: NativeWorld) -> None:
    assert native.escrow.call("withdraw", 0, sender=native.stranger.address) is True


@pytest.mark.parametrize("function", ["withdraw", "withdrawTo"])
def test_who_takes_no_coins_keeps_its_account(native: NativeWorld, receiver: Any, function: str) -> None:
    address = str(receiver.address)
    receiver.set_mode(1)
    target = (address,) if function == "withdrawTo" else ()
    with reverts("native-transfer-failed"):
        native.escrow.call(function, 4, *target, sender=address)
    assert native.balance(address) == native.held() == 10
    assert native.escrow.call("withdrawTo", 4, native.stranger.address, sender=address) is True


INNER: dict[str, tuple[str, tuple[Any, ...]]] = {
    "deposit": ("deposit", ()),
    "depositFor": ("depositFor", (ZERO_ADDRESS,)),
    "depositForArray": ("depositForArray", ([], [])),
    "withdraw": ("withdraw", (4,)),
    "withdrawTo": ("withdrawTo", (4, ZERO_ADDRESS)),
    "recover": ("recover", ()),
}


@pytest.mark.parametrize("inner", [*INNER, "plain", "unknown"])
def test_who_is_paid_finds_the_doors_closed(native: NativeWorld, receiver: Any, inner: str) -> None:
    """It could withdraw nothing twice anyhow, because the debit stands; but it cannot even ask."""
    address = str(receiver.address)
    inside = {"plain": b"", "unknown": b"\xde\xad\xbe\xef"}
    data = inside[inner] if inner in inside else public_abi("hub_escrow_native").encode_call(*INNER[inner])
    coins = 0 if inner in ("withdraw", "withdrawTo", "recover") else GWEI
    receiver.call_back(data, coins, False)
    with reverts("native-transfer-failed"):
        native.escrow.call("withdraw", 4, sender=address)
    assert native.balance(address) == native.held() == 10

    receiver.call_back(data, coins, True)
    native.escrow.call("withdraw", 4, sender=address)
    assert (receiver.calls(), receiver.succeeded(), receiver.answer()) == (1, False, b"")
    assert native.balance(address) == native.held() == native.hub.call("totalSupply") == 6
    assert native.coins(address) == 4 * GWEI
    native.check_money(address)


@pytest.mark.parametrize("amount", [6, 7])
def test_who_is_paid_can_move_only_what_is_left(native: NativeWorld, receiver: Any, amount: int) -> None:
    """Transfers inside take no lock, and the debit stands before the coins are sent."""
    address = str(receiver.address)
    receiver.call_back(public_abi("hub").encode_call("transfer", (native.requester.address, amount)), 0, True)
    native.escrow.call("withdraw", 4, sender=address)
    assert receiver.succeeded() is (amount == 6)
    assert native.balance(native.requester) == (6 if amount == 6 else 0)
    native.check_money(address)


def test_the_hub_is_paid_nothing(native: NativeWorld) -> None:
    """It would have to deposit what it is sent, and its doors are closed."""
    native.fund(native.stranger, 10)
    with reverts("native-transfer-failed"):
        native.escrow.call("withdrawTo", 4, native.hub.address, sender=native.stranger.address)
    native.check_money()


def test_an_answer_of_any_length_costs_nothing_and_changes_nothing(native: NativeWorld) -> None:
    """Code that answers whatever it is sent with 100 kB."""
    talker, _ = boa.env.deploy(bytecode=bytes.fromhex("65620186a05ff35f526006601af3"))
    native.fund(native.stranger, 10)
    assert native.escrow.call("withdrawTo", 4, str(talker), sender=native.stranger.address) is True
    assert native.coins(str(talker)) == 4 * GWEI
    native.check_money()


def test_an_escrow_of_coins_has_no_token_and_takes_no_approvals(native: NativeWorld) -> None:
    assert native.hub.call("token") == ZERO_ADDRESS
    with pytest.raises(Reverted):
        # `receiveApproval` is a deposit of nothing, sent back to the token, which takes no coins.
        native.rlc.call("approveAndCall", native.hub.address, 1, b"", sender=native.owner.address)
