from __future__ import annotations

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.model import Hub
from fairgrid.protocol.model_token import RLC_SUPPLY_NRLC
from tests.protocol.actors import Actor
from tests.protocol.scenario import refusal

ADMIN, ALICE, BOB = (Actor(name).address for name in ("admin", "alice", "bob"))


@pytest.fixture
def hub() -> Hub:
    """Alice holds 1,000 nRLC outside, allows the hub 600, and has 100 inside."""
    hub = Hub.deploy(chain_id=31337, owner=ADMIN)
    hub.token.transfer(ADMIN, ALICE, 1_100)
    hub.token.approve(ALICE, hub.address, 700)
    hub.deposit(ALICE, 100)
    return hub


def test_a_deposit_moves_tokens_and_mints_as_much(hub: Hub) -> None:
    mark = len(hub.events)
    assert hub.deposit(ALICE, 600)
    assert hub.balance_of(ALICE) == hub.total_supply == hub.token.balance_of(hub.address) == 700
    assert hub.token.balance_of(ALICE) == 400
    assert hub.token.allowance(ALICE, hub.address) == 0
    assert [(event.name, event.address) for event in hub.events[mark:]] == [
        ("Transfer", hub.token.address),
        ("Transfer", hub.address),
    ]
    assert hub.events[-1].arguments == {"from": ZERO_ADDRESS, "to": ALICE, "value": 600}


def test_a_deposit_beyond_allowance_or_balance_is_refused_without_data(hub: Hub) -> None:
    assert refusal(hub.deposit, ALICE, 601) is None
    hub.token.approve(ALICE, hub.address, 5_000)
    assert refusal(hub.deposit, ALICE, 1_001) is None
    assert hub.total_supply == 100


def test_a_deposit_for_somebody_else_is_paid_by_the_caller(hub: Hub) -> None:
    hub.deposit_for(ALICE, 5, BOB)
    assert (hub.balance_of(BOB), hub.balance_of(ALICE)) == (5, 100)
    assert refusal(hub.deposit_for, ALICE, 5, ZERO_ADDRESS) == "ERC20: mint to the zero address"
    assert hub.token.balance_of(ALICE) == 995


def test_approve_and_call_deposits_in_one_transaction(hub: Hub) -> None:
    hub.token.approve_and_call(ALICE, hub, 900)
    assert hub.balance_of(ALICE) == 1_000
    assert refusal(hub.token.approve_and_call, ALICE, hub, 101) is None
    assert hub.token.allowance(ALICE, hub.address) == 0


def test_an_approval_of_another_token_is_refused(hub: Hub) -> None:
    assert refusal(hub.receive_approval, BOB, ALICE, 5, BOB) == "wrong-token"


def test_an_open_allowance_may_be_deposited_by_anybody(hub: Hub) -> None:
    hub.receive_approval(BOB, ALICE, 5, hub.token.address)
    assert hub.balance_of(ALICE) == 105


def test_deposits_of_an_array_happen_all_or_not_at_all(hub: Hub) -> None:
    assert hub.deposit_for_array(ALICE, (5, 0, 6), (BOB, ADMIN, BOB))
    assert (hub.balance_of(BOB), hub.balance_of(ADMIN), hub.balance_of(ALICE)) == (11, 0, 100)
    assert refusal(hub.deposit_for_array, ALICE, (5, 585), (BOB, BOB)) is None
    assert refusal(hub.deposit_for_array, ALICE, (5,), (BOB, BOB)) == "invalid-array-length"
    assert (hub.balance_of(BOB), hub.total_supply) == (11, 111)


def test_a_deposit_with_a_permit_needs_no_allowance_and_leaves_none(hub: Hub) -> None:
    assert hub.deposit_with_permit(ALICE, 900)
    assert (hub.balance_of(ALICE), hub.token.allowance(ALICE, hub.address)) == (1_000, 0)
    assert refusal(hub.deposit_with_permit, ALICE, 101) is None


def test_a_withdrawal_burns_and_pays_out(hub: Hub) -> None:
    hub.withdraw(ALICE, 30)
    hub.withdraw_to(ALICE, 20, BOB)
    assert hub.balance_of(ALICE) == hub.total_supply == hub.token.balance_of(hub.address) == 50
    assert (hub.token.balance_of(ALICE), hub.token.balance_of(BOB)) == (1_030, 20)
    assert refusal(hub.withdraw, ALICE, 51) is None
    assert refusal(hub.withdraw, ZERO_ADDRESS, 0) == "ERC20: burn from the zero address"


def test_a_transfer_moves_a_balance_inside(hub: Hub) -> None:
    assert hub.transfer(ALICE, BOB, 60)
    assert (hub.balance_of(ALICE), hub.balance_of(BOB)) == (40, 60)
    hub.transfer(ALICE, ALICE, 40)
    assert hub.balance_of(ALICE) == 40
    assert refusal(hub.transfer, ALICE, BOB, 41) is None
    assert refusal(hub.transfer, ALICE, ZERO_ADDRESS, 1) == "ERC20: transfer to the zero address"
    assert refusal(hub.transfer, ZERO_ADDRESS, ALICE, 0) == "ERC20: transfer from the zero address"


def test_an_allowance_is_used_up_by_transfers(hub: Hub) -> None:
    hub.approve(ALICE, BOB, 30)
    hub.increase_allowance(ALICE, BOB, 20)
    hub.decrease_allowance(ALICE, BOB, 10)
    hub.transfer_from(BOB, ALICE, BOB, 25)
    assert hub.allowance(ALICE, BOB) == 15
    assert [event.name for event in hub.events[-2:]] == ["Transfer", "Approval"]
    assert refusal(hub.transfer_from, BOB, ALICE, BOB, 16) is None
    assert refusal(hub.decrease_allowance, ALICE, BOB, 16) is None
    assert hub.balance_of(BOB) == 25


def test_an_allowance_overflow_panics_and_nobody_gets_none(hub: Hub) -> None:
    hub.approve(ALICE, BOB, 2**256 - 1)
    assert refusal(hub.increase_allowance, ALICE, BOB, 1) == "Panic(0x11)"
    assert refusal(hub.approve, ALICE, ZERO_ADDRESS, 1) == "ERC20: approve to the zero address"
    assert refusal(hub.approve, ZERO_ADDRESS, BOB, 1) == "ERC20: approve from the zero address"


def test_tokens_sent_by_mistake_are_recovered_by_the_owner_only(hub: Hub) -> None:
    hub.token.transfer(ALICE, hub.address, 7)
    assert refusal(hub.recover, ALICE) == "Ownable: caller is not the owner"
    assert hub.recover(ADMIN) == 7
    assert hub.balance_of(ADMIN) == 7
    assert hub.recover(ADMIN) == 0


def test_ownership_moves_by_the_owner_only(hub: Hub) -> None:
    assert refusal(hub.transfer_ownership, ALICE, ALICE) == f"NotContractOwner({ALICE}, {ADMIN})"
    hub.transfer_ownership(ADMIN, ALICE)
    assert hub.owner == ALICE
    assert hub.events[-1].arguments == {"previousOwner": ADMIN, "newOwner": ALICE}


def test_the_token_has_a_fixed_supply(hub: Hub) -> None:
    token = hub.token
    assert token.total_supply == RLC_SUPPLY_NRLC == 87_000_000 * 10**9
    assert sum(token.balance_of(holder) for holder in (ADMIN, ALICE, BOB, hub.address)) == RLC_SUPPLY_NRLC
    assert refusal(token.transfer, BOB, ALICE, 1) is None
    assert refusal(token.transfer_from, BOB, ALICE, BOB, 1) is None
