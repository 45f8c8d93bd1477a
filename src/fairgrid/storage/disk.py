"""Blobs on disk: ``blobs/xx/CID`` holds the bytes, ``leaves/xx/CID`` the SHA-256 of each chunk of a longer blob,
``ends/xx/CID`` the second since 1970 after which a blob is removed; without one it stays.

A blob is written under ``partial/``, flushed, and renamed, so a name under ``blobs/`` always has all its bytes. The
leaves let any range be verified by its own chunks: they are trusted only after the CID was computed from them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fairgrid.errors import UsageError
from fairgrid.protocol.cid import CHUNK_BYTES, CidBuilder, cid_of_leaves
from fairgrid.seams.opening import open_in_thread
from fairgrid.storage.store import (
    BlobDamaged,
    BlobMissing,
    BlobWriter,
    Space,
    StoredBlob,
    StoreFull,
    StoreLimits,
    Usage,
)
from fairgrid.storage.terms import Terms

__all__ = ["DiskStore"]

_DIGEST_BYTES = 32
_WRITE_BUFFER_BYTES = 1024 * 1024
_CHUNKS_PER_READ = 4


class DiskStore:
    """Blobs in a folder that one process owns at a time. Open with `DiskStore.open`, end with `close`."""

    def __init__(self, folder: Path, limits: StoreLimits, lock: BinaryIO, now: Callable[[], float]) -> None:
        self._folder = folder
        self._space = Space(limits)
        self._lock = lock
        self._count = 0
        self._publishing = asyncio.Lock()
        self._writers: set[_DiskWriter] = set()
        self._terms = Terms(now)

    @classmethod
    async def open(
        cls, folder: Path, limits: StoreLimits | None = None, *, now: Callable[[], float] = time.time
    ) -> DiskStore:
        """Open the store in ``folder``, made if need be; remnants of broken uploads are removed.

        ``now`` gives seconds since 1970, by which blobs end.

        Raises:
            UsageError: the folder cannot be used, or another process has it open.
        """
        return await asyncio.to_thread(cls._open, folder, limits or StoreLimits(), now)

    @classmethod
    def _open(cls, folder: Path, limits: StoreLimits, now: Callable[[], float]) -> DiskStore:
        try:
            for name in ("blobs", "leaves", "ends", "partial"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("wb")
        except OSError as error:
            raise UsageError(f"The store folder {folder} cannot be used ({error}). Name another with --dir.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise UsageError(
                f"Another storage service has {folder} open. Stop it first, or name another --dir."
            ) from None
        store = cls(folder, limits, lock, now)
        shutil.rmtree(folder / "partial")
        (folder / "partial").mkdir()
        for shelf in os.scandir(folder / "blobs"):
            for blob in os.scandir(shelf.path):
                store._space.kept_bytes += Space.footprint(blob.stat().st_size)
                store._count += 1
        for shelf in os.scandir(folder / "ends"):
            for end in os.scandir(shelf.path):
                # An end that cannot be read is none: rather too long than too short.
                with contextlib.suppress(ValueError):
                    store._terms.load(end.name, int(Path(end.path).read_text()))
        return store

    @property
    def limits(self) -> StoreLimits:
        return self._space.limits

    @property
    def usage(self) -> Usage:
        return Usage(blobs=self._count, used_bytes=self._space.kept_bytes)

    async def begin(self, *, keep_s: int | None = None) -> BlobWriter:
        writer = _DiskWriter(self, self._space, keep_s)
        self._writers.add(writer)
        return writer

    async def keep(self, cid: str, *, keep_s: int | None = None) -> int | None:
        async with self._publishing:
            size = await self.size(cid)
            if size is not None:
                end = self._terms.end_after(cid, keep_s, held=True)
                await _to_the_end(lambda: self._write_end(cid, end))
                self._terms.set(cid, end)
            return size

    async def sweep(self) -> tuple[str, ...]:
        removed: list[str] = []
        for cid in self._terms.over():
            async with self._publishing:
                size = await self.size(cid)
                # Somebody may have asked for more time since.
                if size is not None and self._terms.is_over(cid):
                    await _to_the_end(lambda cid=cid: self._remove(cid))  # type: ignore[misc]
                    self._space.drop(size)
                    self._count -= 1
                    removed.append(cid)
        async with self._publishing:
            for cid in self._terms.forget():
                await asyncio.to_thread(self._end(cid).unlink, missing_ok=True)
        return tuple(removed)

    def left_s(self, cid: str) -> int:
        return self._terms.left_s(cid)

    def gone(self, cid: str) -> bool:
        return self._terms.is_over(cid) and not self._blob(cid).exists()

    async def size(self, cid: str) -> int | None:
        try:
            return (await asyncio.to_thread(self._blob(cid).stat)).st_size
        except FileNotFoundError:
            return None

    async def verify(self, cid: str, *, start: int = 0, length: int | None = None) -> None:
        async for _ in self.read(cid, start=start, length=length):
            pass

    async def read(self, cid: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        opened = await open_in_thread(lambda: self._open_blob(cid), lambda blob: blob.file.close())
        try:
            stop = opened.size if length is None else min(opened.size, start + length)
            position = start
            while position < stop:
                piece = await asyncio.to_thread(_read_verified, opened, position, stop)
                yield piece
                position += len(piece)
        finally:
            opened.file.close()

    async def leaves(self, cid: str) -> tuple[int, tuple[bytes, ...]]:
        opened = await open_in_thread(lambda: self._open_blob(cid), lambda blob: blob.file.close())
        await asyncio.to_thread(opened.file.close)
        return opened.size, opened.leaves

    async def close(self) -> None:
        for writer in list(self._writers):
            await writer.abort()
        await asyncio.to_thread(self._lock.close)

    def ended(self, writer: _DiskWriter) -> None:
        """A writer committed or was given up."""
        self._writers.discard(writer)

    def partial_path(self) -> Path:
        """A new name for a file on its way in."""
        return self._folder / "partial" / secrets.token_hex(16)

    async def publish(
        self, blob: StoredBlob, partial: Path, leaves: list[bytes], held: int, keep_s: int | None
    ) -> None:
        """Put a flushed partial file under its CID and account for it; bytes that were there before are replaced.

        Raises:
            StoreFull: there is no room for its name; the partial file and its reservation are gone.
        """
        async with self._publishing:
            try:
                end = self._terms.end_after(blob.cid, keep_s, held=await self.size(blob.cid) is not None)
                replaced = await asyncio.to_thread(self._publish, blob, partial, leaves, end)
            except BaseException:
                self._space.release(held)
                partial.unlink(missing_ok=True)
                raise
            self._space.keep(held, replaced=0 if replaced is None else Space.footprint(replaced))
            self._count += replaced is None
            self._terms.set(blob.cid, end)

    def _publish(self, blob: StoredBlob, partial: Path, leaves: list[bytes], end: int | None) -> int | None:
        """Gives the size of what was there before."""
        with _disk_errors():
            if len(leaves) > 1:
                self._write_leaves(blob.cid, leaves)
            try:
                replaced = self._blob(blob.cid).stat().st_size
            except FileNotFoundError:
                replaced = None
            # First the end: a blob must not be here without the one that it was promised to have.
            self._write_end(blob.cid, end)
            _move(partial, self._blob(blob.cid))
            return replaced

    def _write_end(self, cid: str, end: int | None) -> None:
        if end is None:
            self._end(cid).unlink(missing_ok=True)
            return
        with _disk_errors():
            partial = self.partial_path()
            with partial.open("w") as file:
                file.write(str(end))
                file.flush()
                os.fsync(file.fileno())
            _move(partial, self._end(cid))

    def _remove(self, cid: str) -> None:
        self._blob(cid).unlink(missing_ok=True)
        self._leaves(cid).unlink(missing_ok=True)

    def _end(self, cid: str) -> Path:
        return self._folder / "ends" / cid[-4:-2] / cid

    def _blob(self, cid: str) -> Path:
        return self._folder / "blobs" / cid[-4:-2] / cid

    def _leaves(self, cid: str) -> Path:
        return self._folder / "leaves" / cid[-4:-2] / cid

    def _open_blob(self, cid: str) -> _OpenBlob:
        try:
            file = self._blob(cid).open("rb")
        except FileNotFoundError:
            raise BlobMissing(cid) from None
        try:
            size = os.fstat(file.fileno()).st_size
            return _OpenBlob(cid, file, size, self._trusted_leaves(cid, file, size))
        except BaseException:
            file.close()
            raise

    def _trusted_leaves(self, cid: str, file: BinaryIO, size: int) -> tuple[bytes, ...]:
        """The digests of a blob's chunks, proven by the CID; from the blob itself if the stored ones are not right."""
        if size > CHUNK_BYTES:
            with contextlib.suppress(FileNotFoundError):
                joined = self._leaves(cid).read_bytes()
                leaves = tuple(joined[at : at + _DIGEST_BYTES] for at in range(0, len(joined), _DIGEST_BYTES))
                with contextlib.suppress(UsageError):
                    if cid_of_leaves(leaves, size) == cid:
                        return leaves
        builder = CidBuilder()
        file.seek(0)
        while data := file.read(_WRITE_BUFFER_BYTES):
            builder.update(data)
        if builder.finish() != cid:
            raise BlobDamaged(cid)
        if size > CHUNK_BYTES:
            self._write_leaves(cid, builder.leaf_digests)
        return tuple(builder.leaf_digests)

    def _write_leaves(self, cid: str, leaves: list[bytes]) -> None:
        partial = self.partial_path()
        with partial.open("wb") as file:
            file.write(b"".join(leaves))
            file.flush()
            os.fsync(file.fileno())
        _move(partial, self._leaves(cid))


