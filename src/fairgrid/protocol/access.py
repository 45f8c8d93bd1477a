"""What is signed for access to a pool: by a requester to see its own running task, by an operator for each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairgrid.protocol.hexes import address_bytes, from_hex, hex32, keccak, to_hex32, uint256_bytes

__all__ = [
    "ACCESS_TYPE_HASH",
    "MAX_ACCESS_S",
    "MAX_OPERATOR_ACCESS_S",
    "OPERATOR_TYPE_HASH",
    "PoolPlace",
    "access_message",
    "operator_message",
]

ACCESS_TYPE_HASH: Final = to_hex32(keccak(b"fairgrid/live/1"))
MAX_ACCESS_S: Final = 3_600
"""How far ahead an access may end, in seconds."""
OPERATOR_TYPE_HASH: Final = to_hex32(keccak(b"fairgrid/operator/1"))
MAX_OPERATOR_ACCESS_S: Final = 300
"""How far ahead an operator's signature may end, in seconds."""


@dataclass(frozen=True, slots=True)
class PoolPlace:
    """Which pool a requester means: from its own network file, never from the pool's word (decision 31).

    A pool that could name another hub or workerpool would get a signature that opens the task at that one.
    """

    chain_id: int
    hub: str
    workerpool: str


def access_message(chain_id: int, hub: str, workerpool: str, task: str, expires_at: int) -> bytes:
    """The 32 bytes that a requester signs as an EIP-191 message.

    keccak256(abi.encode(keccak256("fairgrid/live/1"), chainId, hub, workerpool, taskId, expiresAt)); the time is in
    seconds since the epoch.
    """
    return keccak(
        from_hex(ACCESS_TYPE_HASH)
        + uint256_bytes(chain_id)
        + bytes(12)
        + address_bytes(hub)
        + bytes(12)
        + address_bytes(workerpool)
        + from_hex(hex32(task))
        + uint256_bytes(expires_at)
    )


def operator_message(
    chain_id: int, hub: str, workerpool: str, *, method: str, target: str, body: bytes, nonce: str, expires_at: int
) -> bytes:
    """The 32 bytes that a pool's operator signs as an EIP-191 message, anew for each request.

    keccak256(abi.encode(keccak256("fairgrid/operator/1"), chainId, hub, workerpool, keccak256(METHOD + " " + target),
    keccak256(body), nonce, expiresAt)). ``target`` is path and query as they are sent, ``nonce`` 32 random bytes that
    count once, the time is in seconds since the epoch.
    """
    return keccak(
        from_hex(OPERATOR_TYPE_HASH)
        + uint256_bytes(chain_id)
        + bytes(12)
        + address_bytes(hub)
        + bytes(12)
        + address_bytes(workerpool)
        + keccak(f"{method.upper()} {target}".encode())
        + keccak(body)
        + from_hex(hex32(nonce))
        + uint256_bytes(expires_at)
    )
