"""Deposits and withdrawals: `deposit`, `depositFor`, `withdraw`, `withdrawTo`, `recover`."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from tests.contracts.registries import NO_DATA, ChainContract, public_abi, reverts, selector
from tests.contracts.world import Person, World, names

RLC = 10**9


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


def test_a_token_that_answers_false_moves_nothing(world: World, odd: tuple[ChainContract, Any]) -> None:
    hub, token = odd
    hub.call("deposit", 50, sender=world.owner.address)
    token.set_mode(1)
    with reverts("failed-transferFrom"):
        hub.call("deposit", 10, sender=world.owner.address)
    with reverts("failed-transfer"):
        hub.call("withdraw", 10, sender=world.owner.address)
    assert hub.call("balanceOf", world.owner.address) == hub.call("totalSupply") == 50


def test_what_a_token_reverts_with_is_passed_on(world: World, odd: tuple[ChainContract, Any]) -> None:
    hub, token = odd
    hub.call("deposit", 50, sender=world.owner.address)
    token.set_mode(2)
    for function in ("deposit", "withdraw"):
        with reverts("odd"):
            hub.call(function, 10, sender=world.owner.address)
    assert hub.call("balanceOf", world.owner.address) == hub.call("totalSupply") == 50


LOCKED: list[tuple[str, tuple[Any, ...]]] = [
    ("deposit", (0,)),
    ("depositFor", (0, ZERO_ADDRESS)),
    ("depositForArray", ([], [])),
    ("depositWithPermit", (0, 0, 27, ZERO32, ZERO32)),
    ("receiveApproval", (ZERO_ADDRESS, 0, ZERO_ADDRESS, b"")),
    ("withdraw", (0,)),
    ("withdrawTo", (0, ZERO_ADDRESS)),
    ("recover", ()),
]


@pytest.mark.parametrize(("inner", "arguments"), LOCKED, ids=[name for name, _ in LOCKED])
@pytest.mark.parametrize("function", ["deposit", "withdraw"])
def test_a_token_that_calls_back_finds_the_doors_closed(
    world: World, odd: tuple[ChainContract, Any], inner: str, arguments: tuple[Any, ...], function: str
) -> None:
    hub, token = odd
    hub.call("deposit", 50, sender=world.owner.address)
    token.call_back(public_abi("hub").encode_call(inner, arguments), False)
    with reverts(NO_DATA):
        hub.call(function, 10, sender=world.owner.address)
    assert hub.call("totalSupply") == 50
    token.set_mode(0)
    hub.call(function, 10, sender=world.owner.address)


@pytest.mark.parametrize("function", ["deposit", "withdraw"])
def test_a_token_that_moves_money_inside_meanwhile_finds_the_books_in_order(
    world: World, odd: tuple[ChainContract, Any], function: str
) -> None:
    """Transfers inside the escrow take no lock: debits stand before, and credits come after, the token is called."""
    hub, token = odd
    hub.call("deposit", 50, sender=world.owner.address)
    hub.call("approve", str(token.address), 50, sender=world.owner.address)
    take_all = (world.owner.address, world.stranger.address, 50)
    token.call_back(public_abi("hub").encode_call("transferFrom", take_all), True)
    hub.call(function, 10, sender=world.owner.address)
    assert token.succeeded() is (function == "deposit")
    mine, theirs = (hub.call("balanceOf", person.address) for person in (world.owner, world.stranger))
    assert (mine, theirs) == ((10, 50) if function == "deposit" else (40, 0))
    assert mine + theirs == hub.call("totalSupply") == token.balanceOf(hub.address)


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
