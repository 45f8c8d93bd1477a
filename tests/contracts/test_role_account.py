"""A role account: what the operator, the owner and everybody else can and cannot do with it."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, from_hex
from fairgrid.protocol.typed_data import CLOSE, SIGN
from tests.contracts.around import BOTH, SCHEDULER, WORKER, RoleAccount, authorisation_hash, role_accounts
from tests.contracts.registries import NO_DATA, ChainContract, Log, public_abi, reverts, selector
from tests.contracts.world import Person, World, as_tuple, bytes32, mock

DIGEST = bytes32(99)
WORK: dict[str, tuple[Any, ...]] = {
    "contribute": (ZERO32, DIGEST, DIGEST, ZERO_ADDRESS, b"enclave", b"authority"),
    "contributeAndFinalize": (ZERO32, DIGEST, b"results", b"", ZERO_ADDRESS, b"", b"authority"),
    "settleRun": (ZERO32, 1_000, DIGEST, b"results", ZERO_ADDRESS, b"", b"authority"),
}
SCHEDULE: dict[str, tuple[Any, ...]] = {
    "initialize": (ZERO32, 3),
    "finalize": (ZERO32, b"results", b"callback"),
    "reopen": (ZERO32,),
    "openRun": (ZERO32, 1_000),
    "splitRun": (ZERO32, 500),
    "finalizeRun": (ZERO32, DIGEST, b"results"),
}
ROLE_OF = dict.fromkeys(WORK, WORKER) | dict.fromkeys(SCHEDULE, SCHEDULER)
EVERYTHING = WORK | SCHEDULE
SIGNATURES = {
    "settleRun": "settleRun(bytes32,uint256,bytes32,bytes,address,bytes,bytes)",
    "openRun": "openRun(bytes32,uint256)",
    "splitRun": "splitRun(bytes32,uint256)",
    "finalizeRun": "finalizeRun(bytes32,bytes32,bytes)",
    "contributeAndFinalize": "contributeAndFinalize(bytes32,bytes32,bytes,bytes,address,bytes,bytes)",
}
OWN = {"acceptOwnership", "execute", "hub", "isValidSignature", "onERC721Received", "operator", "owner"}
OWN |= {"pendingOwner", "roles", "setOperator", "transferOwnership", "withdraw"}


@pytest.fixture
def recorder(world: World) -> Any:
    """A hub that keeps what it was called with."""
    return mock("recording_hub")


@pytest.fixture
def recorded(recorder: Any) -> RoleAccount:
    """An account for that hub whose operator has both roles."""
    return RoleAccount(role_accounts(str(recorder.address)), "somebody")


@pytest.fixture
def account(world: World) -> RoleAccount:
    """An account of the world's hub whose operator has both roles, with 1,000 nRLC in escrow."""
    made = RoleAccount(role_accounts(world.hub.address), "somebody")
    world.fund(made.address, 1_000)
    return made


def _raw(contract: ChainContract, data: bytes, sender: Person, value: int = 0) -> Any:
    return boa.env.execute_code(to_address=contract.address, sender=sender.address, data=data, value=value)


# --- what is passed on ----------------------------------------------------------------------------------------------


def test_forwarded_functions_have_the_hubs_selectors() -> None:
    abi, hub = public_abi("role_account"), public_abi("hub")
    assert {name for name in abi.functions if "(" not in name} == OWN | set(EVERYTHING) | {"reveal"}
    for name in (*EVERYTHING, "reveal"):
        expected = SIGNATURES[name] if name in SIGNATURES else hub.function(name).signature
        assert abi.function(name).signature == expected
        if name in hub.functions:
            assert hub.function(name).signature == expected


