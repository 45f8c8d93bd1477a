"""Several storages as one: downloads that survive lost connections, slow and lying gateways, and a killed process.

Uploads and questions go to the first storage, the network's own; the others are asked for content when it does not
give it, or not fast enough. Whoever sends bytes that are not those of the CID is not asked again by this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from fairgrid.errors import FairgridError, HostFailure, ServiceRefused, ServiceUnavailable, VerificationError
from fairgrid.protocol.cid import normal_cid
from fairgrid.seams.addresses import AddressRefused
from fairgrid.seams.opening import open_in_thread
from fairgrid.storage.client import StorageClient
from fairgrid.storage.download import Download, FileSink, Leaves, Limiter, MemorySink, Sink, Tempo, WrongBytes
from fairgrid.storage.store import BlobTooLarge

__all__ = ["DiskFull", "MirroredStorage"]

_log = structlog.get_logger(__name__)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(HostFailure):
    """This machine has no room for a download. Nothing of it was kept."""

    def __init__(self, cid: str, folder: Path) -> None:
        self.cid = cid
        super().__init__(f"There is no room for {cid} in {folder}. Make room on the disk, or allow less cache.")


class MirroredStorage:
    """The storages of one network, the first of them its own.

    ``partial_folder`` keeps what arrived of files that are not whole yet, also when the process is killed. The clients
    belong to the caller.
    """

    def __init__(
        self,
        clients: Sequence[StorageClient],
        *,
        partial_folder: Path,
        limiter: Limiter | None = None,
        tempo: Tempo | None = None,
    ) -> None:
        self._clients = list(clients)
        self._folder = partial_folder
        self._limiter = limiter
        self._tempo = tempo or Tempo()
        self._failures: dict[str, int] = {}
        self._dropped: dict[str, str] = {}

    @property
    def dropped(self) -> Mapping[str, str]:
        """Storages that are not asked any more, and why: they sent wrong bytes."""
        return dict(self._dropped)

    async def stat(self, cid: str) -> int | None:
        """Size in bytes as the first storage says that has it; None when none has it.

        Raises:
            ServiceUnavailable, ServiceRefused: none has it, and one could not say.
            UsageError: ``cid`` is none.
        """
        cid = normal_cid(cid)
        failure: FairgridError | None = None
        for client in self._in_order():
            try:
                size = await client.stat(cid)
            except (ServiceUnavailable, ServiceRefused, AddressRefused) as error:
                failure = _worse(failure, error)
                continue
            if size is not None:
                return size
        if failure is not None:
            raise failure
        return None

    async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None:
        """Download to ``dest``, which appears only when all bytes are there, on disk, and have this CID.

        What arrived stays when it fails, and the next call goes on from there, also in another process.

        Raises:
            VerificationError: whoever has it sends something else.
            BlobTooLarge: more than ``max_bytes``.
            ServiceRefused: none has it.
            ServiceUnavailable: those that may have it do not answer.
            DiskFull: there is no room for it.
            HostFailure: ``dest`` cannot be written for another reason.
            UsageError: ``cid`` is none.
        """
        cid = normal_cid(cid)
        partial = self._folder / cid
        try:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            file = await open_in_thread(lambda: _open_partial(partial), lambda file: file.close())
            try:
                await self._fill(cid, FileSink(file), max_bytes, partial)
                await asyncio.to_thread(_to_disk, file)
            finally:
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(file.close)
            await asyncio.to_thread(partial.replace, dest)
        except (BlobTooLarge, VerificationError):
            await asyncio.to_thread(partial.unlink, missing_ok=True)
            raise
        except OSError as error:
            if error.errno in _NO_ROOM:
                await asyncio.to_thread(partial.unlink, missing_ok=True)
                raise DiskFull(cid, dest.parent) from error
            raise HostFailure(f"{dest} cannot be written ({error}). Check the disk and the folder's rights.") from error

    async def fetch_bytes(self, cid: str, *, max_bytes: int) -> bytes:
        """The content with this CID; fails as `fetch` does."""
        sink = MemorySink()
        await self._fill(normal_cid(cid), sink, max_bytes, None)
        return bytes(sink.content)

    async def add_file(self, path: Path, *, ticket: Path | None = None, keep_s: int | None = None) -> str:
        """Store a file in the network's own storage; as `StorageClient.add_file`."""
        return await self._clients[0].add_file(path, ticket=ticket, keep_s=keep_s)

    async def add_bytes(self, data: bytes, *, name: str = "data", keep_s: int | None = None) -> str:
        """Store bytes in the network's own storage; as `StorageClient.add_bytes`."""
        return await self._clients[0].add_bytes(data, name=name, keep_s=keep_s)

    async def _fill(self, cid: str, sink: Sink, max_bytes: int, partial: Path | None) -> None:
        leaves = await self._leaves(cid)
        if leaves is not None and leaves.size > max_bytes:
            raise BlobTooLarge(max_bytes, subject=f"The file {cid}", remedy="Allow more, or refuse the file.")
        download = Download(cid, sink, max_bytes, leaves=leaves, limiter=self._limiter, tempo=self._tempo)
        if partial is not None:
            await download.recover(partial)
        failure: FairgridError | None = None
        for client in self._in_order():
            try:
                await self._pull(client, download)
                self._failures.pop(client.url, None)
                return
            except WrongBytes as error:
                self._dropped[client.url] = str(error)
                _log.error("storage dropped", url=client.url, reason=str(error))
                failure = _worse(failure, error)
            except (ServiceUnavailable, ServiceRefused, AddressRefused) as error:
                missing = isinstance(error, ServiceRefused) and error.status in (404, 410)
                if not missing:
                    self._failures[client.url] = self._failures.get(client.url, 0) + 1
                _log.warning("storage passed over", url=client.url, cid=cid, reason=str(error))
                failure = _worse(failure, error)
        await sink.flush()
        if failure is None:
            told = "; ".join(self._dropped.values())
            raise VerificationError(f"No storage is left that may be asked for {cid}: {told}")
        raise failure

    async def _pull(self, client: StorageClient, download: Download) -> None:
        try:
            await client.pull(download)
        except WrongBytes as error:
            if error.url == client.url:
                raise
            # What several sent together is wrong, and one of them lied: this one is asked for all of it.
            await download.restart()
            await client.pull(download)

    async def _leaves(self, cid: str) -> Leaves | None:
        if not cid.startswith("bafy"):
            return None  # One chunk, which the CID itself proves.
        for client in self._in_order():
            with contextlib.suppress(ServiceUnavailable, ServiceRefused, AddressRefused):
                leaves = await client.leaves(cid)
                if leaves is not None:
                    return leaves
        return None

    def _in_order(self) -> list[StorageClient]:
        """Those that may be asked, the most reliable first."""
        usable = [client for client in self._clients if client.url not in self._dropped]
        return sorted(usable, key=lambda client: self._failures.get(client.url, 0))


def _worse(known: FairgridError | None, other: FairgridError) -> FairgridError:
    """The failure to tell: that somebody may still have it when asked again says more than that others do not."""

    def rank(error: FairgridError) -> int:
        return 2 if isinstance(error, ServiceUnavailable) else 1 if isinstance(error, VerificationError) else 0

    return other if known is None or rank(other) > rank(known) else known


def _open_partial(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    return os.fdopen(descriptor, "r+b")


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
