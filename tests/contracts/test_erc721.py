"""ERC-721, enumerable: as every registry has it, here on the registry of workerpools."""

from __future__ import annotations

import boa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.contracts.registries import NO_DATA, ChainContract, Log, account, deploy_registry, reverts

_RECEIVER = """
# pragma version ==0.4.3
answer: public(bytes4)
operator: public(address)
data: public(Bytes[64])

@deploy
def __init__(answer: bytes4):
    self.answer = answer

@external
def onERC721Received(operator: address, sender: address, token_id: uint256, data: Bytes[64]) -> bytes4:
    assert self.answer != empty(bytes4), "no tokens here"
    assert self.answer != 0x00000001
    self.operator = operator
    self.data = data
    return self.answer
"""

ACCEPTED = bytes.fromhex("150b7a02")
SAFE = "safeTransferFrom(address,address,uint256)"
SAFE_WITH_DATA = "safeTransferFrom(address,address,uint256,bytes)"


@pytest.fixture(scope="module")
def registry() -> ChainContract:
    return deploy_registry("workerpool_registry", account("registry_owner"))


@pytest.fixture(scope="module")
def scheduler() -> str:
    return account("scheduler")


@pytest.fixture(scope="module")
def buyer() -> str:
    return account("buyer")


@pytest.fixture(scope="module")
def operator() -> str:
    return account("operator")


@pytest.fixture
def token(registry: ChainContract, scheduler: str) -> int:
    return _mint(registry, scheduler, "pool")


def _mint(registry: ChainContract, owner: str, description: str) -> int:
    return int(registry.call("createWorkerpool", owner, description), 16)


def test_interfaces_are_announced(registry: ChainContract) -> None:
    for interface in ("0x01ffc9a7", "0x80ac58cd", "0x5b5e139f", "0x780e9d63"):
        assert registry.call("supportsInterface", interface) is True
    for interface in ("0xffffffff", "0x00000000", "0x36372b07"):
        assert registry.call("supportsInterface", interface) is False


def test_unknown_token_is_refused_everywhere(registry: ChainContract, buyer: str) -> None:
    for function in ("ownerOf", "getApproved", "tokenURI"):
        with reverts("ERC721NonexistentToken(7)"):
            registry.call(function, 7)
    with reverts("ERC721NonexistentToken(7)"):
        registry.call("approve", buyer, 7)
    with reverts("ERC721NonexistentToken(7)"):
        registry.call("transferFrom", buyer, buyer, 7, sender=buyer)


def test_balance_of_nobody_is_refused(registry: ChainContract) -> None:
    with reverts(f"ERC721InvalidOwner({ZERO_ADDRESS})"):
        registry.call("balanceOf", ZERO_ADDRESS)
    with reverts(f"ERC721InvalidOwner({ZERO_ADDRESS})"):
        registry.call("tokenOfOwnerByIndex", ZERO_ADDRESS, 0)


def test_index_beyond_a_list_is_refused(registry: ChainContract, token: int, scheduler: str, buyer: str) -> None:
    assert registry.call("tokenByIndex", 0) == registry.call("tokenOfOwnerByIndex", scheduler, 0) == token
    with reverts(f"ERC721OutOfBoundsIndex({ZERO_ADDRESS}, 1)"):
        registry.call("tokenByIndex", 1)
    with reverts(f"ERC721OutOfBoundsIndex({scheduler}, 1)"):
        registry.call("tokenOfOwnerByIndex", scheduler, 1)
    with reverts(f"ERC721OutOfBoundsIndex({buyer}, 0)"):
        registry.call("tokenOfOwnerByIndex", buyer, 0)


def test_owner_transfers_and_tells(registry: ChainContract, token: int, scheduler: str, buyer: str) -> None:
    _, logs = registry.transact("transferFrom", scheduler, buyer, token, sender=scheduler)
    assert logs == [Log(registry.address, "Transfer", {"from": scheduler, "to": buyer, "tokenId": token})]
    assert registry.call("ownerOf", token) == buyer
    assert (registry.call("balanceOf", scheduler), registry.call("balanceOf", buyer)) == (0, 1)


