"""A sealed file opens with its passphrase alone, whole or not at all."""

from __future__ import annotations

import io
import random

import pytest

from fairgrid.errors import UsageError
from fairgrid.wallet.sealed_file import CHUNK_BYTES, DamagedFile, SealedReader, SealedWriter, read_about

PASSPHRASE = "correct horse battery"
LENGTHS = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES)


def sealed(content: bytes, *, pieces: int = 7) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, PASSPHRASE, about={"kind": "test"}, scrypt_n=1 << 10)
    step = len(content) // pieces + 1
    for start in range(0, len(content), step):
        writer.write(content[start : start + step])
    writer.finish()
    return file.getvalue()


def opened(data: bytes, passphrase: str = PASSPHRASE) -> bytes:
    return SealedReader(io.BytesIO(data), passphrase, name="it").readall() or b""


def content_of(length: int) -> bytes:
    return random.Random(length).randbytes(length)


@pytest.mark.parametrize("length", LENGTHS)
def test_what_was_sealed_is_read_again(length: int) -> None:
    data = sealed(content_of(length))
    assert opened(data) == content_of(length)
    assert read_about(io.BytesIO(data), name="it") == {"kind": "test"}
    assert content_of(length)[:16] not in data or length < 16


def test_another_passphrase_is_told_apart_from_damage() -> None:
    data = sealed(b"x" * 100)
    with pytest.raises(UsageError, match="not the passphrase of it"):
        opened(data, "another horse battery")


@pytest.mark.parametrize("length", LENGTHS)
def test_a_file_that_was_cut_anywhere_is_refused(length: int) -> None:
    data = sealed(content_of(length))
    cuts = {1, 10, 20, 40, len(data) // 2, len(data) - 1, len(data) - 17, len(data) - CHUNK_BYTES - 16}
    for cut in sorted(cut for cut in cuts if 0 < cut < len(data)):
        with pytest.raises(DamagedFile):
            opened(data[:cut])


def test_a_file_with_one_bit_changed_anywhere_is_refused() -> None:
    data = sealed(content_of(2 * CHUNK_BYTES + 5))
    header = data.index(b"}}") if b"}}" in data else 100
    spots = [30, header // 2, header + 40, len(data) // 2, len(data) - 3, *range(len(data) - 20, len(data))]
    for spot in spots:
        changed = bytearray(data)
        changed[spot] ^= 1
        with pytest.raises((DamagedFile, UsageError)):
            opened(bytes(changed))


def test_what_the_header_tells_cannot_be_changed() -> None:
    data = sealed(b"x").replace(b'"test"', b'"best"')
    assert read_about(io.BytesIO(data), name="it") == {"kind": "best"}
    with pytest.raises(DamagedFile, match="cut short or changed"):
        opened(data)


def test_chunks_that_are_swapped_repeated_or_appended_are_refused() -> None:
    data = sealed(content_of(3 * CHUNK_BYTES + 9))
    size = CHUNK_BYTES + 16
    last = len(data) - 9 - 16
    start = last - 3 * size
    first, second = data[start : start + size], data[start + size : start + 2 * size]
    for changed in (
        data[:start] + second + first + data[start + 2 * size :],
        data[: start + size] + first + data[start + size :],
        data + data[last:],
        data + b"\0",
    ):
        with pytest.raises(DamagedFile):
            opened(changed)


def test_short_passphrases_foreign_files_and_newer_formats_are_refused() -> None:
    with pytest.raises(UsageError, match="11 characters"):
        SealedWriter(io.BytesIO(), "x" * 11, about={})
    with pytest.raises(UsageError, match="no sealed file"):
        opened(b"PK\x03\x04 something else, long enough")
    with pytest.raises(UsageError, match="newer release"):
        opened(b"fairgrid sealed 2\n" + b"x" * 100)


def test_a_header_that_asks_for_all_the_memory_is_refused() -> None:
    data = sealed(b"x").replace(b'"n": 1024', b'"n": 1073741824')
    length = int.from_bytes(data[18:22], "big") + len("1073741824") - len("1024")
    with pytest.raises(DamagedFile, match="key derivation"):
        opened(data[:18] + length.to_bytes(4, "big") + data[22:])
