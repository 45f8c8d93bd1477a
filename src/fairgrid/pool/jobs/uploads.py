"""Is an upload what its worker revealed? The pool fetches it and computes the digest itself (decision 5)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from fairgrid.errors import FairgridError, VerificationError
from fairgrid.pool.core.events import UploadRejected, UploadVerified
from fairgrid.pool.core.instructions import VerifyUpload
from fairgrid.protocol.archive import archive_digest
from fairgrid.protocol.cid import is_one_chunk, normal_cid
from fairgrid.protocol.encrypted_files import HEADER_BYTES, Purpose, decrypt_bytes, decrypt_file, is_encrypted
from fairgrid.protocol.hexes import from_hex, keccak, to_hex32
from fairgrid.storage.client import StorageClient

__all__ = ["ResultKey", "key_for", "plain_archive", "start_of_file", "verify_upload"]

ResultKey = Callable[[], Awaitable[bytes]]
"""Gives the key of an encrypted result; a FairgridError says that it cannot be had."""


class CannotBeOpened(FairgridError):
    """It says nothing against its worker that the pool cannot open this result."""


class _NoArchive(Exception):
    """The bytes are those of the CID, and no archive as workers make it."""


async def verify_upload(
    instruction: VerifyUpload,
    storage: StorageClient,
    *,
    scratch: Path,
    max_bytes: int,
    key: ResultKey | None = None,
    is_private: bool = False,
) -> UploadVerified | UploadRejected:
    """Check an upload; never raises for what a worker did. ``scratch`` is a folder for the download.

    ``key`` is asked if the upload is encrypted. Of a job that ``is_private`` a plain one is not taken.

    Only bytes that have another digest are dishonest. What cannot be had (not in storage, too large, storage is down)
    is no proof against anybody.
    """

    def rejected(reason: str, *, dishonest: bool = False) -> UploadRejected:
        return UploadRejected(instruction.task_id, instruction.lease_id, instruction.cid, reason[:500], dishonest)

    verified = UploadVerified(instruction.task_id, instruction.lease_id, instruction.cid)
    if instruction.has_callback:
        found = to_hex32(keccak(from_hex(instruction.callback_data)))
        if found == instruction.digest:
            return verified
        return rejected(f"the callback's bytes have the digest {found}", dishonest=True)
    try:
        cid = normal_cid(instruction.cid)
        if cid != instruction.cid:
            return rejected(f"the CID must be written {cid}")
        try:
            found = await _digest_of(cid, storage, scratch, max_bytes, key, is_private)
        except _NoArchive as error:
            return rejected(f"it is no result archive: {error}", dishonest=True)
    except (FairgridError, OSError) as error:
        return rejected(str(error))
    if found == instruction.digest:
        return verified
    return rejected(f"it has the digest {found}", dishonest=True)


def plain_archive(archive: Path, key: bytes | None) -> Path:
    """The archive itself, or decrypted beside it where it is encrypted; the encrypted form is removed.

    Raises:
        VerificationError: it does not open with ``key``.
    """
    if key is None:
        return archive
    plain = archive.with_suffix(".plain")
    decrypt_file(key, archive, plain, Purpose.RESULT)
    archive.unlink()
    return plain


def start_of_file(path: Path) -> bytes:
    """What `key_for` looks at."""
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


async def key_for(start: bytes, key: ResultKey | None, *, is_private: bool) -> bytes | None:
    """The key of a result whose file begins so; None if it is plain.

    Raises:
        CannotBeOpened: the key cannot be had, or the result is plain and must not be.
        ServiceUnavailable: the chain or storage does not answer.
    """
    if not is_encrypted(start):
        if is_private:
            raise CannotBeOpened("the job is private, and this result is not encrypted")
        return None
    if key is None:
        raise CannotBeOpened("it is encrypted, and the pool has no key for it")
    try:
        return await key()
    except VerificationError as error:
        raise CannotBeOpened(f"its key cannot be had: {error}") from None


async def _digest_of(
    cid: str, storage: StorageClient, scratch: Path, max_bytes: int, ask: ResultKey | None, is_private: bool
) -> str:
    """The digest of the archive with this CID; a small one needs no disk."""
    if is_one_chunk(cid):
        data = await storage.fetch_bytes(cid, max_bytes=max_bytes)
        key = await key_for(data[:HEADER_BYTES], ask, is_private=is_private)
        try:
            return archive_digest(data if key is None else decrypt_bytes(key, data, Purpose.RESULT))
        except VerificationError as error:
            raise _NoArchive(str(error)) from error
    with tempfile.TemporaryDirectory(dir=scratch, prefix="upload-") as folder:
        archive = Path(folder) / "result.zip"
        await storage.fetch(cid, archive, max_bytes=max_bytes)
        key = await key_for(await asyncio.to_thread(start_of_file, archive), ask, is_private=is_private)
        try:
            return await asyncio.to_thread(lambda: archive_digest(plain_archive(archive, key)))
        except VerificationError as error:
            raise _NoArchive(str(error)) from error