def test_stranger_cannot_transfer(registry: ChainContract, token: int, scheduler: str, buyer: str) -> None:
    with reverts(f"ERC721InsufficientApproval({buyer}, {token})"):
        registry.call("transferFrom", scheduler, buyer, token, sender=buyer)


def test_transfer_to_nobody_is_refused(registry: ChainContract, token: int, scheduler: str) -> None:
    with reverts(f"ERC721InvalidReceiver({ZERO_ADDRESS})"):
        registry.call("transferFrom", scheduler, ZERO_ADDRESS, token, sender=scheduler)


def test_transfer_from_another_than_the_owner_is_refused(
    registry: ChainContract, token: int, scheduler: str, buyer: str
) -> None:
    with reverts(f"ERC721IncorrectOwner({buyer}, {token}, {scheduler})"):
        registry.call("transferFrom", buyer, scheduler, token, sender=scheduler)


def test_approved_account_transfers_once(
    registry: ChainContract, token: int, scheduler: str, buyer: str, operator: str
) -> None:
    assert registry.call("getApproved", token) == ZERO_ADDRESS
    _, logs = registry.transact("approve", operator, token, sender=scheduler)
    arguments = {"owner": scheduler, "approved": operator, "tokenId": token}
    assert logs == [Log(registry.address, "Approval", arguments)]
    assert registry.call("getApproved", token) == operator
    registry.call("transferFrom", scheduler, buyer, token, sender=operator)
    assert registry.call("getApproved", token) == ZERO_ADDRESS
    with reverts(f"ERC721InsufficientApproval({operator}, {token})"):
        registry.call("transferFrom", buyer, scheduler, token, sender=operator)


def test_stranger_and_approved_account_cannot_approve(
    registry: ChainContract, token: int, scheduler: str, buyer: str, operator: str
) -> None:
    registry.call("approve", operator, token, sender=scheduler)
    for sender in (buyer, operator):
        with reverts(f"ERC721InvalidApprover({sender})"):
            registry.call("approve", buyer, token, sender=sender)


def test_operator_acts_for_all_tokens_until_dismissed(
    registry: ChainContract, token: int, scheduler: str, buyer: str, operator: str
) -> None:
    second = _mint(registry, scheduler, "second pool")
    _, logs = registry.transact("setApprovalForAll", operator, True, sender=scheduler)
    arguments = {"owner": scheduler, "operator": operator, "approved": True}
    assert logs == [Log(registry.address, "ApprovalForAll", arguments)]
    assert registry.call("isApprovedForAll", scheduler, operator) is True
    registry.call("transferFrom", scheduler, buyer, token, sender=operator)
    registry.call("approve", buyer, second, sender=operator)
    assert registry.call("getApproved", second) == buyer
    registry.call("setApprovalForAll", operator, False, sender=scheduler)
    with reverts(f"ERC721InsufficientApproval({operator}, {second})"):
        registry.call("transferFrom", scheduler, buyer, second, sender=operator)


def test_nobody_cannot_be_an_operator(registry: ChainContract, scheduler: str) -> None:
    with reverts(f"ERC721InvalidOperator({ZERO_ADDRESS})"):
        registry.call("setApprovalForAll", ZERO_ADDRESS, True, sender=scheduler)


@pytest.mark.parametrize(("function", "data"), [(SAFE, ()), (SAFE_WITH_DATA, (b"for you",))])
def test_safe_transfer_reaches_an_account_and_an_accepting_contract(
    registry: ChainContract, token: int, scheduler: str, buyer: str, function: str, data: tuple[bytes, ...]
) -> None:
    receiver = boa.loads(_RECEIVER, ACCEPTED)
    registry.call(function, scheduler, buyer, token, *data, sender=scheduler)
    registry.call(function, buyer, str(receiver.address), token, *data, sender=buyer)
    assert registry.call("ownerOf", token) == str(receiver.address)
    assert receiver.operator() == buyer
    assert receiver.data() == b"".join(data)