@dataclass(frozen=True, slots=True)
class _OpenBlob:
    cid: str
    file: BinaryIO
    size: int
    leaves: tuple[bytes, ...]


def _read_verified(blob: _OpenBlob, position: int, stop: int) -> bytes:
    """Bytes from ``position`` on, of the next few chunks at most, once those chunks have their digests."""
    first = position // CHUNK_BYTES
    last = min(first + _CHUNKS_PER_READ, -(-stop // CHUNK_BYTES))
    blob.file.seek(first * CHUNK_BYTES)
    data = blob.file.read((last - first) * CHUNK_BYTES)
    view = memoryview(data)
    for index in range(first, last):
        chunk = view[(index - first) * CHUNK_BYTES : (index - first + 1) * CHUNK_BYTES]
        if hashlib.sha256(chunk).digest() != blob.leaves[index]:
            raise BlobDamaged(blob.cid)
    offset = first * CHUNK_BYTES
    return bytes(view[position - offset : stop - offset])


class _DiskWriter:
    def __init__(self, store: DiskStore, space: Space, keep_s: int | None) -> None:
        self._store = store
        self._keep_s = keep_s
        self._space = space
        self._held = space.reserve(0, 0)
        self._size = 0
        self._builder = CidBuilder()
        self._buffer = bytearray()
        self._partial = store.partial_path()
        self._file: BinaryIO | None = None
        self._open = True

    async def write(self, data: bytes) -> None:
        self._held = self._space.reserve(self._held, self._size + len(data))
        self._size += len(data)
        self._buffer += data
        if len(self._buffer) >= _WRITE_BUFFER_BYTES:
            await _to_the_end(self._flush)

    async def commit(self) -> StoredBlob:
        await _to_the_end(self._finish)
        blob = StoredBlob(cid=self._builder.finish(), size=self._size, dag_size=self._builder.dag_size)
        self._open = False
        self._store.ended(self)
        # A caller that is cancelled here must not leave the books and the disk apart.
        await asyncio.shield(
            self._store.publish(blob, self._partial, self._builder.leaf_digests, self._held, self._keep_s)
        )
        return blob

    async def abort(self) -> None:
        if self._open:
            self._open = False
            self._store.ended(self)
            self._space.release(self._held)
            await asyncio.to_thread(self._discard)

    def _flush(self) -> None:
        with _disk_errors():
            if self._file is None:
                self._file = self._partial.open("wb")
            self._builder.update(self._buffer)
            self._file.write(self._buffer)
            self._buffer = bytearray()

    def _finish(self) -> None:
        self._flush()
        assert self._file is not None
        with _disk_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._partial.unlink(missing_ok=True)


async def _to_the_end(work: Callable[[], None]) -> None:
    """Run blocking work in a thread; a cancelled caller still waits for it, so that nobody else touches its file."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull("no space left on its disk") from error
        raise


def _move(partial: Path, place: Path) -> None:
    """Rename into place and make the name survive a loss of power."""
    place.parent.mkdir(exist_ok=True)
    partial.replace(place)
    for folder in (place.parent, place.parent.parent):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
