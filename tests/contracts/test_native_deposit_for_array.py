"""`depositForArray` of native coins: parts of the coins for several, the rest back."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum
from tests.contracts.native_world import WEI_PER_NRLC, NativeWorld
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Person, mock, names

COINS = 10**18
GWEI = WEI_PER_NRLC
BOUND = 256


def many(count: int) -> list[str]:
    """So many accounts."""
    return [checksum(f"0x{number:040x}") for number in range(1_000, 1_000 + count)]


@pytest.fixture
def payer(native: NativeWorld) -> Person:
    """Somebody with coins."""
    person = Person("payer")
    boa.env.set_balance(person.address, COINS)
    return person


def deposit(native: NativeWorld, payer: Person, amounts: list[int], targets: list[str], wei: int) -> Any:
    """The events."""
    answer, logs = native.escrow.transact("depositForArray", amounts, targets, sender=payer.address, value=wei)
    assert answer is True
    return logs


@pytest.mark.parametrize("rest", [0, 1, GWEI, 5 * GWEI + 7])
def test_each_target_is_credited_and_the_rest_comes_back(native: NativeWorld, payer: Person, rest: int) -> None:
    targets = [native.stranger.address, native.requester.address, native.stranger.address]
    logs = deposit(native, payer, [3, 0, 4], targets, 7 * GWEI + rest)
    assert names(logs) == ["Transfer"] * 3
    assert [log.arguments["to"] for log in logs] == targets
    assert (native.balance(native.stranger), native.balance(native.requester)) == (7, 0)
    assert native.coins(payer) == COINS - 7 * GWEI
    assert native.hub.call("totalSupply") == native.held() == 7
    native.check_money(payer)


def test_two_empty_arrays_give_everything_back(native: NativeWorld, payer: Person) -> None:
    assert deposit(native, payer, [], [], 5 * GWEI + 7) == []
    assert native.coins(payer) == COINS


@pytest.mark.parametrize("missing", [1, GWEI])
def test_too_few_coins_for_all_undo_all(native: NativeWorld, payer: Person, missing: int) -> None:
    targets = [native.stranger.address, native.requester.address]
    with reverts(NO_DATA):
        deposit(native, payer, [3, 4], targets, 7 * GWEI - missing)
    assert (native.hub.call("totalSupply"), native.coins(payer)) == (0, COINS)
    deposit(native, payer, [3, 4], targets, 7 * GWEI)


def test_coins_in_the_escrow_already_do_not_count(native: NativeWorld, payer: Person) -> None:
    native.fund(native.owner, 100)
    with reverts(NO_DATA):
        deposit(native, payer, [1], [payer.address], 0)


@pytest.mark.parametrize("amount", [2**96, 2**256 - 1, 2**256 // GWEI + 1])
def test_an_amount_that_overflows_is_refused(native: NativeWorld, payer: Person, amount: int) -> None:
    with reverts(NO_DATA):
        deposit(native, payer, [amount], [payer.address], GWEI)
    with reverts(NO_DATA):
        deposit(native, payer, [1, amount], [payer.address] * 2, GWEI)


@pytest.mark.parametrize(("amounts", "targets"), [([1], []), ([], [ZERO_ADDRESS]), ([1, 2], many(3))])
def test_arrays_of_different_lengths_are_refused(
    native: NativeWorld, payer: Person, amounts: list[int], targets: list[str]
) -> None:
    with reverts("invalid-array-length"):
        deposit(native, payer, amounts, targets, 10 * GWEI)


def test_one_element_for_nobody_undoes_them_all(native: NativeWorld, payer: Person) -> None:
    with reverts("ERC20: mint to the zero address"):
        deposit(native, payer, [1, 1], [native.stranger.address, ZERO_ADDRESS], 2 * GWEI)
    assert (native.balance(native.stranger), native.coins(payer)) == (0, COINS)


def test_an_array_has_at_most_256_elements(native: NativeWorld, payer: Person) -> None:
    targets = many(BOUND)
    deposit(native, payer, [2] * BOUND, targets, 2 * BOUND * GWEI)
    assert [native.balance(target) for target in (targets[0], targets[-1])] == [2, 2]
    native.check_money(payer, *targets)
    with reverts(NO_DATA):
        deposit(native, payer, [0] * (BOUND + 1), many(BOUND + 1), 0)


def test_targets_are_not_called(native: NativeWorld, payer: Person) -> None:
    receiver = mock("coin_receiver")
    receiver.set_mode(1)
    deposit(native, payer, [3], [str(receiver.address)], 3 * GWEI)
    assert (native.balance(str(receiver.address)), receiver.calls()) == (3, 0)