def test_safe_transfer_to_a_contract_that_does_not_accept_is_undone(
    registry: ChainContract, token: int, scheduler: str
) -> None:
    silent = str(boa.loads(_RECEIVER, bytes.fromhex("00000001")).address)
    wrong = str(boa.loads(_RECEIVER, b"\xff" * 4).address)
    for receiver in (silent, wrong, registry.address):
        with reverts(f"ERC721InvalidReceiver({receiver})"):
            registry.call(SAFE, scheduler, receiver, token, sender=scheduler)
    outspoken = str(boa.loads(_RECEIVER, bytes(4)).address)
    with reverts("no tokens here"):
        registry.call(SAFE, scheduler, outspoken, token, sender=scheduler)
    assert registry.call("ownerOf", token) == scheduler


def test_safe_transfer_by_a_stranger_is_refused(
    registry: ChainContract, token: int, scheduler: str, buyer: str
) -> None:
    with reverts(f"ERC721InsufficientApproval({buyer}, {token})"):
        registry.call(SAFE, scheduler, buyer, token, sender=buyer)


def test_coins_sent_along_are_refused(registry: ChainContract, token: int, scheduler: str, buyer: str) -> None:
    boa.env.set_balance(scheduler, 1)
    with reverts(NO_DATA):
        registry.call("transferFrom", scheduler, buyer, token, sender=scheduler, value=1)


class TokenLists(RuleBasedStateMachine):
    """Creations and transfers in any order: both lists, owners and policies stay as in a plain Python model."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = boa.env.anchor()
        self.anchor.__enter__()

    @initialize()
    def start(self) -> None:
        self.registry = deploy_registry("workerpool_registry", account("registry_owner"))
        self.people = [account(f"person {index}") for index in range(3)]
        self.tokens: list[int] = []
        self.owned: dict[str, list[int]] = {person: [] for person in self.people}
        self.policies: dict[int, tuple[int, int]] = {}

    @rule(person=st.integers(0, 2))
    def create(self, person: int) -> None:
        owner = self.people[person]
        token = _mint(self.registry, owner, f"pool {len(self.tokens)}")
        self.tokens.append(token)
        self.owned[owner].append(token)
        self.policies[token] = (30, 1)

    @rule(choice=st.integers(0, 10**6), receiver=st.integers(0, 2))
    def transfer(self, choice: int, receiver: int) -> None:
        if not self.tokens:
            return
        token = self.tokens[choice % len(self.tokens)]
        owner = self._owner(token)
        self.registry.call("transferFrom", owner, self.people[receiver], token, sender=owner)
        held = self.owned[owner]
        held[held.index(token)] = held[-1]
        held.pop()
        self.owned[self.people[receiver]].append(token)

    @rule(choice=st.integers(0, 10**6), stake=st.integers(0, 2**24 - 1), reward=st.integers(0, 100))
    def change_policy(self, choice: int, stake: int, reward: int) -> None:
        if not self.tokens:
            return
        token = self.tokens[choice % len(self.tokens)]
        pool = ChainContract("workerpool", f"0x{token:040x}")
        pool.call("changePolicy", stake, reward, sender=self._owner(token))
        self.policies[token] = (stake, reward)

    def _owner(self, token: int) -> str:
        return next(person for person, held in self.owned.items() if token in held)

    @invariant()
    def lists_agree(self) -> None:
        call = self.registry.call
        assert [call("tokenByIndex", index) for index in range(call("totalSupply"))] == self.tokens
        for person, held in self.owned.items():
            count = call("balanceOf", person)
            assert [call("tokenOfOwnerByIndex", person, index) for index in range(count)] == held
        for token, policy in self.policies.items():
            assert call("lookup", f"0x{token:040x}") == (self._owner(token), *policy)

    def teardown(self) -> None:
        self.anchor.__exit__(None, None, None)


def test_lists_owners_and_policies_follow_the_model() -> None:
    run_state_machine_as_test(TokenLists, settings=settings(max_examples=15, stateful_step_count=15, deadline=None))
