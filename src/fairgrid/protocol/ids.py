"""Identifiers that chain and clients compute alike: deals, tasks, result hashes and seals, authorisations.

``‖`` in the chain's specification is concatenation of raw bytes: ids are 32 bytes, addresses 20, numbers 32.
"""

from __future__ import annotations

from functools import lru_cache

from fairgrid.protocol.hexes import ZERO_ADDRESS, address_bytes, bytes32, keccak, to_hex32, uint256_bytes

__all__ = [
    "authorisation_message",
    "deal_id",
    "enclave_message",
    "result_hash",
    "result_seal",
    "task_id",
]


def deal_id(request_hash: str, consumed_before: int) -> str:
    """keccak256(request order hash ‖ units of it consumed before this deal, which is the deal's ``bot_first``)."""
    return to_hex32(keccak(bytes32(request_hash) + uint256_bytes(consumed_before)))


def task_id(deal: str, index: int) -> str:
    """keccak256(deal id ‖ index), where bot_first ≤ ``index`` < bot_first + bot_size (it counts within the request)."""
    return to_hex32(keccak(bytes32(deal) + uint256_bytes(index)))


@lru_cache(maxsize=8_192)
def result_hash(task: str, digest: str) -> str:
    """keccak256(task id ‖ digest): what contributions of the same result have in common."""
    return to_hex32(keccak(bytes32(task) + bytes32(digest)))


def result_seal(worker: str, task: str, digest: str) -> str:
    """keccak256(worker ‖ task id ‖ digest): binds a contribution to its worker; a copied hash cannot be revealed."""
    return to_hex32(keccak(address_bytes(worker) + bytes32(task) + bytes32(digest)))


def authorisation_message(worker: str, task: str, enclave_challenge: str = ZERO_ADDRESS) -> bytes:
    """The 32 bytes that the pool's owner signs as an EIP-191 message to let ``worker`` contribute to ``task``."""
    return keccak(address_bytes(worker) + bytes32(task) + address_bytes(enclave_challenge))


def enclave_message(hash_of_result: str, seal_of_result: str) -> bytes:
    """The 32 bytes that an enclave signs as an EIP-191 message over result hash and result seal."""
    return keccak(bytes32(hash_of_result) + bytes32(seal_of_result))
