"""Seals (decision 42), and who signed what: recovery of EIP-191 and EIP-712 signers.

A worker sends the pool a signed seal of its digest before anybody is authorised to contribute; a contribution that
differs from its seal is evidence. The salt is 32 random bytes chosen by the worker and kept until the opening.
"""

from __future__ import annotations

from typing import Any, Final

import coincurve

from fairgrid.errors import OrderError
from fairgrid.protocol.hexes import (
    ZERO_ADDRESS,
    address_bytes,
    bytes32,
    checksum,
    from_hex,
    keccak,
    to_hex,
    to_hex32,
    uint256_bytes,
)
from fairgrid.protocol.typed_data import typed_data_hash

__all__ = [
    "ENROL_TYPE_HASH",
    "SEAL_TYPE_HASH",
    "challenge_message",
    "message_hash",
    "recover_address",
    "recover_message_signer",
    "recover_typed_data_signer",
    "seal_hash",
]

ENROL_TYPE_HASH: Final = to_hex32(keccak(b"fairgrid/enrol/1"))
SEAL_TYPE_HASH: Final = to_hex32(keccak(b"fairgrid/seal/1"))
_ENROL_TYPE: Final = from_hex(ENROL_TYPE_HASH)
_SEAL_TYPE: Final = from_hex(SEAL_TYPE_HASH)
_SEAL_LENGTHS: Final = (42, 66, 42, 66, 66)
_SEAL_BYTES: Final = 8 * 32
_PAD: Final = "00" * 12
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER: Final = _ORDER // 2


def challenge_message(chain_id: int, hub: str, workerpool: str, worker: str, nonce: str) -> bytes:
    """The 32 bytes that a worker signs as an EIP-191 message to answer a pool's challenge.

    keccak256(abi.encode(keccak256("fairgrid/enrol/1"), chainId, hub, workerpool, worker, nonce)). Never the nonce
    itself: a hostile pool would choose one that is a seal, or an authorisation of another pool.
    """
    return keccak(
        _ENROL_TYPE
        + uint256_bytes(chain_id)
        + bytes(12)
        + address_bytes(hub)
        + bytes(12)
        + address_bytes(workerpool)
        + bytes(12)
        + address_bytes(worker)
        + bytes32(nonce)
    )


def seal_hash(chain_id: int, hub: str, task: str, round_: int, worker: str, digest: str, salt: str) -> str:
    """The seal of ``digest``: the worker signs these 32 bytes as an EIP-191 message.

    keccak256(abi.encode(keccak256("fairgrid/seal/1"), chainId, hub, taskId, round, worker, digest, salt)).
    ``round_`` counts the rounds of authorisation that the pool opened for the task, from 0.
    """
    # All in one go: as long as it should be when nothing is wrong with any part.
    texts = (hub, task, worker, digest, salt)
    if tuple(map(len, texts)) == _SEAL_LENGTHS and all(text[:2] == "0x" for text in texts):
        whole = (
            f"{SEAL_TYPE_HASH[2:]}{chain_id:064x}{_PAD}{hub[2:]}{task[2:]}{round_:064x}{_PAD}{worker[2:]}"
            f"{digest[2:]}{salt[2:]}"
        )
        try:
            message = bytes.fromhex(whole)
        except ValueError:
            message = b""
        if len(message) == _SEAL_BYTES and 2 * len(message) == len(whole):
            return to_hex32(keccak(message))
    return to_hex32(
        keccak(
            _SEAL_TYPE
            + uint256_bytes(chain_id)
            + bytes(12)
            + address_bytes(hub)
            + bytes32(task)
            + uint256_bytes(round_)
            + bytes(12)
            + address_bytes(worker)
            + bytes32(digest)
            + bytes32(salt)
        )
    )


def message_hash(message: bytes) -> bytes:
    """The EIP-191 personal-message hash that wallets sign for ``message``."""
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode("ascii") + message)


def recover_address(digest: bytes, signature: str) -> str:
    """Who signed the 32-byte ``digest``, by the rule of the hub; `ZERO_ADDRESS` when nobody can be recovered.

    65 bytes are r, s, v (v 27 or 28), 64 bytes are r, vs (EIP-2098); a high s recovers to nobody.

    Raises:
        OrderError: the signature has another length (the hub reverts ``invalid-signature-format``).
    """
    raw = from_hex(signature)
    if len(raw) == 65:
        r, s, recovery = raw[:32], raw[32:64], raw[64] - 27
    elif len(raw) == 64:
        recovery = raw[32] >> 7
        r, s = raw[:32], bytes([raw[32] & 0x7F]) + raw[33:]
    else:
        raise OrderError(f"A signature has 65 or 64 bytes, this one has {len(raw)}: sign again.")
    if recovery not in (0, 1) or not 0 < int.from_bytes(s, "big") <= _HALF_ORDER:
        return ZERO_ADDRESS
    if not 0 < int.from_bytes(r, "big") < _ORDER:
        return ZERO_ADDRESS
    try:
        public_key = coincurve.PublicKey.from_signature_and_message(r + s + bytes([recovery]), digest, hasher=None)
    except Exception:
        # coincurve raises bare Exception for a point that is not on the curve
        return ZERO_ADDRESS
    return checksum(to_hex(keccak(public_key.format(compressed=False)[1:])[12:]))


def recover_message_signer(message32: bytes, signature: str) -> str:
    """Who signed ``message32`` as an EIP-191 message; `ZERO_ADDRESS` when nobody can be recovered.

    Raises:
        OrderError: the signature has neither 64 nor 65 bytes.
    """
    return recover_address(message_hash(message32), signature)


def recover_typed_data_signer(document: dict[str, Any], signature: str) -> str:
    """Who signed this EIP-712 document; `ZERO_ADDRESS` when nobody can be recovered.

    Raises:
        OrderError: the signature has neither 64 nor 65 bytes, or the document is malformed.
    """
    return recover_address(from_hex(typed_data_hash(document)), signature)
