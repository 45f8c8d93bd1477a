from __future__ import annotations

import subprocess
import sys

import pytest

from fairgrid.errors import OrderError
from fairgrid.protocol.hexes import (
    MAX_UINT256,
    ZERO32,
    ZERO_ADDRESS,
    address_bytes,
    checksum,
    from_hex,
    hex32,
    is_address,
    is_hex32,
    keccak,
    to_hex32,
    uint256_bytes,
)

# the examples of EIP-55 itself
CHECKSUMMED = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize("address", CHECKSUMMED)
def test_an_address_in_one_case_gets_its_checksum(address: str) -> None:
    assert checksum(address.lower()) == address
    assert checksum("0x" + address[2:].upper()) == address
    assert checksum(address) == address


def test_an_address_with_a_mistyped_case_is_refused() -> None:
    with pytest.raises(OrderError, match="checksum"):
        checksum("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD")


@pytest.mark.parametrize(
    "text", ["", "0x", "0x12", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x" + "g" * 40, None, 7]
)
def test_what_is_no_address_is_refused(text: object) -> None:
    assert not is_address(text)
    with pytest.raises(OrderError, match="not an address"):
        checksum(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["0x123", "1234", "0xgg", "", "0x12\n", "0x\uff11\uff12", None])
def test_odd_or_foreign_digits_are_no_hex(text: str) -> None:
    with pytest.raises(OrderError, match="not 0x-hex"):
        from_hex(text)


def test_bytes32_text_is_lowered_and_measured() -> None:
    assert hex32("0x" + "AB" * 32) == "0x" + "ab" * 32
    assert is_hex32(ZERO32)
    assert not is_hex32(ZERO_ADDRESS)
    with pytest.raises(OrderError, match="not a bytes32"):
        hex32("0x" + "ab" * 31)
    with pytest.raises(OrderError, match="32 bytes"):
        to_hex32(b"short")


def test_keccak_is_the_chains_and_not_sha3() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_numbers_are_256_unsigned_bits() -> None:
    assert uint256_bytes(1) == b"\0" * 31 + b"\x01"
    assert uint256_bytes(MAX_UINT256) == b"\xff" * 32
    for value in (-1, MAX_UINT256 + 1, True):
        with pytest.raises(OrderError, match="256-bit"):
            uint256_bytes(value)


def test_address_bytes_are_twenty() -> None:
    assert address_bytes(ZERO_ADDRESS) == bytes(20)
    with pytest.raises(OrderError, match="not an address"):
        address_bytes(ZERO32)


@pytest.mark.parametrize("length", [0, 1, 135, 136, 137, 500])
def test_the_fast_hash_and_the_portable_one_say_the_same(length: int) -> None:
    data = bytes(number % 251 for number in range(length))
    portable = (
        "import sys; sys.modules['sha3'] = None; from fairgrid.protocol.hexes import keccak;"
        "print(keccak(bytes.fromhex(sys.argv[1])).hex())"
    )
    said = subprocess.run([sys.executable, "-c", portable, data.hex()], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == keccak(data).hex()
