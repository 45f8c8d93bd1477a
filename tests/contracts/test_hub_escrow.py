"""Deposits and withdrawals: `deposit`, `depositFor`, `receiveApproval`, `withdraw`, `withdrawTo`, `recover`."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.contracts.hub_parts import create_hub
from tests.contracts.registries import NO_DATA, ChainContract, deploy_contract, reverts, selector
from tests.contracts.world import Person, World, mock, names

RLC = 10**9


@pytest.fixture
def holder(world: World) -> Person:
    """Somebody with 100 RLC outside the escrow."""
    person = Person("holder")
    world.rlc.call("transfer", person.address, 100 * RLC, sender=world.owner.address)
    return person


def _outside(world: World, person: Person | str) -> int:
    address = person if isinstance(person, str) else person.address
    return int(world.rlc.call("balanceOf", address))


def _approve(world: World, person: Person, amount: int) -> None:
    world.rlc.call("approve", world.hub.address, amount, sender=person.address)


# --- deposit --------------------------------------------------------------------------------------------------------


def test_a_deposit_becomes_free_money(world: World, holder: Person) -> None:
    supply = world.hub.call("totalSupply")
    _approve(world, holder, 60 * RLC)
    answer, logs = world.hub.transact("deposit", 60 * RLC, sender=holder.address)
    assert answer is True
    assert (world.balance(holder), world.frozen(holder), _outside(world, holder)) == (60 * RLC, 0, 40 * RLC)
    assert world.hub.call("totalSupply") == supply + 60 * RLC
    assert names(logs) == ["Transfer", "Transfer"]
    assert logs[-1].address == world.hub.address
    assert logs[-1].arguments == {"from": ZERO_ADDRESS, "to": holder.address, "value": 60 * RLC}
    assert world.view("viewAccount", holder.address).stake == 60 * RLC


def test_a_deposit_of_nothing_is_one(world: World, holder: Person) -> None:
    _, logs = world.hub.transact("deposit", 0, sender=holder.address)
    assert logs[-1].arguments["value"] == 0


def test_a_deposit_that_was_not_approved_is_refused(world: World, holder: Person) -> None:
    _approve(world, holder, 5)
    with reverts(NO_DATA):
        world.hub.call("deposit", 6, sender=holder.address)
    assert world.balance(holder) == 0


def test_a_deposit_beyond_the_balance_is_refused(world: World, holder: Person) -> None:
    _approve(world, holder, 101 * RLC)
    with reverts(NO_DATA):
        world.hub.call("deposit", 101 * RLC, sender=holder.address)


def test_a_deposit_for_somebody_else_is_paid_by_the_caller(world: World, holder: Person) -> None:
    _approve(world, holder, 7)
    assert world.hub.call("depositFor", 7, world.stranger.address, sender=holder.address) is True
    assert (world.balance(holder), world.balance(world.stranger)) == (0, 7)


def test_a_deposit_for_nobody_is_refused(world: World, holder: Person) -> None:
    _approve(world, holder, 7)
    with reverts("ERC20: mint to the zero address"):
        world.hub.call("depositFor", 7, ZERO_ADDRESS, sender=holder.address)
    assert _outside(world, holder) == 100 * RLC


# --- approveAndCall of the token ------------------------------------------------------------------------------------


def test_one_transaction_of_the_token_approves_and_deposits(world: World, holder: Person) -> None:
    world.rlc.call("approveAndCall", world.hub.address, 9, b"", sender=holder.address)
    assert (world.balance(holder), _outside(world, holder)) == (9, 100 * RLC - 9)


def test_another_token_is_refused(world: World, holder: Person) -> None:
    _approve(world, holder, 9)
    with reverts("wrong-token"):
        world.hub.call("receiveApproval", holder.address, 9, world.stranger.address, b"", sender=world.rlc.address)


def test_anybody_can_deposit_what_somebody_approved_and_only_into_its_account(world: World, holder: Person) -> None:
    _approve(world, holder, 9)
    arguments = (holder.address, 9, world.rlc.address, b"")
    assert world.hub.call("receiveApproval", *arguments, sender=world.stranger.address) is True
    assert (world.balance(holder), world.balance(world.stranger)) == (9, 0)
    with reverts(NO_DATA):
        world.hub.call("receiveApproval", *arguments, sender=world.stranger.address)


@pytest.mark.parametrize("data", [b"\x01\x02\x03\x04", b"\x01\x02\x03\x04" + bytes(100)])
def test_data_names_an_operation_that_does_not_exist(world: World, holder: Person, data: bytes) -> None:
    _approve(world, holder, 9)
    with reverts("UnsupportedOperation(0x01020304)"):
        world.hub.call("receiveApproval", holder.address, 9, world.rlc.address, data, sender=world.rlc.address)
    assert world.balance(holder) == 0


@pytest.mark.parametrize("data", [b"\x01", b"\x01\x02\x03"])
def test_data_too_short_for_an_operation_reverts_without_data(world: World, holder: Person, data: bytes) -> None:
    _approve(world, holder, 9)
    with reverts(NO_DATA):
        world.hub.call("receiveApproval", holder.address, 9, world.rlc.address, data, sender=world.rlc.address)


# --- withdraw -------------------------------------------------------------------------------------------------------


def test_a_withdrawal_pays_out(world: World) -> None:
    world.fund(world.stranger, 10)
    supply = world.hub.call("totalSupply")
    answer, logs = world.hub.transact("withdraw", 4, sender=world.stranger.address)
    assert answer is True
    assert (world.balance(world.stranger), _outside(world, world.stranger)) == (6, 4)
    assert world.hub.call("totalSupply") == supply - 4
    assert logs[0].arguments == {"from": world.stranger.address, "to": ZERO_ADDRESS, "value": 4}


def test_a_withdrawal_to_somebody_else(world: World) -> None:
    world.fund(world.stranger, 10)
    assert world.hub.call("withdrawTo", 10, world.requester.address, sender=world.stranger.address) is True
    assert (world.balance(world.stranger), _outside(world, world.requester)) == (0, 10)


def test_more_than_the_balance_cannot_be_withdrawn(world: World) -> None:
    world.fund(world.stranger, 10)
    with reverts(NO_DATA):
        world.hub.call("withdraw", 11, sender=world.stranger.address)
    with reverts(NO_DATA):
        world.hub.call("withdrawTo", 11, world.stranger.address, sender=world.stranger.address)


def test_locked_money_cannot_be_withdrawn(world: World) -> None:
    world.fund(world.requester, 11_001)
    world.fund(world.scheduler)
    world.match(world.orders())
    with reverts(NO_DATA):
        world.hub.call("withdraw", 1, sender=world.requester.address)


# --- recover --------------------------------------------------------------------------------------------------------


def test_the_owner_recovers_what_was_sent_without_a_deposit(world: World, holder: Person) -> None:
    world.rlc.call("transfer", world.hub.address, 13, sender=holder.address)
    with reverts("Ownable: caller is not the owner"):
        world.hub.call("recover", sender=holder.address)
    before = world.balance(world.owner)
    assert world.hub.call("recover", sender=world.owner.address) == 13
    assert world.balance(world.owner) - before == 13
    assert world.hub.call("recover", sender=world.owner.address) == 0
    assert world.hub.call("totalSupply") == _outside(world, world.hub.address)


# --- tokens that behave oddly ---------------------------------------------------------------------------------------


@pytest.fixture
def odd(world: World) -> tuple[ChainContract, Any]:
    """A hub over a token of our own making, in which the owner has 100."""
    token = mock("odd_token")
    registries = {kind: registry.address for kind, registry in world.registries.items()}
    parts = create_hub(
        lambda name, **arguments: deploy_contract(name, **arguments).address,
        owner=str(token.address),
        base_token=str(token.address),
        registries=registries,
    )
    hub = ChainContract("hub", parts["hub"])
    token.give(world.owner.address, 100)
    return hub, token


def test_a_token_that_answers_false_moves_nothing(world: World, odd: tuple[ChainContract, Any]) -> None:
    hub, token = odd
    hub.call("deposit", 50, sender=world.owner.address)
    token.set_mode(1)
    with reverts("failed-transferFrom"):
        hub.call("deposit", 10, sender=world.owner.address)
    with reverts("failed-transfer"):
        hub.call("withdraw", 10, sender=world.owner.address)
    assert hub.call("balanceOf", world.owner.address) == hub.call("totalSupply") == 50


@pytest.mark.parametrize("mode", [2, 3, 4])
@pytest.mark.parametrize("function", ["deposit", "withdraw"])
def test_a_token_that_calls_back_finds_the_doors_closed(
    world: World, odd: tuple[ChainContract, Any], mode: int, function: str
) -> None:
    hub, token = odd
    hub.call("deposit", 50, sender=world.owner.address)
    token.set_mode(mode)
    with reverts(NO_DATA):
        hub.call(function, 10, sender=world.owner.address)
    token.set_mode(0)
    hub.call(function, 10, sender=world.owner.address)


def test_the_supply_stays_below_its_bound(world: World, odd: tuple[ChainContract, Any]) -> None:
    hub, token = odd
    token.give(world.owner.address, 2**100)
    hub.call("deposit", 2**96 - 1, sender=world.owner.address)
    with reverts(NO_DATA):
        hub.call("deposit", 1, sender=world.owner.address)
    hub.call("withdraw", 2**96 - 1, sender=world.owner.address)
    assert hub.call("totalSupply") == 0


# --- coins and unknown functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x01", bytes.fromhex("d0e30db0"), b"\xff" * 40])
def test_coins_and_unknown_functions_are_refused(world: World, data: bytes) -> None:
    boa.env.set_balance(world.stranger.address, 100)
    for coins in (0, 5):
        computation = boa.env.execute_code(
            to_address=world.hub.address, sender=world.stranger.address, data=data, value=coins
        )
        assert computation.is_error
        assert b"fallback-disabled" in computation.output


@pytest.mark.parametrize("signature", ["deposit(uint256)", "owner()", "claim(bytes32)", "computeDealVolume()"])
def test_no_function_takes_coins(world: World, signature: str) -> None:
    boa.env.set_balance(world.stranger.address, 100)
    data = bytes.fromhex(selector(signature)[2:]) + bytes(64)
    computation = boa.env.execute_code(to_address=world.hub.address, sender=world.stranger.address, data=data, value=5)
    assert computation.is_error
