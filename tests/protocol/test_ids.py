from __future__ import annotations

from eth_abi.packed import encode_packed

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex, keccak, to_hex32

WORKER = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
CHALLENGE = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
FIRST = "0x" + "11" * 32
SECOND = "0x" + "22" * 32


def packed(types: list[str], *values: object) -> str:
    return to_hex32(keccak(encode_packed(types, list(values))))


def test_ids_are_the_packed_hashes_of_the_specification() -> None:
    first, second = from_hex(FIRST), from_hex(SECOND)
    assert ids.deal_id(FIRST, 7) == packed(["bytes32", "uint256"], first, 7)
    assert ids.task_id(FIRST, 7) == packed(["bytes32", "uint256"], first, 7)
    assert ids.result_hash(FIRST, SECOND) == packed(["bytes32", "bytes32"], first, second)
    assert ids.result_seal(WORKER, FIRST, SECOND) == packed(["address", "bytes32", "bytes32"], WORKER, first, second)
    assert ids.authorisation_message(WORKER, FIRST, CHALLENGE) == from_hex(
        packed(["address", "bytes32", "address"], WORKER, first, CHALLENGE)
    )
    assert ids.enclave_message(FIRST, SECOND) == from_hex(packed(["bytes32", "bytes32"], first, second))


def test_an_authorisation_names_no_enclave_by_default() -> None:
    assert ids.authorisation_message(WORKER, FIRST) == ids.authorisation_message(WORKER, FIRST, ZERO_ADDRESS)


def test_two_workers_seal_one_digest_differently_but_agree_on_its_hash() -> None:
    assert ids.result_seal(WORKER, FIRST, SECOND) != ids.result_seal(CHALLENGE, FIRST, SECOND)
    assert ids.result_hash(FIRST, SECOND) == ids.result_hash(FIRST, SECOND.upper().replace("0X", "0x"))
