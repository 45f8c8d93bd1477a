"""Files of private runs: what goes in comes out, and nothing that was tampered with opens."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.errors import VerificationError
from fairgrid.protocol.encrypted_files import (
    CHUNK_BYTES,
    HEADER_BYTES,
    Purpose,
    decrypt_bytes,
    decrypt_file,
    decrypted_chunks,
    encrypt_bytes,
    encrypt_file,
    encrypted_size,
    is_encrypted,
)

KEY = bytes(range(32))
BLOCK = CHUNK_BYTES + 16
SIZES = [0, 1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]


def content(size: int) -> bytes:
    return (b"marker of a secret " * (size // 19 + 1))[:size]


def opens(data: bytes, *, key: bytes = KEY, purpose: Purpose = Purpose.INPUT) -> bool:
    try:
        decrypt_bytes(key, data, purpose)
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_and_the_size_is_foretold(size: int) -> None:
    data = encrypt_bytes(KEY, content(size), Purpose.INPUT)
    assert len(data) == encrypted_size(size)
    assert is_encrypted(data[:8]) and not is_encrypted(b"PK\x03\x04")
    assert b"marker" not in data
    assert decrypt_bytes(KEY, data, Purpose.INPUT) == content(size)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_the_same_as_its_bytes_and_is_readable_by_its_owner_only(tmp_path: Path, size: int) -> None:
    plain, cipher, back = tmp_path / "plain", tmp_path / "cipher", tmp_path / "back"
    plain.write_bytes(content(size))
    encrypt_file(KEY, plain, cipher, Purpose.RESULT)
    assert cipher.read_bytes() == encrypt_bytes(KEY, content(size), Purpose.RESULT)
    decrypt_file(KEY, cipher, back, Purpose.RESULT)
    assert back.read_bytes() == content(size)
    assert back.stat().st_mode & 0o777 == 0o600


def test_the_same_content_gives_the_same_bytes_and_another_content_another_key_stream() -> None:
    one, other = content(100), content(99) + b"!"
    assert encrypt_bytes(KEY, one, Purpose.INPUT) == encrypt_bytes(KEY, one, Purpose.INPUT)
    first, second = encrypt_bytes(KEY, one, Purpose.INPUT), encrypt_bytes(KEY, other, Purpose.INPUT)
    assert first[:HEADER_BYTES] != second[:HEADER_BYTES]
    assert first[HEADER_BYTES : HEADER_BYTES + 50] != second[HEADER_BYTES : HEADER_BYTES + 50]


def test_another_key_or_purpose_does_not_open() -> None:
    data = encrypt_bytes(KEY, b"x", Purpose.INPUT)
    assert opens(data)
    assert not opens(data, key=bytes(32))
    assert not opens(data, purpose=Purpose.RESULT)
    assert not opens(data, purpose=Purpose.DOCUMENT)


@pytest.mark.parametrize("size", [0, 10, CHUNK_BYTES, CHUNK_BYTES + 10])
def test_every_truncation_is_noticed(size: int) -> None:
    data = encrypt_bytes(KEY, content(size), Purpose.INPUT)
    cuts = {0, 5, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + BLOCK, len(data) - 16, len(data) - 1}
    assert not any(opens(data[:cut]) for cut in cuts if cut < len(data))
    assert not opens(data + b"\0")
    assert not opens(data + data[HEADER_BYTES:])


def test_chunks_that_are_moved_left_out_or_repeated_do_not_open() -> None:
    data = encrypt_bytes(KEY, content(3 * CHUNK_BYTES + 5), Purpose.INPUT)
    header, rest = data[:HEADER_BYTES], data[HEADER_BYTES:]
    a, b, c, last = rest[:BLOCK], rest[BLOCK : 2 * BLOCK], rest[2 * BLOCK : 3 * BLOCK], rest[3 * BLOCK :]
    assert opens(header + a + b + c + last)
    for order in ((b, a, c, last), (a, c, last), (a, b, last), (a, b, b, c, last), (a, b, c), (last,), ()):
        assert not opens(header + b"".join(order))
    other = encrypt_bytes(KEY, content(3 * CHUNK_BYTES + 6), Purpose.INPUT)
    assert not opens(header + a + other[HEADER_BYTES + BLOCK :])


@settings(max_examples=200)
@given(st.integers(0, 400), st.integers(0, 7), st.integers(0, 300))
def test_every_bit_counts(place: int, bit: int, size: int) -> None:
    data = bytearray(encrypt_bytes(KEY, content(size), Purpose.INPUT))
    data[place % len(data)] ^= 1 << bit
    assert not opens(bytes(data))


@settings(max_examples=300)
@given(st.binary(max_size=400), st.booleans())
def test_garbage_is_refused_and_never_crashes(garbage: bytes, with_header: bool) -> None:
    start = encrypt_bytes(KEY, b"", Purpose.INPUT)[:HEADER_BYTES] if with_header else b""
    assert not opens(start + garbage)


@settings(max_examples=50)
@given(st.integers(0, 2 * CHUNK_BYTES + 3), st.integers(1, CHUNK_BYTES * 2))
def test_pieces_of_any_size_give_the_same_content(size: int, piece: int) -> None:
    data = encrypt_bytes(KEY, content(size), Purpose.INPUT)
    pieces = (data[start : start + piece] for start in range(0, len(data), piece))
    assert b"".join(decrypted_chunks(KEY, pieces, Purpose.INPUT)) == content(size)


def test_nothing_is_left_of_a_file_that_does_not_open(tmp_path: Path) -> None:
    cipher, back = tmp_path / "cipher", tmp_path / "back"
    cipher.write_bytes(encrypt_bytes(KEY, content(2 * CHUNK_BYTES), Purpose.INPUT)[:-1])
    with pytest.raises(VerificationError, match="chunk 1"):
        decrypt_file(KEY, cipher, back, Purpose.INPUT)
    assert not back.exists()


def test_memory_does_not_grow_with_the_file() -> None:
    def zeros() -> Iterator[bytes]:
        data = encrypt_bytes(KEY, bytes(32 << 20), Purpose.INPUT)
        tracemalloc.start()
        for start in range(0, len(data), 1 << 16):
            yield data[start : start + (1 << 16)]

    total = sum(len(chunk) for chunk in decrypted_chunks(KEY, zeros(), Purpose.INPUT))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 32 << 20
    assert peak < 4 << 20
