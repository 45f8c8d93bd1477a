"""Is an upload what its worker revealed? The pool fetches it and computes the digest itself (decision 5)."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from fairgrid.errors import FairgridError, VerificationError
from fairgrid.pool.core.events import UploadRejected, UploadVerified
from fairgrid.pool.core.instructions import VerifyUpload
from fairgrid.protocol.archive import archive_digest
from fairgrid.protocol.cid import is_one_chunk, normal_cid
from fairgrid.protocol.hexes import from_hex, keccak, to_hex32
from fairgrid.storage.client import StorageClient

__all__ = ["verify_upload"]


class _NoArchive(Exception):
    """The bytes are those of the CID, and no archive as workers make it."""


async def verify_upload(
    instruction: VerifyUpload, storage: StorageClient, *, scratch: Path, max_bytes: int
) -> UploadVerified | UploadRejected:
    """Check an upload; never raises for what a worker did. ``scratch`` is a folder for the download.

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
            found = await _digest_of(cid, storage, scratch, max_bytes)
        except _NoArchive as error:
            return rejected(f"it is no result archive: {error}", dishonest=True)
    except (FairgridError, OSError) as error:
        return rejected(str(error))
    if found == instruction.digest:
        return verified
    return rejected(f"it has the digest {found}", dishonest=True)


async def _digest_of(cid: str, storage: StorageClient, scratch: Path, max_bytes: int) -> str:
    """The digest of the archive with this CID; a small one needs no disk."""
    if is_one_chunk(cid):
        data = await storage.fetch_bytes(cid, max_bytes=max_bytes)
        try:
            return archive_digest(data)
        except VerificationError as error:
            raise _NoArchive(str(error)) from error
    with tempfile.TemporaryDirectory(dir=scratch, prefix="upload-") as folder:
        archive = Path(folder) / "result.zip"
        await storage.fetch(cid, archive, max_bytes=max_bytes)
        try:
            return await asyncio.to_thread(archive_digest, archive)
        except VerificationError as error:
            raise _NoArchive(str(error)) from error
