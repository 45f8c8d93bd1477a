"""The signer seam: whoever holds a key and signs, wherever the key is."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Signer"]


class Signer(Protocol):
    """An address and its three signatures."""

    @property
    def address(self) -> str:
        """EIP-55 checksummed address."""
        ...

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        """EIP-712 signature (65 bytes, 0x-hex) of a full typed-data document (types, domain, primaryType, message)."""
        ...

    def sign_message(self, message: bytes) -> str:
        """EIP-191 personal signature (65 bytes, 0x-hex) of ``message``."""
        ...

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """Raw signed transaction, ready to be sent."""
        ...
