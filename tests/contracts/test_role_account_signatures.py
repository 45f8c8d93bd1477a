"""`isValidSignature` of a role account (ERC-1271): the owner's word for everything, the operator's for one thing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.protocol.hexes import ZERO_ADDRESS, address_bytes, from_hex, keccak, to_hex
from fairgrid.protocol.typed_data import CLOSE, operation_hash
from tests.contracts.around import (
    BOTH,
    SCHEDULER,
    WORKER,
    RoleAccount,
    authorisation_hash,
    authorisation_preimage,
    role_accounts,
)
from tests.contracts.registries import ChainContract, reverts
from tests.contracts.world import Person, World, bytes32
from tests.protocol.actors import compact, malleable

VALID = "0x1626ba7e"
INVALID = "0xffffffff"
TASK = bytes32(0x7A5C)
WORKER_ADDRESS = Person("worker").address


@pytest.fixture
def factory(world: World) -> ChainContract:
    return role_accounts(world.hub.address)


@pytest.fixture
def account(factory: ChainContract) -> RoleAccount:
    return RoleAccount(factory, "scheduler", SCHEDULER)


def _says(account: RoleAccount, hash_: str, signature: bytes) -> str:
    return str(account.contract.call("isValidSignature", hash_, signature))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hash_=st.binary(min_size=32, max_size=32).map(to_hex))
def test_owners_signature_is_valid_for_any_hash_and_nobody_elses_is(account: RoleAccount, hash_: str) -> None:
    assert _says(account, hash_, from_hex(account.owner.sign(hash_))) == VALID
    for other in (account.operator, Person("stranger")):
        assert _says(account, hash_, from_hex(other.sign(hash_))) == INVALID
    assert _says(account, bytes32(1), from_hex(account.owner.sign(hash_))) == INVALID


def test_owners_signature_in_another_form_is_not_valid(account: RoleAccount) -> None:
    signature = account.owner.sign(TASK)
    for odd in (malleable(signature), compact(signature), "0x", signature + "00", to_hex(bytes(65))):
        assert _says(account, TASK, from_hex(odd)) == INVALID


@pytest.mark.parametrize("challenge", [ZERO_ADDRESS, Person("enclave").address])
def test_operators_authorisation_is_valid_with_its_preimage(account: RoleAccount, challenge: str) -> None:
    word = account.authorise(WORKER_ADDRESS, TASK, challenge)
    assert len(word) == 137
    assert _says(account, authorisation_hash(WORKER_ADDRESS, TASK, challenge), word) == VALID


def test_operators_authorisation_alone_is_not_valid(account: RoleAccount) -> None:
    word = account.authorise(WORKER_ADDRESS, TASK)
    hash_ = authorisation_hash(WORKER_ADDRESS, TASK)
    for cut in (word[72:], word[:136], word + b"\x00", word[:72], b""):
        assert _says(account, hash_, cut) == INVALID


def test_authorisation_for_something_else_is_not_valid(account: RoleAccount) -> None:
    word = account.authorise(WORKER_ADDRESS, TASK)
    for other in (
        authorisation_hash(account.address, TASK),
        authorisation_hash(WORKER_ADDRESS, bytes32(1)),
        authorisation_hash(WORKER_ADDRESS, TASK, WORKER_ADDRESS),
        to_hex(keccak(authorisation_preimage(WORKER_ADDRESS, TASK))),
        TASK,
    ):
        assert _says(account, other, word) == INVALID


def test_a_flipped_bit_anywhere_spoils_an_authorisation(account: RoleAccount) -> None:
    word = bytearray(account.authorise(WORKER_ADDRESS, TASK))
    hash_ = authorisation_hash(WORKER_ADDRESS, TASK)
    for position in (0, 19, 20, 51, 52, 71, 72, 103, 104, 135, 136):
        word[position] ^= 1
        assert _says(account, hash_, bytes(word)) == INVALID, position
        word[position] ^= 1
    assert _says(account, hash_, bytes(word)) == VALID


def test_authorisation_of_anybody_else_or_malleable_is_not_valid(account: RoleAccount) -> None:
    hash_ = authorisation_hash(WORKER_ADDRESS, TASK)
    preimage = authorisation_preimage(WORKER_ADDRESS, TASK)
    for signer in (account.owner, Person("stranger")):
        assert _says(account, hash_, preimage + from_hex(signer.sign(hash_))) == INVALID
    assert _says(account, hash_, preimage + from_hex(malleable(account.operator.sign(hash_)))) == INVALID
    assert _says(account, hash_, preimage + bytes(65)) == INVALID


@pytest.mark.parametrize(("roles", "verdict"), [(0, INVALID), (WORKER, INVALID), (SCHEDULER, VALID), (BOTH, VALID)])
def test_only_a_scheduler_authorises(factory: ChainContract, roles: int, verdict: str) -> None:
    account = RoleAccount(factory, "specialist", roles)
    word = account.authorise(WORKER_ADDRESS, TASK)
    assert _says(account, authorisation_hash(WORKER_ADDRESS, TASK), word) == verdict


def test_operators_key_signs_no_order_and_no_operation_in_any_form(world: World, account: RoleAccount) -> None:
    """Whatever 72 bytes the operator puts in front: their hash is never that of typed data."""
    orders = world.unsigned_orders(request={"requester": account.address})
    hashes = [world.order_hash(order) for order in vars(orders).values()]
    hashes += [operation_hash(orders.request, CLOSE, world.domain)]
    for hash_ in hashes:
        signature = from_hex(account.operator.sign(hash_))
        for preimage in (
            b"",
            authorisation_preimage(WORKER_ADDRESS, hash_),
            address_bytes(account.address) + bytes(52),
        ):
            assert _says(account, hash_, preimage + signature) == INVALID


def test_hub_accepts_the_owners_word_and_refuses_the_operators(world: World, account: RoleAccount) -> None:
    assert world.hub.call("verifySignature", account.address, TASK, from_hex(account.owner.sign(TASK)))
    assert not world.hub.call("verifySignature", account.address, TASK, from_hex(account.operator.sign(TASK)))


def test_order_signed_by_the_stolen_operator_key_makes_no_deal(world: World, account: RoleAccount) -> None:
    world.fund(account.address)
    world.fund(world.scheduler)
    orders = world.unsigned_orders(request={"requester": account.address})
    signed = world.sign_all(orders)
    with reverts("iExecV5-matchOrders-0x50"):
        world.match(replace(signed, request=world.sign(orders.request, account.operator)))
    assert world.match(replace(signed, request=world.sign(orders.request, account.owner)))
