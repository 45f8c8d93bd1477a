"""A signer that holds its private key in this process, and the well-known keys of local test chains.

Signing is libsecp256k1's (through coincurve). The Ethereum library of the tests, eth-account, is the oracle that the
bytes are compared with; it is loaded here only for documents that `protocol.typed_data` does not know, because it takes
every process a second to import.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import coincurve

from fairgrid.errors import OrderError, UsageError
from fairgrid.protocol.hexes import address_bytes, checksum, from_hex, keccak, to_hex
from fairgrid.protocol.seals import message_hash
from fairgrid.protocol.typed_data import typed_data_hash

__all__ = ["DEV_MNEMONIC", "KeySigner", "dev_signer"]

DEV_MNEMONIC = "test test test test test test test test test test test junk"
"""The public mnemonic of anvil and hardhat. Everybody knows its keys: money sent to them elsewhere is lost."""

_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HARDENED: Final = 1 << 31
_NUMBERS: Final = ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas")
_FIELDS: Final = frozenset({*_NUMBERS, "to", "value", "data", "type", "accessList", "from"})


class KeySigner:
    """Signs with a private key held in memory. Its text forms show the address only, never the key.

    Signatures are deterministic (RFC 6979) and low-s: the same key and document give the same bytes anywhere.
    """

    __slots__ = ("_address", "_key")

    def __init__(self, private_key: bytes) -> None:
        """Take a 32-byte secp256k1 private key.

        Raises:
            UsageError: it is not 32 bytes, or not between 1 and the order of the curve.
        """
        if len(private_key) != 32:
            raise UsageError(f"A private key has 32 bytes, this one {len(private_key)}.")
        if not 0 < int.from_bytes(private_key, "big") < _ORDER:
            raise UsageError("These 32 bytes are not a private key: it must lie between 1 and the order of the curve.")
        self._key = coincurve.PrivateKey(private_key)
        point = self._key.public_key.format(compressed=False)[1:]
        self._address = checksum(to_hex(keccak(point)[12:]))

    @classmethod
    def generate(cls) -> KeySigner:
        """A new random key from the system's entropy."""
        return cls((secrets.randbelow(_ORDER - 1) + 1).to_bytes(32, "big"))

    @property
    def address(self) -> str:
        """EIP-55 checksummed address."""
        return self._address

    @property
    def private_key(self) -> bytes:
        """The 32 bytes themselves, for a keystore; log them nowhere."""
        return bytes(self._key.secret)

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        """EIP-712 signature (65 bytes, 0x-hex, v 27 or 28) of a full document.

        Raises:
            UsageError: it is not a typed-data document (types, domain, primaryType, message).
        """
        try:
            digest = from_hex(typed_data_hash(typed_data))
        except OrderError:
            digest = _foreign_typed_data_hash(typed_data)
        return self._signature(digest)

    def sign_message(self, message: bytes) -> str:
        """EIP-191 personal signature (65 bytes, 0x-hex, v 27 or 28) of ``message``."""
        return self._signature(message_hash(message))

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """Raw signed bytes of an EIP-1559 transaction.

        Keys: ``chainId``, ``nonce``, ``gas``, ``maxFeePerGas``, ``maxPriorityFeePerGas``; ``value`` (0), ``data``
        (bytes or 0x-hex, empty) and ``to`` (without it the transaction creates a contract) may be left out.

        Raises:
            UsageError: a field is missing, unknown or wrong, no chain is named (it could be replayed on another), or
                ``from`` names somebody else.
        """
        try:
            unsigned = _transaction_fields(transaction, self._address)
        except OrderError as error:
            raise UsageError(f"This transaction cannot be signed: {error}") from error
        signature = self._key.sign_recoverable(keccak(b"\x02" + _rlp(unsigned)), hasher=None)
        r, s, parity = signature[:32], signature[32:64], signature[64]
        return b"\x02" + _rlp([*unsigned, parity, int.from_bytes(r, "big"), int.from_bytes(s, "big")])

    def _signature(self, digest: bytes) -> str:
        signature = self._key.sign_recoverable(digest, hasher=None)
        return to_hex(signature[:64] + bytes([signature[64] + 27]))

    def __repr__(self) -> str:
        return f"KeySigner({self.address})"


