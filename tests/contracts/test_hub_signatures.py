"""`verifySignature`, `verifyPresignature`, `verifyPresignatureOrSignature`: keys, contracts, announcements."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Person, World, as_tuple, bytes32, mock

HASH = "0x" + "5a" * 32
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def _verify(world: World, account: str, hash_: str, signature: bytes) -> bool:
    """Both ways must agree when nothing is presigned."""
    verdict = bool(world.hub.call("verifySignature", account, hash_, signature))
    assert bool(world.hub.call("verifyPresignatureOrSignature", account, hash_, signature)) == verdict
    return verdict


def _compact(signature: bytes) -> bytes:
    return signature[:32] + bytes([signature[32] | (signature[64] - 27) << 7]) + signature[33:64]


def _malleated(signature: bytes) -> bytes:
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hash_=st.binary(min_size=32, max_size=32), role=st.sampled_from("abcd"))
def test_a_key_signs_in_two_formats_and_not_malleably(world: World, hash_: bytes, role: str) -> None:
    signer = Person(role)
    text = "0x" + hash_.hex()
    signature = from_hex(signer.sign(hash_))
    assert _verify(world, signer.address, text, signature)
    assert _verify(world, signer.address, text, _compact(signature))
    assert not _verify(world, signer.address, text, _malleated(signature))
    assert not _verify(world, world.stranger.address, text, signature)
    assert not _verify(world, signer.address, bytes32(1), signature)


def test_a_flipped_bit_anywhere_spoils_a_signature(world: World) -> None:
    signer = Person("a")
    signature = bytearray(from_hex(signer.sign(HASH)))
    for position in range(0, 65, 4):
        signature[position] ^= 1
        assert not _verify(world, signer.address, HASH, bytes(signature))
        signature[position] ^= 1
    assert _verify(world, signer.address, HASH, bytes(signature))


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_only_27_and_28_are_recovery_ids(world: World, v: int) -> None:
    signer = Person("a")
    assert not _verify(world, signer.address, HASH, from_hex(signer.sign(HASH))[:64] + bytes([v]))


@pytest.mark.parametrize("length", [0, 1, 32, 63, 66, 128, 1024])
def test_a_key_has_no_signature_of_another_length(world: World, length: int) -> None:
    for function in ("verifySignature", "verifyPresignatureOrSignature"):
        with reverts("invalid-signature-format"):
            world.hub.call(function, world.stranger.address, HASH, b"\x01" * length)


def test_a_signature_beyond_our_bound_reverts(world: World) -> None:
    with reverts(NO_DATA):
        world.hub.call("verifySignature", world.stranger.address, HASH, b"\x01" * 1025)


def test_nobody_never_signed_anything(world: World) -> None:
    """Deviation: the peer accepts an unrecoverable signature for the zero address."""
    for signature in (b"\x00" * 65, b"\x00" * 64, b""):
        assert not _verify(world, ZERO_ADDRESS, HASH, signature)
    assert not world.hub.call("verifyPresignature", ZERO_ADDRESS, HASH)


@pytest.mark.parametrize("password", [b"", b"x", b"y" * 64])
def test_a_contract_judges_signatures_of_any_form(world: World, password: bytes) -> None:
    wallet = str(mock("wallet_contract", 0, password).address)
    assert _verify(world, wallet, HASH, password)
    assert not _verify(world, wallet, HASH, password + b"!")


def test_a_contract_that_refuses_or_fails_says_no(world: World) -> None:
    for mode in (1, 2):
        assert not _verify(world, str(mock("wallet_contract", mode, b"x").address), HASH, b"x")
    assert not _verify(world, str(mock("owned_thing", world.owner.address).address), HASH, b"x")


def test_a_contract_that_answers_too_little_reverts_without_data(world: World) -> None:
    wallet = str(mock("wallet_contract", 3, b"x").address)
    for function in ("verifySignature", "verifyPresignatureOrSignature"):
        with reverts(NO_DATA):
            world.hub.call(function, wallet, HASH, b"x")


def test_a_presigned_hash_needs_no_signature(world: World) -> None:
    order = world.unsigned_orders().request
    hash_ = world.order_hash(order)
    requester = world.requester.address
    assert not world.hub.call("verifyPresignature", requester, hash_)
    world.hub.call("manageRequestOrder", (as_tuple(order), 0, b""), sender=requester)
    assert world.hub.call("verifyPresignature", requester, hash_)
    assert not world.hub.call("verifyPresignature", world.stranger.address, hash_)
    assert not world.hub.call("verifyPresignature", requester, HASH)
    for signature in (b"", b"\x00" * 65, b"anything at all"):
        assert world.hub.call("verifyPresignatureOrSignature", requester, hash_, signature)
    with reverts("invalid-signature-format"):
        world.hub.call("verifySignature", requester, hash_, b"")
