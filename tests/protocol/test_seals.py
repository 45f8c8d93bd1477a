from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct

from fairgrid.errors import OrderError
from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex, keccak, to_hex, to_hex32
from fairgrid.protocol.seals import (
    challenge_message,
    recover_address,
    recover_message_signer,
    recover_typed_data_signer,
    seal_hash,
)
from tests.protocol.actors import Actor, compact, malleable

VECTORS = Path(__file__).parent / "vectors"
JUNK_ACCOUNT = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ALICE = Actor("alice")
HASH = keccak(b"something")


def test_the_seal_is_the_abi_encoding_that_is_documented() -> None:
    task, digest, salt = ("0x" + byte * 32 for byte in ("11", "22", "33"))
    hub, worker = Actor("hub").address, Actor("worker").address
    types = ["bytes32", "uint256", "address", "bytes32", "uint256", "address", "bytes32", "bytes32"]
    values = [keccak(b"fairgrid/seal/1"), 31337, hub, from_hex(task), 2, worker, from_hex(digest), from_hex(salt)]
    assert seal_hash(31337, hub, task, 2, worker, digest, salt) == to_hex32(keccak(encode(types, values)))


def test_every_part_changes_the_seal() -> None:
    task, digest, salt = ("0x" + byte * 32 for byte in ("11", "22", "33"))
    hub, worker = Actor("hub").address, Actor("worker").address
    seals = {
        seal_hash(31337, hub, task, 0, worker, digest, salt),
        seal_hash(1, hub, task, 0, worker, digest, salt),
        seal_hash(31337, worker, task, 0, worker, digest, salt),
        seal_hash(31337, hub, digest, 0, worker, digest, salt),
        seal_hash(31337, hub, task, 1, worker, digest, salt),
        seal_hash(31337, hub, task, 0, hub, digest, salt),
        seal_hash(31337, hub, task, 0, worker, task, salt),
        seal_hash(31337, hub, task, 0, worker, digest, task),
    }
    assert len(seals) == 8


def test_recorded_signatures_recover_to_their_signer() -> None:
    documents = json.loads((VECTORS / "typed-data.json").read_text())
    for name, reference in json.loads((VECTORS / "typed-data-reference.json").read_text()).items():
        assert recover_typed_data_signer(documents[name], "0x" + reference["sig"]) == JUNK_ACCOUNT


def test_messages_signed_by_another_library_recover_to_their_signer() -> None:
    account = Account.from_key(keccak(b"key"))
    signature = to_hex(account.sign_message(encode_defunct(HASH)).signature)
    assert recover_message_signer(HASH, signature) == account.address
    assert recover_message_signer(keccak(b"other"), signature) != account.address


def test_both_forms_of_a_signature_recover_alike() -> None:
    signature = ALICE.sign_hash(HASH)
    assert recover_address(HASH, signature) == ALICE.address
    assert recover_address(HASH, compact(signature)) == ALICE.address


def test_a_malleable_signature_recovers_to_nobody() -> None:
    assert recover_address(HASH, malleable(ALICE.sign_hash(HASH))) == ZERO_ADDRESS


@pytest.mark.parametrize("recovery", [0, 1, 26, 29, 255])
def test_an_unknown_recovery_byte_recovers_to_nobody(recovery: int) -> None:
    assert recover_address(HASH, ALICE.sign_hash(HASH)[:-2] + f"{recovery:02x}") == ZERO_ADDRESS


@pytest.mark.parametrize("signature", ["0x" + "00" * 65, "0x" + "ff" * 65, "0x" + "00" * 64, "0x" + "ff" * 64])
def test_rubbish_of_the_right_length_recovers_to_nobody(signature: str) -> None:
    assert recover_address(HASH, signature) == ZERO_ADDRESS


def test_r_that_is_on_no_point_of_the_curve_recovers_to_nobody() -> None:
    recovered = {
        recover_address(HASH, "0x" + r.to_bytes(32, "big").hex() + "00" * 31 + "01" + "1b") for r in range(1, 12)
    }
    assert ZERO_ADDRESS in recovered  # about half of all x coordinates
    assert len(recovered) > 1


@pytest.mark.parametrize("length", [0, 63, 66, 130])
def test_another_length_is_refused(length: int) -> None:
    with pytest.raises(OrderError, match="65 or 64 bytes"):
        recover_address(HASH, "0x" + "11" * length)


def test_challenge_message_binds_chain_hub_pool_worker_and_nonce() -> None:
    hub, pool, worker, other = ("0x" + f"{number:040x}" for number in (1, 2, 3, 9))
    nonce = "0x" + "07" * 32
    message = challenge_message(31337, hub, pool, worker, nonce)
    others = [
        challenge_message(1, hub, pool, worker, nonce),
        challenge_message(31337, other, pool, worker, nonce),
        challenge_message(31337, hub, other, worker, nonce),
        challenge_message(31337, hub, pool, other, nonce),
        challenge_message(31337, hub, pool, worker, "0x" + "08" * 32),
    ]
    assert len({message, *others}) == 6
    assert message != bytes.fromhex("07" * 32)
