"""Signed permits of the token (EIP-2612), hashed by another library than ours."""

from __future__ import annotations

from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from fairgrid.protocol.hexes import from_hex, to_hex32

__all__ = ["FOREVER", "Signature", "permit_hash", "split"]

FOREVER = 2**256 - 1

Signature = tuple[int, str, str]
"""v, r, s."""


def permit_hash(
    token: str, chain_id: int, owner: str, spender: str, value: int, *, nonce: int = 0, deadline: int = FOREVER
) -> bytes:
    """What ``owner`` signs so that ``spender`` may take ``value``."""
    message = encode_typed_data(
        {"name": "iExec RLC Token", "version": "1", "chainId": chain_id, "verifyingContract": token},
        {
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ]
        },
        {"owner": owner, "spender": spender, "value": value, "nonce": nonce, "deadline": deadline},
    )
    return keccak(b"\x19" + message.version + message.header + message.body)


def split(signature: str) -> Signature:
    """A 65-byte signature as `permit` takes it."""
    raw = from_hex(signature)
    return raw[64], to_hex32(raw[:32]), to_hex32(raw[32:64])
