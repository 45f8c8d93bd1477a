"""`depositForArray`: one token transfer and one credit for each element, or nothing at all."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum
from tests.contracts.registries import NO_DATA, ChainContract, public_abi, reverts
from tests.contracts.world import Person, World, names

BOUND = 256


def many(count: int) -> list[str]:
    """So many accounts."""
    return [checksum(f"0x{number:040x}") for number in range(1_000, 1_000 + count)]


@pytest.fixture
def payer(world: World, holder: Person) -> Person:
    """Allows the hub to take 1,000 nRLC."""
    world.rlc.call("approve", world.hub.address, 1_000, sender=holder.address)
    return holder


def test_each_target_is_credited_by_a_transfer_of_its_own(world: World, payer: Person) -> None:
    targets = [world.stranger.address, world.requester.address, world.stranger.address]
    answer, logs = world.hub.transact("depositForArray", [3, 0, 4], targets, sender=payer.address)
    assert answer is True
    assert (world.balance(world.stranger), world.balance(world.requester), world.balance(payer)) == (7, 0, 0)
    assert names(logs) == ["Transfer"] * 6
    assert [log.address for log in logs] == [world.rlc.address, world.hub.address] * 3
    assert [log.arguments["value"] for log in logs] == [3, 3, 0, 0, 4, 4]
    assert [log.arguments["from"] for log in logs] == [payer.address, ZERO_ADDRESS] * 3
    world.check_money(payer)


def test_two_empty_arrays_are_a_deposit_of_nothing(world: World, payer: Person) -> None:
    answer, logs = world.hub.transact("depositForArray", [], [], sender=payer.address)
    assert (answer, logs) == (True, [])


@pytest.mark.parametrize(("amounts", "targets"), [([1], []), ([], [ZERO_ADDRESS]), ([1, 2], many(3))])
def test_arrays_of_different_lengths_are_refused(
    world: World, payer: Person, amounts: list[int], targets: list[str]
) -> None:
    with reverts("invalid-array-length"):
        world.hub.call("depositForArray", amounts, targets, sender=payer.address)


def test_one_element_too_dear_undoes_them_all(world: World, payer: Person) -> None:
    targets = [world.stranger.address, world.requester.address]
    with reverts(NO_DATA):
        world.hub.call("depositForArray", [999, 2], targets, sender=payer.address)
    assert (world.balance(world.stranger), world.hub.call("totalSupply")) == (0, 0)
    world.hub.call("depositForArray", [999, 1], targets, sender=payer.address)
    assert (world.balance(world.stranger), world.balance(world.requester)) == (999, 1)


def test_one_element_for_nobody_undoes_them_all(world: World, payer: Person) -> None:
    with reverts("ERC20: mint to the zero address"):
        world.hub.call("depositForArray", [1, 1], [world.stranger.address, ZERO_ADDRESS], sender=payer.address)
    assert world.balance(world.stranger) == 0


def test_an_array_has_at_most_256_elements(world: World, payer: Person) -> None:
    targets = many(BOUND)
    world.hub.call("depositForArray", [2] * BOUND, targets, sender=payer.address)
    assert [world.balance(target) for target in (targets[0], targets[-1])] == [2, 2]
    world.check_money(payer, *targets)
    with reverts(NO_DATA):
        world.hub.call("depositForArray", [0] * (BOUND + 1), many(BOUND + 1), sender=payer.address)


def test_a_token_that_refuses_or_fails_moves_nothing(world: World, odd: tuple[ChainContract, Any]) -> None:
    hub, token = odd
    targets = [world.stranger.address, world.requester.address]
    for mode, reason in ((1, "failed-transferFrom"), (2, "odd")):
        token.set_mode(mode)
        with reverts(reason):
            hub.call("depositForArray", [1, 2], targets, sender=world.owner.address)
    assert hub.call("totalSupply") == token.balanceOf(hub.address) == 0


def test_a_token_cannot_slip_in_between_two_elements(world: World, odd: tuple[ChainContract, Any]) -> None:
    """`recover` in between would credit what the next credit is for."""
    hub, token = odd
    token.call_back(public_abi("hub").encode_call("recover", ()), True)
    hub.call("depositForArray", [1, 2], [world.stranger.address, world.requester.address], sender=world.owner.address)
    assert (token.called(), token.succeeded(), token.answer()) == (True, False, b"")
    assert hub.call("totalSupply") == token.balanceOf(hub.address) == 3