@pytest.mark.parametrize("function", EVERYTHING)
def test_operator_with_the_role_reaches_the_hub_byte_for_byte(
    recorder: Any, recorded: RoleAccount, function: str
) -> None:
    answer = bytes(range(64))
    recorder.prepare(answer, "")
    data = public_abi("role_account").encode_call(function, EVERYTHING[function])
    computation = _raw(recorded.contract, data, recorded.operator)
    assert not computation.is_error
    assert computation.output == answer
    assert recorder.data() == data
    assert recorder.sender() == recorded.address


@pytest.mark.parametrize("function", EVERYTHING)
def test_nobody_else_reaches_the_hub(recorder: Any, recorded: RoleAccount, function: str) -> None:
    for sender in (recorded.owner, Person("stranger")):
        with reverts("caller lacks the role"):
            recorded.contract.call(function, *EVERYTHING[function], sender=sender.address)
    other_roles = BOTH & ~ROLE_OF[function]
    for roles in (0, other_roles):
        recorded.contract.call("setOperator", recorded.operator.address, roles, sender=recorded.owner.address)
        with reverts("caller lacks the role"):
            recorded.work(function, *EVERYTHING[function])
    assert recorder.sender() == ZERO_ADDRESS


@pytest.mark.parametrize("roles", [WORKER, SCHEDULER])
def test_one_role_is_enough_for_its_functions(recorder: Any, roles: int) -> None:
    account = RoleAccount(role_accounts(str(recorder.address)), "specialist", roles)
    for function, arguments in EVERYTHING.items():
        data = public_abi("role_account").encode_call(function, arguments)
        assert _raw(account.contract, data, account.operator).is_error == (ROLE_OF[function] != roles)


def test_anybody_passes_a_reveal_on(recorder: Any, recorded: RoleAccount) -> None:
    data = public_abi("hub").encode_call("reveal", (ZERO32, DIGEST))
    for sender in (Person("stranger"), recorded.operator, recorded.owner):
        assert not _raw(recorded.contract, data, sender).is_error
        assert recorder.data() == data
        assert recorder.sender() == recorded.address


def test_no_other_function_of_the_hub_is_passed_on(recorder: Any, recorded: RoleAccount) -> None:
    others = {name for name in public_abi("hub").functions if "(" in name}
    others = {name for name in others if name.partition("(")[0] not in {*EVERYTHING, *OWN, "reveal"}}
    assert len(others) > 50
    assert {"withdrawTo(uint256,address)", "transfer(address,uint256)", "approve(address,uint256)"} <= others
    for signature in others:
        for sender in (recorded.operator, recorded.owner):
            data = from_hex(selector(signature)) + bytes(320)
            computation = _raw(recorded.contract, data, sender)
            assert computation.is_error
            assert b"no such function" in computation.output
    assert recorder.sender() == ZERO_ADDRESS


def test_hubs_refusal_comes_back_as_it_is(recorder: Any, recorded: RoleAccount) -> None:
    recorder.prepare(b"", "the hub says no")
    with reverts("the hub says no"):
        recorded.work("reopen", ZERO32)


def test_coins_do_not_go_through_and_too_short_calls_neither(recorder: Any, recorded: RoleAccount) -> None:
    boa.env.set_balance(recorded.operator.address, 10**18)
    data = public_abi("hub").encode_call("reopen", (ZERO32,))
    assert _raw(recorded.contract, data, recorded.operator, value=1).is_error
    assert _raw(recorded.contract, data[:3], recorded.operator).is_error
    assert recorder.sender() == ZERO_ADDRESS


# --- the owner's money ----------------------------------------------------------------------------------------------


def test_owner_withdraws_from_the_escrow_to_itself(world: World, account: RoleAccount) -> None:
    account.contract.call("withdraw", 400, sender=account.owner.address)
    assert world.rlc.call("balanceOf", account.owner.address) == 400
    assert world.balance(account.address) == 600
    with reverts(NO_DATA):
        account.contract.call("withdraw", 601, sender=account.owner.address)


