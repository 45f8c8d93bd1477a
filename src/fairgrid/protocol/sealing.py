"""Sealing a key for one reader: X25519, HKDF-SHA256, AES-256-GCM; and who says that an encryption key is whose.

::

    sealed = ephemeral public key (32) ‖ AES-256-GCM(key, nonce 0, content, context)
    key    = HKDF-SHA256(X25519(ephemeral, reader), ephemeral ‖ reader, "fairgrid/sealed/1")

Each ephemeral key is used once, so the nonce may be fixed. ``context`` is authenticated and not sent: a sealed key that
is moved to where another context holds does not open.

An encryption key follows from the signature of one fixed message by its owner's account, so the account alone brings it
back, and nothing has to be kept. Whoever gets that signature has the key: sign that message nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairgrid.errors import UsageError, VerificationError
from fairgrid.protocol.encrypted_files import derived_key
from fairgrid.protocol.hexes import checksum, from_hex, keccak

__all__ = [
    "ENCRYPTION_KEY_MESSAGE",
    "EncryptionKey",
    "encryption_key_of",
    "pool_key_message",
    "seal_for",
    "worker_key_message",
]

ENCRYPTION_KEY_MESSAGE: Final = (
    b"Fairgrid encryption key, version 1.\n\nWhoever has this signature can read what is encrypted for this account. "
    b"Sign it in Fairgrid only."
)
"""Signed (EIP-191) by an account; its encryption key follows from the signature."""
_PUBLIC_BYTES: Final = 32
_NONCE: Final = bytes(12)
_INFO: Final = b"fairgrid/sealed/1"


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """The secret half of an account's encryption key."""

    _secret: X25519PrivateKey = field(repr=False)

    @classmethod
    def from_seed(cls, seed: bytes) -> EncryptionKey:
        """The key of 32 secret bytes."""
        return cls(X25519PrivateKey.from_private_bytes(seed))

    @property
    def public(self) -> bytes:
        """The 32 bytes that others seal for."""
        return self._secret.public_key().public_bytes_raw()

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed for this key in this context.

        Raises:
            VerificationError: it was sealed for another key or in another context, or was changed.
        """
        try:
            sender = X25519PublicKey.from_public_bytes(sealed[:_PUBLIC_BYTES])
            shared = self._secret.exchange(sender)
            key = derived_key(shared, _INFO, salt=sealed[:_PUBLIC_BYTES] + self.public)
            return AESGCM(key).decrypt(_NONCE, sealed[_PUBLIC_BYTES:], context)
        except (ValueError, InvalidTag):
            raise VerificationError(
                "A sealed key does not open: it was sealed for another account, pool, app or job, or was changed."
            ) from None


def seal_for(public: bytes, content: bytes, context: bytes) -> bytes:
    """Seal ``content`` so that only the owner of ``public`` opens it, and only in ``context``.

    Raises:
        UsageError: ``public`` is no X25519 key.
    """
    ephemeral = X25519PrivateKey.generate()
    sender = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise UsageError("These bytes are no encryption key (X25519). Nothing was sealed for it.") from None
    key = derived_key(shared, _INFO, salt=sender + public)
    return sender + AESGCM(key).encrypt(_NONCE, content, context)


def encryption_key_of(sign_message: Callable[[bytes], str]) -> EncryptionKey:
    """The encryption key of the account that signs with ``sign_message`` (EIP-191, 0x-hex).

    Raises:
        UsageError: the account signs differently each time, so no key follows from it.
    """
    first, second = (from_hex(sign_message(ENCRYPTION_KEY_MESSAGE)) for _ in range(2))
    if first != second:
        raise UsageError(
            "This account's signer gives another signature each time, so what is encrypted for it could not be read "
            "again. Use an account with a keystore or a hardware wallet for private runs."
        )
    # v is 0, 1, 27 or 28 for one and the same signature: it says nothing of the key.
    return EncryptionKey.from_seed(derived_key(first[:64], b"fairgrid/encryption-key/1"))


def pool_key_message(chain_id: int, hub: str, workerpool: str, public: bytes) -> bytes:
    """The 32 bytes by whose EIP-191 signature a scheduler says that ``public`` is its pool's encryption key."""
    return _statement("pool-encryption-key/1", chain_id, hub, workerpool, public)


def worker_key_message(chain_id: int, hub: str, workerpool: str, worker: str, task: str, public: bytes) -> bytes:
    """The 32 bytes by whose EIP-191 signature a worker asks its pool for a task's key, sealed for ``public``."""
    return _statement("task-key/1", chain_id, hub, workerpool, public, worker=checksum(worker), task=task)


def _statement(what: str, chain_id: int, hub: str, workerpool: str, public: bytes, **more: str) -> bytes:
    place = {"chainId": str(chain_id), "hub": checksum(hub), "workerpool": checksum(workerpool)}
    return keccak(rfc8785.dumps({"fairgrid": what, "key": public.hex(), **place, **more}))
