"""Files of private runs as storage has them: AES-256-GCM in chunks, which can be written and read as streams.

::

    file  = "FGPRIV1\\n" ‖ salt16 ‖ chunk 0 ‖ … ‖ chunk n
    chunk = AES-256-GCM(file key, nonce, 65,536 bytes of content, or what is left)
    nonce = u88 number of the chunk ‖ u8 (1 for the last chunk, else 0)
    file key = HKDF-SHA256(key, salt16, "fairgrid/file/1 " ‖ purpose)
    salt16 = HMAC-SHA256(HKDF-SHA256(key, none, "fairgrid/salt/1 " ‖ purpose), SHA-256 of the content), 16 bytes

The number and the mark of the last chunk are in the nonce: chunks that were cut off, moved, left out or put after the
end do not open. An empty file has one empty chunk. The same content under one key gives the same bytes, so workers that
agree on a result upload one file; another content has another file key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fairgrid.errors import VerificationError

__all__ = [
    "CHUNK_BYTES",
    "HEADER_BYTES",
    "Purpose",
    "decrypt_bytes",
    "decrypt_file",
    "decrypted_chunks",
    "derived_key",
    "encrypt_bytes",
    "encrypt_file",
    "encrypted_size",
    "is_encrypted",
]

CHUNK_BYTES: Final = 1 << 16
"""Content of every chunk but the last, in bytes."""
_MAGIC: Final = b"FGPRIV1\n"
_SALT_BYTES: Final = 16
_TAG_BYTES: Final = 16
HEADER_BYTES: Final = len(_MAGIC) + _SALT_BYTES
_WHAT: Final = "The encrypted file"


class Purpose(StrEnum):
    """What a file is: a key opens it as nothing else."""

    DOCUMENT = "document"
    """Names, arguments and the list of files of a job."""
    INPUT = "input"
    RESULT = "result"


def derived_key(key: bytes, info: bytes, *, salt: bytes | None = None) -> bytes:
    """32 bytes by HKDF-SHA256."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def encrypted_size(size: int) -> int:
    """Bytes of the encrypted form of ``size`` bytes."""
    chunks = max(-(-size // CHUNK_BYTES), 1)
    return HEADER_BYTES + size + chunks * _TAG_BYTES


def is_encrypted(start: bytes) -> bool:
    """Whether a file that begins so is in this format."""
    return start.startswith(_MAGIC)


def encrypt_bytes(key: bytes, content: bytes, purpose: Purpose) -> bytes:
    """The encrypted form of ``content``; ``key`` has 32 bytes."""
    salt = _salt(key, hashlib.sha256(content).digest(), purpose)
    return b"".join(_encrypted(key, salt, purpose, iter((content,))))


def decrypt_bytes(key: bytes, data: bytes, purpose: Purpose) -> bytes:
    """The content of an encrypted file.

    Raises:
        VerificationError: it is not whole, was changed, or is not for this key and purpose.
    """
    return b"".join(decrypted_chunks(key, iter((data,)), purpose))


def encrypt_file(key: bytes, source: Path, target: Path, purpose: Purpose) -> None:
    """Write the encrypted form of ``source`` to ``target``; memory is bounded, ``source`` is read twice.

    Raises:
        OSError: one cannot be read or written.
    """
    digest = hashlib.sha256()
    for piece in _pieces(source):
        digest.update(piece)
    salt = _salt(key, digest.digest(), purpose)
    with target.open("wb") as file:
        file.writelines(_encrypted(key, salt, purpose, _pieces(source)))


def decrypt_file(key: bytes, source: Path, target: Path, purpose: Purpose) -> None:
    """Write the content of ``source`` to ``target``, readable by its owner only; memory is bounded.

    Nothing stays at ``target`` when it fails.

    Raises:
        VerificationError: it is not whole, was changed, or is not for this key and purpose.
        OSError: one cannot be read or written.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(decrypted_chunks(key, _pieces(source), purpose))
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def decrypted_chunks(key: bytes, data: Iterator[bytes], purpose: Purpose) -> Iterator[bytes]:
    """The content of an encrypted file that comes in pieces of any size, chunk by chunk.

    What was given before an error is authentic, and may not be all: take nothing as whole before the end.

    Raises:
        VerificationError: it is not whole, was changed, or is not for this key and purpose.
    """
    blocks = _blocks(data, HEADER_BYTES, CHUNK_BYTES + _TAG_BYTES)
    header = next(blocks, b"")
    if len(header) != HEADER_BYTES or not header.startswith(_MAGIC):
        raise VerificationError(f"{_WHAT} does not begin as one. Nothing of it is used.")
    cipher = AESGCM(_file_key(key, header[len(_MAGIC) :], purpose))
    chunk = next(blocks, None)
    if chunk is None:
        raise VerificationError(f"{_WHAT} ends after its header. Nothing of it is used.")
    number = 0
    while chunk is not None:
        following = next(blocks, None)
        try:
            yield cipher.decrypt(_nonce(number, is_last=following is None), chunk, _MAGIC)
        except (InvalidTag, ValueError):
            raise VerificationError(
                f"{_WHAT} was changed or cut off at chunk {number}, or is not for this key. Nothing of it is used."
            ) from None
        chunk, number = following, number + 1


def _encrypted(key: bytes, salt: bytes, purpose: Purpose, content: Iterator[bytes]) -> Iterator[bytes]:
    yield _MAGIC + salt
    cipher = AESGCM(_file_key(key, salt, purpose))
    blocks = _blocks(content, CHUNK_BYTES, CHUNK_BYTES)
    block, number = next(blocks, b""), 0
    while True:
        following = next(blocks, None)
        yield cipher.encrypt(_nonce(number, is_last=following is None), block, _MAGIC)
        if following is None:
            return
        block, number = following, number + 1


def _blocks(data: Iterable[bytes], first: int, others: int) -> Iterator[bytes]:
    """The same bytes in blocks of ``first``, then ``others`` bytes; the last one may be shorter, and is not empty."""
    rest, wanted = bytearray(), first
    for piece in data:
        rest += piece
        start = 0
        while len(rest) - start >= wanted:
            yield bytes(rest[start : start + wanted])
            start, wanted = start + wanted, others
        del rest[:start]
    if rest:
        yield bytes(rest)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece


def _salt(key: bytes, content_sha256: bytes, purpose: Purpose) -> bytes:
    secret = derived_key(key, b"fairgrid/salt/1 " + purpose.encode())
    return hmac.new(secret, content_sha256, hashlib.sha256).digest()[:_SALT_BYTES]


def _file_key(key: bytes, salt: bytes, purpose: Purpose) -> bytes:
    return derived_key(key, b"fairgrid/file/1 " + purpose.encode(), salt=salt)


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])