def test_a_withdrawal_that_the_hub_answers_with_false_reverts(recorder: Any, recorded: RoleAccount) -> None:
    recorder.prepare(bytes(32), "")
    with reverts(NO_DATA):
        recorded.contract.call("withdraw", 1, sender=recorded.owner.address)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("withdraw", (1,)),
        ("execute", (ZERO_ADDRESS, 0, b"")),
        ("setOperator", (ZERO_ADDRESS, 0)),
        ("transferOwnership", (ZERO_ADDRESS,)),
    ],
)
def test_only_the_owner_does_what_is_the_owners(
    account: RoleAccount, function: str, arguments: tuple[Any, ...]
) -> None:
    for sender in (account.operator, Person("stranger")):
        with reverts("caller is not the owner"):
            account.contract.call(function, *arguments, sender=sender.address)
    account.contract.call(function, *arguments, sender=account.owner.address)


def test_owner_executes_anything_and_gets_the_answer(world: World, account: RoleAccount) -> None:
    answer = account.execute(world, world.hub, "transfer", world.stranger.address, 250)
    assert int.from_bytes(answer, "big") == 1
    assert world.balance(world.stranger) == 250


def test_refusal_of_what_the_owner_executes_comes_back_as_it_is(recorder: Any, recorded: RoleAccount) -> None:
    recorder.prepare(b"", "no such luck")
    with reverts("no such luck"):
        recorded.contract.call("execute", recorded.contract.call("hub"), 0, b"x", sender=recorded.owner.address)


def test_coins_come_in_and_only_the_owner_sends_them_on(account: RoleAccount) -> None:
    giver, receiver = Person("giver"), Person("receiver")
    boa.env.set_balance(giver.address, 100)
    assert not _raw(account.contract, b"", giver, value=100).is_error
    with reverts("caller is not the owner"):
        account.contract.call("execute", receiver.address, 100, b"", sender=account.operator.address)
    account.contract.call("execute", receiver.address, 70, b"", sender=account.owner.address)
    assert boa.env.get_balance(receiver.address) == 70
    boa.env.set_balance(account.owner.address, 5)
    account.contract.call("execute", receiver.address, 35, b"", sender=account.owner.address, value=5)
    assert boa.env.get_balance(account.address) == 0


# --- keys that change -----------------------------------------------------------------------------------------------


def test_a_rotated_operator_has_no_say_any_more(recorder: Any, recorded: RoleAccount) -> None:
    fresh = Person("fresh operator")
    word = recorded.authorise(fresh.address, DIGEST)
    hash_ = authorisation_hash(fresh.address, DIGEST)
    assert recorded.contract.call("isValidSignature", hash_, word) == "0x1626ba7e"
    _, logs = recorded.contract.transact("setOperator", fresh.address, SCHEDULER, sender=recorded.owner.address)
    assert logs == [Log(recorded.address, "OperatorSet", {"operator": fresh.address, "roles": SCHEDULER})]
    assert recorded.contract.call("operator") == fresh.address
    assert recorded.contract.call("roles") == SCHEDULER
    with reverts("caller lacks the role"):
        recorded.work("reopen", ZERO32)
    assert recorded.contract.call("isValidSignature", hash_, word) == "0xffffffff"
    data = public_abi("hub").encode_call("reopen", (ZERO32,))
    assert not _raw(recorded.contract, data, fresh).is_error
    with reverts(NO_DATA):
        recorded.contract.call("setOperator", fresh.address, 4, sender=recorded.owner.address)


def test_account_without_operator_does_nothing_but_reveal(recorder: Any, recorded: RoleAccount) -> None:
    recorded.contract.call("setOperator", ZERO_ADDRESS, 0, sender=recorded.owner.address)
    assert (recorded.contract.call("operator"), recorded.contract.call("roles")) == (ZERO_ADDRESS, 0)
    with reverts("caller lacks the role"):
        recorded.work("reopen", ZERO32)
    # Nor does a signature that recovers to nobody pass for the operator that is not there.
    recorded.contract.call("setOperator", ZERO_ADDRESS, BOTH, sender=recorded.owner.address)
    broken = recorded.authorise(recorded.address, DIGEST)[:72] + bytes(65)
    hash_ = authorisation_hash(recorded.address, DIGEST)
    assert recorded.contract.call("isValidSignature", hash_, broken) == "0xffffffff"


