"""A file that only a passphrase opens: encrypted and authenticated as a stream, so that it may be larger than memory.

Layout of version 1: the magic line, the length of the header (4 bytes, big-endian), the header (JSON), then chunks of
`CHUNK_BYTES`, each ChaCha20-Poly1305 under a nonce of 11 bytes that count and one that is 1 for the last chunk. The key
comes from the passphrase by scrypt, then by HKDF over everything before the chunks: a change of the header, of a chunk,
of their order or their number is noticed. What the header tells about the content is readable without the passphrase.
"""

from __future__ import annotations

import hmac
import io
import json
import secrets
from collections.abc import Mapping
from typing import IO, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from fairgrid.errors import UsageError, VerificationError

__all__ = ["CHUNK_BYTES", "LEAST_PASSPHRASE", "DamagedFile", "SealedReader", "SealedWriter", "read_about"]

CHUNK_BYTES: Final = 65_536
LEAST_PASSPHRASE: Final = 12
"""Characters that a passphrase must have."""

_MAGIC: Final = b"fairgrid sealed 1\n"
_FAMILY: Final = b"fairgrid sealed "
_TAG_BYTES: Final = 16
_MAX_HEADER_BYTES: Final = 65_536
_SCRYPT_N: Final = 1 << 17
_MAX_SCRYPT_BYTES: Final = 1 << 30


class DamagedFile(VerificationError):
    """The file is not what was written: cut short, or changed."""


class SealedWriter(io.RawIOBase):
    """Encrypts what is written to ``file``. What was not closed cannot be read: the end is part of what is checked."""

    def __init__(
        self, file: IO[bytes], passphrase: str, *, about: Mapping[str, Any], scrypt_n: int = _SCRYPT_N
    ) -> None:
        """Write the header. ``about`` is a small JSON object that anybody may read; the caller closes ``file``.

        Raises:
            UsageError: the passphrase is too short.
        """
        if len(passphrase) < LEAST_PASSPHRASE:
            raise UsageError(
                f"The passphrase has {len(passphrase)} characters; whoever finds the file may try as many as he likes, "
                f"so it takes {LEAST_PASSPHRASE} or more."
            )
        salt = secrets.token_bytes(32)
        stretched = _stretched(passphrase, salt, scrypt_n, 8, 1)
        header = {
            "about": dict(about),
            "kdf": {"name": "scrypt", "n": scrypt_n, "r": 8, "p": 1, "salt": salt.hex()},
            "verifier": _verifier(stretched).hex(),
        }
        text = json.dumps(header, sort_keys=True).encode()
        start = _MAGIC + len(text).to_bytes(4, "big") + text
        self._file = file
        self._cipher = ChaCha20Poly1305(_file_key(stretched, start))
        self._waiting = bytearray()
        self._number = 0
        file.write(start)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Take everything; whole chunks go to the file."""
        view = memoryview(data).cast("B")
        self._waiting += view
        while len(self._waiting) > CHUNK_BYTES:
            self._put(bytes(self._waiting[:CHUNK_BYTES]), last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(view)

    def finish(self) -> None:
        """Write the last chunk. Without it the file is worth nothing."""
        self._put(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _put(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, last=last), chunk, None))
        self._number += 1


class SealedReader(io.RawIOBase):
    """Decrypts ``file``. Every byte that `read` gives was checked; only at the end is it known that nothing lacks."""

    def __init__(self, file: IO[bytes], passphrase: str, *, name: str) -> None:
        """Read the header; ``name`` is the file's in messages, and the caller closes ``file``.

        Raises:
            UsageError: this is no such file, a newer release wrote it, or the passphrase is wrong.
            DamagedFile: the header is cut short or nonsense.
        """
        header, start = _read_header(file, name)
        try:
            kdf = header["kdf"]
            n, r, p, salt = kdf["n"], kdf["r"], kdf["p"], bytes.fromhex(kdf["salt"])
            verifier = bytes.fromhex(header["verifier"])
            if kdf["name"] != "scrypt" or 128 * n * r * p > _MAX_SCRYPT_BYTES:
                raise ValueError("its key derivation is not one that this release makes")
            stretched = _stretched(passphrase, salt, n, r, p)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFile(f"The header of {name} is damaged ({error}). Take another copy of it.") from None
        if not hmac.compare_digest(verifier, _verifier(stretched)):
            raise UsageError(f"This is not the passphrase of {name}.")
        self.about: dict[str, Any] = header["about"]
        self._file = file
        self._name = name
        self._cipher = ChaCha20Poly1305(_file_key(stretched, start))
        self._number = 0
        self._next = file.read(CHUNK_BYTES + _TAG_BYTES)
        self._plain = b""
        self._at = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the chunk at hand goes.

        Raises:
            DamagedFile: the file was cut short, changed, or continued.
        """
        while self._at >= len(self._plain):
            if self._ended:
                return 0
            self._open_chunk()
        view = memoryview(buffer).cast("B")
        part = self._plain[self._at : self._at + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _open_chunk(self) -> None:
        chunk, self._next = self._next, self._file.read(CHUNK_BYTES + _TAG_BYTES)
        last = not self._next
        try:
            self._plain = self._cipher.decrypt(_nonce(self._number, last=last), chunk, None)
        except (InvalidTag, ValueError):
            raise DamagedFile(
                f"{self._name} was cut short or changed (around byte {self._number * CHUNK_BYTES} of its content). "
                f"Nothing of it was used; take another copy of it."
            ) from None
        self._at, self._ended = 0, last
        self._number += 1


def read_about(file: IO[bytes], *, name: str) -> dict[str, Any]:
    """What the file says of itself, unchecked: only who has the passphrase knows whether it is true.

    Raises:
        UsageError: this is no such file, or a newer release wrote it.
        DamagedFile: the header is cut short or nonsense.
    """
    about = _read_header(file, name)[0].get("about")
    if not isinstance(about, dict):
        raise DamagedFile(f"The header of {name} is damaged. Take another copy of it.")
    return about


def _read_header(file: IO[bytes], name: str) -> tuple[dict[str, Any], bytes]:
    magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        if magic.startswith(_FAMILY) and magic.endswith(b"\n"):
            raise UsageError(f"{name} was written by a newer release of fairgrid. Use that release to read it.")
        if magic and _MAGIC.startswith(magic):
            raise DamagedFile(f"{name} was cut short. Take another copy of it.")
        raise UsageError(f"{name} is no sealed file of fairgrid.")
    damaged = DamagedFile(f"The header of {name} is damaged. Take another copy of it.")
    length = file.read(4)
    size = int.from_bytes(length, "big")
    if len(length) != 4 or size > _MAX_HEADER_BYTES:
        raise damaged
    text = file.read(size)
    try:
        header = json.loads(text)
    except ValueError:
        raise damaged from None
    if len(text) != size or not isinstance(header, dict):
        raise damaged
    return header, magic + length + text


def _stretched(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return Scrypt(salt, length=32, n=n, r=r, p=p).derive(passphrase.encode())


def _verifier(stretched: bytes) -> bytes:
    # Tells a wrong passphrase from a changed file. It costs a guesser one scrypt each, as the first chunk would.
    return HKDF(SHA256(), length=16, salt=None, info=b"fairgrid sealed verifier").derive(stretched)


def _file_key(stretched: bytes, start: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=b"fairgrid sealed key\n" + start).derive(stretched)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
