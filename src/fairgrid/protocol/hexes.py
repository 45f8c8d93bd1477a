"""Keccak, 0x-hex text and EIP-55 addresses: the alphabet of everything else in `fairgrid.protocol`."""

from __future__ import annotations

import re
from functools import lru_cache

from eth_hash.auto import keccak as portable_keccak

from fairgrid.errors import OrderError

try:
    from sha3 import keccak_256
except ImportError:
    keccak_256 = None

__all__ = [
    "MAX_UINT256",
    "ZERO32",
    "ZERO_ADDRESS",
    "address_bytes",
    "bytes32",
    "checksum",
    "from_hex",
    "hex32",
    "is_address",
    "is_hex32",
    "keccak",
    "to_hex",
    "to_hex32",
    "uint256_bytes",
]

ZERO_ADDRESS = "0x" + "00" * 20
ZERO32 = "0x" + "00" * 32
MAX_UINT256 = 2**256 - 1

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_HEX32 = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)


def keccak(data: bytes) -> bytes:
    """Keccak-256 (the hash of the chain, not NIST's SHA-3) as 32 bytes."""
    if keccak_256 is None:
        return bytes(portable_keccak(data))
    # A function in C: a third of the portable one's time.
    return bytes(keccak_256(data).digest())


def to_hex(data: bytes) -> str:
    """Lower-case 0x-hex text of any length."""
    return "0x" + data.hex()


def to_hex32(data: bytes) -> str:
    """Lower-case 0x-hex text of exactly 32 bytes.

    Raises:
        OrderError: ``data`` has another length.
    """
    if len(data) != 32:
        raise OrderError(f"Expected 32 bytes, got {len(data)}: give a full bytes32 value.")
    return "0x" + data.hex()


def from_hex(text: str) -> bytes:
    """The bytes of 0x-hex text, in either case.

    Raises:
        OrderError: it is not 0x followed by an even number of hexadecimal digits.
    """
    if isinstance(text, str) and text[:2] in ("0x", "0X"):
        try:
            found = bytes.fromhex(text[2:])
        except ValueError:
            found = b""
        # Python skips blanks; we do not.
        if 2 * len(found) + 2 == len(text):
            return found
    raise OrderError(f"{text!r} is not 0x-hex text: write 0x and an even number of hexadecimal digits.")


def bytes32(text: str) -> bytes:
    """The 32 bytes of a bytes32 in 0x-hex text, in either case.

    Raises:
        OrderError: it is not 32 bytes of 0x-hex text.
    """
    if isinstance(text, str) and len(text) == 66 and text[:2] == "0x":
        try:
            found = bytes.fromhex(text[2:])
        except ValueError:
            found = b""
        if len(found) == 32:
            return found
    raise OrderError(f"{text!r} is not a bytes32: write 0x and 64 hexadecimal digits.")


def hex32(text: str) -> str:
    """A bytes32 in this package's form: 0x and 64 lower-case digits.

    Raises:
        OrderError: it is not 32 bytes of 0x-hex text.
    """
    if not is_hex32(text):
        raise OrderError(f"{text!r} is not a bytes32: write 0x and 64 hexadecimal digits.")
    return text.lower()


def is_hex32(text: object) -> bool:
    """True for 0x and 64 hexadecimal digits, in either case."""
    return isinstance(text, str) and _HEX32.fullmatch(text) is not None


@lru_cache(maxsize=65_536)
def _checksummed(lower: str) -> str:
    digits = lower[2:]
    nibbles = keccak(digits.encode("ascii")).hex()
    return "0x" + "".join(
        digit.upper() if nibble >= "8" else digit for digit, nibble in zip(digits, nibbles, strict=False)
    )


def checksum(address: str) -> str:
    """The EIP-55 form of an address that is written in one case, or already checksummed.

    Raises:
        OrderError: it is not an address, or it is in mixed case and its checksum is wrong (a mistyped digit).
    """
    if not isinstance(address, str) or _ADDRESS.fullmatch(address) is None:
        raise OrderError(f"{address!r} is not an address: write 0x and 40 hexadecimal digits.")
    digits = address[2:]
    proper = _checksummed(address.lower())
    if proper != address and digits != digits.lower() and digits != digits.upper():
        raise OrderError(f"The checksum of address {address} is wrong (is a digit mistyped?): expected {proper}.")
    return proper


def is_address(text: object) -> bool:
    """True for what `checksum` accepts."""
    if not isinstance(text, str):
        return False
    try:
        checksum(text)
    except OrderError:
        return False
    return True


def address_bytes(address: str) -> bytes:
    """The 20 bytes of an address.

    Raises:
        OrderError: it is not an address.
    """
    if isinstance(address, str) and len(address) == 42 and address[:2] == "0x":
        try:
            found = bytes.fromhex(address[2:])
        except ValueError:
            found = b""
        if len(found) == 20:
            return found
    raise OrderError(f"{address!r} is not an address: write 0x and 40 hexadecimal digits.")


def uint256_bytes(value: int) -> bytes:
    """``value`` as 32 big-endian bytes.

    Raises:
        OrderError: it is negative or over 2**256 - 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_UINT256:
        raise OrderError(f"{value!r} is not an unsigned 256-bit number.")
    return value.to_bytes(32, "big")
