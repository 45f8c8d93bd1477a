"""The RLC test token: supply, transfers, allowances, `approveAndCall`, burning."""

from __future__ import annotations

import boa
import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum
from tests.contracts.registries import NO_DATA, ChainContract, Log, Reverted, account, deploy_contract, reverts

SUPPLY = 87_000_000 * 10**9

_SPENDER = """
# pragma version ==0.4.3
sender: public(address)
amount: public(uint256)
token: public(address)
data: public(Bytes[256])

@external
def receiveApproval(sender: address, amount: uint256, token: address, data: Bytes[256]) -> bool:
    assert len(data) != 3, "three bytes"
    assert len(data) != 4
    self.sender = sender
    self.amount = amount
    self.token = token
    self.data = data
    return False
"""


@pytest.fixture(scope="module")
def holder() -> str:
    return account("holder")


@pytest.fixture(scope="module")
def stranger() -> str:
    return account("stranger")


@pytest.fixture(scope="module")
def rlc(holder: str) -> ChainContract:
    return deploy_contract("rlc", token_owner=holder)


def test_new_token_describes_itself_and_gives_all_to_its_owner(rlc: ChainContract, holder: str) -> None:
    assert rlc.call("name") == "iExec RLC Token"
    assert rlc.call("symbol") == "RLC"
    assert rlc.call("decimals") == 9
    assert rlc.call("totalSupply") == rlc.call("initialSupply") == rlc.call("balanceOf", holder) == SUPPLY
    assert rlc.call("owner") == holder
    assert rlc.call("locked") is False


def test_token_for_nobody_is_refused() -> None:
    with reverts(NO_DATA):
        deploy_contract("rlc", token_owner=ZERO_ADDRESS)


def test_transfer_moves_and_tells(rlc: ChainContract, holder: str, stranger: str) -> None:
    answer, logs = rlc.transact("transfer", stranger, 5, sender=holder)
    assert answer is True
    assert rlc.call("balanceOf", stranger) == 5
    assert rlc.call("balanceOf", holder) == SUPPLY - 5
    assert logs == [Log(rlc.address, "Transfer", {"from": holder, "to": stranger, "value": 5})]


def test_transfer_to_oneself_changes_nothing(rlc: ChainContract, holder: str) -> None:
    rlc.call("transfer", holder, SUPPLY, sender=holder)
    assert rlc.call("balanceOf", holder) == SUPPLY


def test_transfer_of_more_than_there_is_reverts_without_data(rlc: ChainContract, holder: str, stranger: str) -> None:
    with reverts(NO_DATA):
        rlc.call("transfer", holder, 1, sender=stranger)
    with reverts(NO_DATA):
        rlc.call("transfer", stranger, SUPPLY + 1, sender=holder)


def test_coins_sent_along_are_refused(rlc: ChainContract, holder: str, stranger: str) -> None:
    boa.env.set_balance(holder, 10)
    with reverts(NO_DATA):
        rlc.call("transfer", stranger, 1, sender=holder, value=1)


def test_allowed_spender_moves_up_to_the_allowance(rlc: ChainContract, holder: str, stranger: str) -> None:
    friend = account("friend")
    _, logs = rlc.transact("approve", stranger, 7, sender=holder)
    assert logs == [Log(rlc.address, "Approval", {"owner": holder, "spender": stranger, "value": 7})]
    assert rlc.call("transferFrom", holder, friend, 5, sender=stranger) is True
    assert rlc.call("allowance", holder, stranger) == 2
    assert rlc.call("balanceOf", friend) == 5
    with reverts(NO_DATA):
        rlc.call("transferFrom", holder, friend, 3, sender=stranger)


def test_allowance_beyond_the_balance_does_not_create_tokens(rlc: ChainContract, holder: str, stranger: str) -> None:
    rlc.call("approve", holder, 10, sender=stranger)
    with reverts(NO_DATA):
        rlc.call("transferFrom", stranger, holder, 1, sender=holder)
    assert rlc.call("allowance", stranger, holder) == 10


def test_largest_allowance_shrinks_too(rlc: ChainContract, holder: str, stranger: str) -> None:
    rlc.call("approve", stranger, 2**256 - 1, sender=holder)
    rlc.call("transferFrom", holder, stranger, 1, sender=stranger)
    assert rlc.call("allowance", holder, stranger) == 2**256 - 2


def test_approve_and_call_tells_the_spender_and_ignores_its_answer(rlc: ChainContract, holder: str) -> None:
    spender = boa.loads(_SPENDER)
    answer, logs = rlc.transact("approveAndCall", str(spender.address), 9, b"hello", sender=holder)
    assert answer is None
    assert [log.name for log in logs] == ["Approval"]
    assert (checksum(spender.sender()), spender.amount(), checksum(spender.token())) == (holder, 9, rlc.address)
    assert spender.data() == b"hello"
    assert rlc.call("allowance", holder, str(spender.address)) == 9


def test_approve_and_call_passes_the_spenders_refusal_on(rlc: ChainContract, holder: str) -> None:
    spender = str(boa.loads(_SPENDER).address)
    with reverts("three bytes"):
        rlc.call("approveAndCall", spender, 9, b"abc", sender=holder)
    with reverts(NO_DATA):
        rlc.call("approveAndCall", spender, 9, b"abcd", sender=holder)
    assert rlc.call("allowance", holder, spender) == 0


def test_approve_and_call_of_an_account_without_code_reverts(rlc: ChainContract, holder: str, stranger: str) -> None:
    with reverts(NO_DATA):
        rlc.call("approveAndCall", stranger, 9, b"", sender=holder)


def test_burn_destroys_own_tokens_only(rlc: ChainContract, holder: str, stranger: str) -> None:
    _, logs = rlc.transact("burn", 100, sender=holder)
    assert logs == [Log(rlc.address, "Transfer", {"from": holder, "to": ZERO_ADDRESS, "value": 100})]
    assert rlc.call("totalSupply") == rlc.call("balanceOf", holder) == SUPPLY - 100
    with reverts(NO_DATA):
        rlc.call("burn", 1, sender=stranger)


def test_ownership_moves_by_its_owner_only_and_never_to_nobody(rlc: ChainContract, holder: str, stranger: str) -> None:
    with reverts(NO_DATA):
        rlc.call("transferOwnership", stranger, sender=stranger)
    with reverts(NO_DATA):
        rlc.call("transferOwnership", ZERO_ADDRESS, sender=holder)
    rlc.call("transferOwnership", stranger, sender=holder)
    assert rlc.call("owner") == stranger


def test_owner_has_no_power_over_balances(rlc: ChainContract, holder: str, stranger: str) -> None:
    rlc.call("transfer", stranger, 5, sender=holder)
    with pytest.raises(Reverted):
        rlc.call("transferFrom", stranger, holder, 5, sender=holder)
