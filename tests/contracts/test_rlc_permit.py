"""Signed allowances of the RLC token: `permit`, `nonces`, `DOMAIN_SEPARATOR` (EIP-2612), `eip712Domain` (EIP-5267)."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from eth_abi.abi import encode

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, from_hex, keccak, to_hex, to_hex32
from tests.contracts.permits import FOREVER, Signature, permit_hash, split
from tests.contracts.registries import NO_DATA, ChainContract, Log, deploy_contract, reverts
from tests.contracts.world import Person, mock
from tests.protocol.actors import malleable

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
NOW = 1_800_000_000


@pytest.fixture(scope="module")
def deployed_rlc() -> ChainContract:
    return deploy_contract("rlc", token_owner=Person("owner").address)


@pytest.fixture
def rlc(deployed_rlc: ChainContract) -> Any:
    """The token, undone after each test."""
    with boa.env.anchor():
        boa.env.timestamp = NOW
        yield deployed_rlc


@pytest.fixture
def owner() -> Person:
    return Person("owner")


@pytest.fixture
def spender() -> str:
    return Person("spender").address


def chain_id() -> int:
    return int(boa.env.evm.patch.chain_id)


def signed(rlc: ChainContract, owner: Person, spender: str, value: int, **changes: int) -> Signature:
    """A good permit."""
    return split(owner.sign(permit_hash(rlc.address, chain_id(), owner.address, spender, value, **changes)))


def test_a_permit_sets_an_allowance_whoever_shows_it(rlc: ChainContract, owner: Person, spender: str) -> None:
    stranger = Person("stranger").address
    signature = signed(rlc, owner, spender, 7)
    answer, logs = rlc.transact("permit", owner.address, spender, 7, FOREVER, *signature, sender=stranger)
    assert answer is None
    assert logs == [Log(rlc.address, "Approval", {"owner": owner.address, "spender": spender, "value": 7})]
    assert rlc.call("allowance", owner.address, spender) == 7
    assert (rlc.call("nonces", owner.address), rlc.call("nonces", stranger)) == (1, 0)
    assert rlc.call("transferFrom", owner.address, stranger, 7, sender=spender) is True


def test_a_permit_replaces_an_allowance(rlc: ChainContract, owner: Person, spender: str) -> None:
    rlc.call("approve", spender, 100, sender=owner.address)
    rlc.call("permit", owner.address, spender, 7, FOREVER, *signed(rlc, owner, spender, 7))
    assert rlc.call("allowance", owner.address, spender) == 7
    rlc.call("permit", owner.address, spender, 0, FOREVER, *signed(rlc, owner, spender, 0, nonce=1))
    assert rlc.call("allowance", owner.address, spender) == 0


def test_a_permit_is_good_once(rlc: ChainContract, owner: Person, spender: str) -> None:
    call = (owner.address, spender, 7, FOREVER, *signed(rlc, owner, spender, 7))
    rlc.call("permit", *call)
    with reverts(NO_DATA):
        rlc.call("permit", *call)
    assert rlc.call("nonces", owner.address) == 1


def test_permits_are_used_in_their_order(rlc: ChainContract, owner: Person, spender: str) -> None:
    second = (owner.address, spender, 8, FOREVER, *signed(rlc, owner, spender, 8, nonce=1))
    with reverts(NO_DATA):
        rlc.call("permit", *second)
    rlc.call("permit", owner.address, spender, 7, FOREVER, *signed(rlc, owner, spender, 7))
    rlc.call("permit", *second)
    assert rlc.call("allowance", owner.address, spender) == 8


def test_a_permit_is_good_until_its_deadline(rlc: ChainContract, owner: Person, spender: str) -> None:
    call = (owner.address, spender, 7, NOW, *signed(rlc, owner, spender, 7, deadline=NOW))
    boa.env.timestamp = NOW + 1
    with reverts(NO_DATA):
        rlc.call("permit", *call)
    boa.env.timestamp = NOW
    rlc.call("permit", *call)


@pytest.mark.parametrize("wrong", ["owner", "spender", "value", "deadline", "token", "chain"])
def test_a_permit_says_what_it_is_for(rlc: ChainContract, owner: Person, spender: str, wrong: str) -> None:
    stranger = Person("stranger").address
    hash_ = permit_hash(
        stranger if wrong == "token" else rlc.address,
        chain_id() + 1 if wrong == "chain" else chain_id(),
        stranger if wrong == "owner" else owner.address,
        stranger if wrong == "spender" else spender,
        8 if wrong == "value" else 7,
        deadline=FOREVER - 1 if wrong == "deadline" else FOREVER,
    )
    with reverts(NO_DATA):
        rlc.call("permit", owner.address, spender, 7, FOREVER, *split(owner.sign(hash_)))
    assert (rlc.call("allowance", owner.address, spender), rlc.call("nonces", owner.address)) == (0, 0)


def test_nobody_permits_nothing(rlc: ChainContract, spender: str) -> None:
    """A signature that recovers nobody is not one of the zero address."""
    for v, r, s in (
        (0, ZERO32, ZERO32),
        (27, ZERO32, ZERO32),
        (27, to_hex32(b"\xff" * 32), to_hex32(bytes(31) + b"\1")),
    ):
        with reverts(NO_DATA):
            rlc.call("permit", ZERO_ADDRESS, spender, 7, FOREVER, v, r, s)


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_a_signature_has_27_or_28_as_its_v(rlc: ChainContract, owner: Person, spender: str, v: int) -> None:
    _, r, s = signed(rlc, owner, spender, 7)
    with reverts(NO_DATA):
        rlc.call("permit", owner.address, spender, 7, FOREVER, v, r, s)


def test_the_other_form_of_a_signature_is_refused(rlc: ChainContract, owner: Person, spender: str) -> None:
    good = owner.sign(permit_hash(rlc.address, chain_id(), owner.address, spender, 7))
    v, r, s = split(malleable(good))
    assert int(s, 16) > CURVE_ORDER // 2
    with reverts(NO_DATA):
        rlc.call("permit", owner.address, spender, 7, FOREVER, v, r, s)
    rlc.call("permit", owner.address, spender, 7, FOREVER, *split(good))


# --- contracts as owners (ERC-1271) ---------------------------------------------------------------------------------


def test_a_contract_vouches_for_a_signature(rlc: ChainContract, spender: str) -> None:
    wallet = mock("wallet_contract", 0, b"\x11" * 32 + b"\x22" * 32 + b"\x1b")
    address = str(wallet.address)
    with reverts(NO_DATA):
        rlc.call("permit", address, spender, 7, FOREVER, 28, "0x" + "11" * 32, "0x" + "22" * 32)
    rlc.call("permit", address, spender, 7, FOREVER, 27, "0x" + "11" * 32, "0x" + "22" * 32)
    assert (rlc.call("allowance", address, spender), rlc.call("nonces", address)) == (7, 1)


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_a_contract_that_refuses_fails_or_answers_too_little_permits_nothing(
    rlc: ChainContract, spender: str, mode: int
) -> None:
    wallet = mock("wallet_contract", mode, b"\x11" * 32 + b"\x22" * 32 + b"\x1b")
    with reverts(NO_DATA):
        rlc.call("permit", str(wallet.address), spender, 7, FOREVER, 27, "0x" + "11" * 32, "0x" + "22" * 32)


def test_an_account_with_a_key_and_code_signs_with_its_key(rlc: ChainContract, owner: Person, spender: str) -> None:
    """As since EIP-7702: here code that reverts."""
    boa.env.set_code(owner.address, bytes.fromhex("5f5ffd"))
    rlc.call("permit", owner.address, spender, 7, FOREVER, *signed(rlc, owner, spender, 7))
    assert rlc.call("allowance", owner.address, spender) == 7


# --- the domain -----------------------------------------------------------------------------------------------------


def separator(rlc: ChainContract, chain: int) -> str:
    """The domain's hash, put together by hand."""
    type_ = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    parts = (keccak(type_), keccak(b"iExec RLC Token"), keccak(b"1"), chain, rlc.address)
    return to_hex(keccak(encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], parts)))


