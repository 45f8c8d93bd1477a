"""The ERC-20 surface of the escrow."""

from __future__ import annotations

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.contracts.registries import NO_DATA, Log, reverts
from tests.contracts.world import Person, World, mock

ALICE, BOB, CAROL = Person("alice"), Person("bob"), Person("carol")


@pytest.fixture
def funded(world: World) -> World:
    world.fund(ALICE, 100)
    return world


def _events(logs: list[Log]) -> list[tuple[str, object]]:
    return [(log.name, log.arguments) for log in logs]


def test_metadata(world: World) -> None:
    assert [world.hub.call(name) for name in ("name", "symbol", "decimals", "token")] == [
        "Staked RLC",
        "SRLC",
        9,
        world.rlc.address,
    ]


def test_a_transfer_moves_free_money(funded: World) -> None:
    answer, logs = funded.hub.transact("transfer", BOB.address, 40, sender=ALICE.address)
    assert answer is True
    assert (funded.balance(ALICE), funded.balance(BOB)) == (60, 40)
    assert _events(logs) == [("Transfer", {"from": ALICE.address, "to": BOB.address, "value": 40})]


def test_a_transfer_to_oneself_changes_nothing(funded: World) -> None:
    funded.hub.call("transfer", ALICE.address, 100, sender=ALICE.address)
    assert funded.balance(ALICE) == 100


def test_a_transfer_beyond_the_balance_is_refused(funded: World) -> None:
    with reverts(NO_DATA):
        funded.hub.call("transfer", BOB.address, 101, sender=ALICE.address)


def test_a_transfer_to_or_from_nobody_is_refused(funded: World) -> None:
    with reverts("ERC20: transfer to the zero address"):
        funded.hub.call("transfer", ZERO_ADDRESS, 1, sender=ALICE.address)
    with reverts("ERC20: transfer from the zero address"):
        funded.hub.call("transfer", ALICE.address, 0, sender=ZERO_ADDRESS)
    with reverts("ERC20: transfer from the zero address"):
        funded.hub.call("transferFrom", ZERO_ADDRESS, BOB.address, 0, sender=ALICE.address)


def test_locked_money_does_not_move(world: World) -> None:
    world.fund(world.requester, 11_001)
    world.fund(world.scheduler)
    world.match(world.orders())
    with reverts(NO_DATA):
        world.hub.call("transfer", BOB.address, 1, sender=world.requester.address)


def test_a_transfer_keeps_score_and_locked_money_of_both(world: World) -> None:
    world.task()
    world.set_score(world.requester, 5)
    world.set_score(world.scheduler, 6)
    frozen = world.frozen(world.requester), world.frozen(world.scheduler)
    world.hub.call("transfer", world.scheduler.address, 7, sender=world.requester.address)
    assert (world.score(world.requester), world.score(world.scheduler)) == (5, 6)
    assert (world.frozen(world.requester), world.frozen(world.scheduler)) == frozen


def test_an_approval_is_set_raised_and_lowered(funded: World) -> None:
    hub = funded.hub
    steps = (("approve", 10, 10), ("increaseAllowance", 5, 15), ("decreaseAllowance", 15, 0), ("approve", 3, 3))
    for function, amount, after in steps:
        answer, logs = hub.transact(function, BOB.address, amount, sender=ALICE.address)
        assert answer is True
        assert _events(logs) == [("Approval", {"owner": ALICE.address, "spender": BOB.address, "value": after})]
        assert hub.call("allowance", ALICE.address, BOB.address) == after
    assert hub.call("allowance", BOB.address, ALICE.address) == 0


def test_an_allowance_does_not_go_below_zero_or_over_the_top(funded: World) -> None:
    funded.hub.call("approve", BOB.address, 10, sender=ALICE.address)
    with reverts(NO_DATA):
        funded.hub.call("decreaseAllowance", BOB.address, 11, sender=ALICE.address)
    with reverts(NO_DATA):
        funded.hub.call("increaseAllowance", BOB.address, 2**256 - 1, sender=ALICE.address)


@pytest.mark.parametrize("function", ["approve", "increaseAllowance", "decreaseAllowance"])
def test_nobody_is_neither_owner_nor_spender(funded: World, function: str) -> None:
    with reverts("ERC20: approve to the zero address"):
        funded.hub.call(function, ZERO_ADDRESS, 0, sender=ALICE.address)
    with reverts("ERC20: approve from the zero address"):
        funded.hub.call(function, BOB.address, 0, sender=ZERO_ADDRESS)


def test_below_zero_is_noticed_before_nobody(funded: World) -> None:
    with reverts(NO_DATA):
        funded.hub.call("decreaseAllowance", ZERO_ADDRESS, 1, sender=ALICE.address)


def test_a_spender_moves_what_was_approved(funded: World) -> None:
    funded.hub.call("approve", BOB.address, 30, sender=ALICE.address)
    answer, logs = funded.hub.transact("transferFrom", ALICE.address, CAROL.address, 10, sender=BOB.address)
    assert answer is True
    assert _events(logs) == [
        ("Transfer", {"from": ALICE.address, "to": CAROL.address, "value": 10}),
        ("Approval", {"owner": ALICE.address, "spender": BOB.address, "value": 20}),
    ]
    assert (funded.balance(ALICE), funded.balance(CAROL)) == (90, 10)
    with reverts(NO_DATA):
        funded.hub.call("transferFrom", ALICE.address, CAROL.address, 21, sender=BOB.address)
    with reverts(NO_DATA):
        funded.hub.call("transferFrom", ALICE.address, CAROL.address, 1, sender=CAROL.address)


def test_no_allowance_is_unlimited(funded: World) -> None:
    funded.hub.call("approve", BOB.address, 2**256 - 1, sender=ALICE.address)
    funded.hub.call("transferFrom", ALICE.address, CAROL.address, 1, sender=BOB.address)
    assert funded.hub.call("allowance", ALICE.address, BOB.address) == 2**256 - 2


def test_approve_and_call_tells_the_spender(funded: World) -> None:
    spender = mock("spender", True)
    arguments = (str(spender.address), 12, b"note")
    assert funded.hub.call("approveAndCall", *arguments, sender=ALICE.address) is True
    assert funded.balance(str(spender.address)) == 12
    assert funded.hub.call("allowance", ALICE.address, str(spender.address)) == 0
    assert spender.data() == b"note"


def test_a_spender_that_refuses_undoes_the_approval(funded: World) -> None:
    spender = str(mock("spender", False).address)
    with reverts("approval-refused"):
        funded.hub.call("approveAndCall", spender, 12, b"", sender=ALICE.address)
    assert funded.hub.call("allowance", ALICE.address, spender) == 0


def test_a_spender_without_code_is_refused(funded: World) -> None:
    with reverts(NO_DATA):
        funded.hub.call("approveAndCall", BOB.address, 12, b"", sender=ALICE.address)