@lru_cache(maxsize=256)
def dev_signer(index: int) -> KeySigner:
    """The key ``m/44'/60'/0'/0/index`` of `DEV_MNEMONIC`: for chain 31337 and tests only, which the caller checks.

    Raises:
        UsageError: ``index`` is negative or over 2^31.
    """
    if not 0 <= index < _HARDENED:
        raise UsageError(f"A test account's index counts from 0 to 2^31, not {index}.")
    seed = hashlib.pbkdf2_hmac("sha512", DEV_MNEMONIC.encode(), b"mnemonic", 2048)
    node = hmac.digest(b"Bitcoin seed", seed, "sha512")
    for step in (44 + _HARDENED, 60 + _HARDENED, _HARDENED, 0, index):
        node = _child(node, step)
    return KeySigner(node[:32])


def _child(node: bytes, step: int) -> bytes:
    """BIP-32: the private child ``step`` of a node (32 bytes of key, 32 bytes of chain code)."""
    parent = coincurve.PrivateKey(node[:32])
    known = b"\x00" + parent.secret if step & _HARDENED else parent.public_key.format(compressed=True)
    derived = hmac.digest(node[32:], known + step.to_bytes(4, "big"), "sha512")
    key = (int.from_bytes(derived[:32], "big") + int.from_bytes(parent.secret, "big")) % _ORDER
    return key.to_bytes(32, "big") + derived[32:]


def _foreign_typed_data_hash(document: dict[str, Any]) -> bytes:
    from eth_account.messages import encode_typed_data

    try:
        encoded = encode_typed_data(full_message=document)
        return keccak(b"\x19" + encoded.version + encoded.header + encoded.body)
    except Exception as error:
        raise UsageError(f"This typed-data document cannot be signed: {error}.") from error


_Item = int | bytes | Sequence["_Item"]


def _transaction_fields(transaction: Mapping[str, Any], sender: str) -> list[_Item]:
    if "gasPrice" in transaction or transaction.get("type", 2) not in (2, "0x2"):
        raise UsageError("Only EIP-1559 transactions are signed: give maxFeePerGas and maxPriorityFeePerGas.")
    unknown = set(transaction) - _FIELDS
    if unknown or transaction.get("accessList"):
        raise UsageError(
            f"This transaction cannot be signed: {', '.join(sorted(unknown)) or 'accessList'} is not known."
        )
    if type(transaction.get("chainId")) is not int or transaction["chainId"] < 1:
        raise UsageError("A transaction is signed for one chain: give its chainId.")
    if transaction.get("from", sender) != sender:
        raise UsageError(f"This transaction is of {transaction['from']}; the key is that of {sender}.")
    numbers = [transaction.get(name) for name in _NUMBERS] + [transaction.get("value", 0)]
    for name, number in zip((*_NUMBERS, "value"), numbers, strict=True):
        if type(number) is not int or not 0 <= number < 1 << 256:
            raise UsageError(f"This transaction cannot be signed: {name} is {number!r}, not a number.")
    data, to = transaction.get("data", b""), transaction.get("to")
    fields: list[_Item] = [number for number in numbers if number is not None]
    target = b"" if to is None else address_bytes(to)
    payload = from_hex(data) if isinstance(data, str) else bytes(data)
    return [*fields[:5], target, fields[5], payload, []]


def _rlp(item: _Item) -> bytes:
    """Recursive length prefix encoding."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _length(len(item), 0x80) + item
    body = b"".join(_rlp(part) for part in item)
    return _length(len(body), 0xC0) + body


def _length(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    number = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(number)]) + number