def test_the_token_describes_its_domain(rlc: ChainContract) -> None:
    described = ("0x0f", "iExec RLC Token", "1", chain_id(), rlc.address, ZERO32, ())
    fields, *rest = rlc.call("eip712Domain")
    assert (fields if isinstance(fields, str) else to_hex(fields), *rest[:-1], tuple(rest[-1])) == described
    assert rlc.call("DOMAIN_SEPARATOR") == separator(rlc, chain_id())
    assert rlc.call("version") == "v0.1", "that of the published code, and no part of the domain"


def test_on_a_fork_of_the_chain_the_domain_is_another(rlc: ChainContract, owner: Person, spender: str) -> None:
    here = chain_id()
    signature = signed(rlc, owner, spender, 7)
    boa.env.evm.patch.chain_id = here + 1
    try:
        assert rlc.call("DOMAIN_SEPARATOR") == separator(rlc, here + 1)
        assert rlc.call("eip712Domain")[3] == here + 1
        with reverts(NO_DATA):
            rlc.call("permit", owner.address, spender, 7, FOREVER, *signature)
        rlc.call("permit", owner.address, spender, 7, FOREVER, *signed(rlc, owner, spender, 7))
    finally:
        boa.env.evm.patch.chain_id = here
    assert rlc.call("DOMAIN_SEPARATOR") == separator(rlc, here)


def test_the_typehash_is_that_of_the_standard(rlc: ChainContract, owner: Person, spender: str) -> None:
    """EIP-2612 gives the digest's layout; this is it, byte by byte."""
    type_ = b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
    struct = (keccak(type_), owner.address, spender, 7, 0, FOREVER)
    words = encode(["bytes32", "address", "address", "uint256", "uint256", "uint256"], struct)
    digest = keccak(b"\x19\x01" + from_hex(rlc.call("DOMAIN_SEPARATOR")) + keccak(words))
    assert digest == permit_hash(rlc.address, chain_id(), owner.address, spender, 7)