def test_ownership_goes_over_in_two_steps(account: RoleAccount) -> None:
    heir, before = Person("heir"), account.owner
    told = {"previousOwner": before.address, "newOwner": heir.address}
    _, logs = account.contract.transact("transferOwnership", heir.address, sender=before.address)
    assert logs == [Log(account.address, "OwnershipTransferStarted", told)]
    assert account.contract.call("owner") == before.address
    assert account.contract.call("pendingOwner") == heir.address
    with reverts("caller is not the owner"):
        account.contract.call("withdraw", 1, sender=heir.address)
    for sender in (before, account.operator, Person("stranger")):
        with reverts("caller is not the successor"):
            account.contract.call("acceptOwnership", sender=sender.address)
    _, logs = account.contract.transact("acceptOwnership", sender=heir.address)
    assert logs == [Log(account.address, "OwnershipTransferred", told)]
    assert account.contract.call("owner") == heir.address
    assert account.contract.call("pendingOwner") == ZERO_ADDRESS
    with reverts("caller is not the owner"):
        account.contract.call("withdraw", 1, sender=before.address)
    with reverts("caller is not the successor"):
        account.contract.call("acceptOwnership", sender=heir.address)
    assert account.contract.call("isValidSignature", DIGEST, from_hex(before.sign(DIGEST))) == "0xffffffff"
    assert account.contract.call("isValidSignature", DIGEST, from_hex(heir.sign(DIGEST))) == "0x1626ba7e"


def test_an_offer_of_ownership_can_be_taken_back(account: RoleAccount) -> None:
    heir = Person("heir")
    account.contract.call("transferOwnership", heir.address, sender=account.owner.address)
    account.contract.call("transferOwnership", ZERO_ADDRESS, sender=account.owner.address)
    with reverts("caller is not the successor"):
        account.contract.call("acceptOwnership", sender=heir.address)


# --- a workerpool in its name ---------------------------------------------------------------------------------------


def test_account_holds_a_workerpool_and_sets_its_policy(world: World, account: RoleAccount) -> None:
    pool = world.pool
    registry = world.registries["workerpool"]
    scheduler = world.scheduler.address
    registry.call(
        "safeTransferFrom(address,address,uint256)", scheduler, account.address, int(pool, 16), sender=scheduler
    )
    assert registry.call("ownerOf", int(pool, 16)) == account.address
    account.execute(world, world.contract("workerpool", pool), "changePolicy", 40, 5)
    assert registry.call("lookup", pool) == (account.address, 40, 5)
    with reverts("caller is not the owner"):
        world.contract("workerpool", pool).call("changePolicy", 1, 1, sender=account.operator.address)
    account.execute(world, registry, "transferFrom", account.address, scheduler, int(pool, 16))
    assert registry.call("ownerOf", int(pool, 16)) == scheduler


def test_owner_presigns_and_closes_orders_and_the_operator_does_not(world: World, account: RoleAccount) -> None:
    order = world.unsigned_orders(request={"requester": account.address}).request
    account.execute(world, world.hub, "manageRequestOrder", (as_tuple(order), SIGN, b""))
    assert world.hub.call("verifyPresignature", account.address, world.order_hash(order))
    forged = world.operation(order, CLOSE, account.operator)
    with reverts("invalid-sender-or-signature"):
        world.hub.call("manageRequestOrder", forged, sender=account.operator.address)
    world.hub.call("manageRequestOrder", world.operation(order, CLOSE, account.owner), sender=world.stranger.address)
    assert world.hub.call("viewConsumed", world.order_hash(order)) == order.volume
