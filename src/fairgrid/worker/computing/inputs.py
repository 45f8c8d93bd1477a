"""Inputs by CID, from the network's own storage and from nowhere else (decision 15), in a cache with a size limit.

No address that a job names is ever contacted: a job can name content, and the owner's network file says where content
is fetched. What is handed out was just verified against its CID, also when it was in the cache before.

A file that a task uses has a second name in the task's folder; the number of names on disk says that it is in use, so
that also survives a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from fairgrid.errors import HostFailure
from fairgrid.protocol.cid import CidBuilder, is_cid, normal_cid
from fairgrid.storage.mirrors import DiskFull
from fairgrid.worker.computing import transfers

__all__ = ["ContentSource", "InputCache"]

_READ_BYTES = 1 << 20


class ContentSource(Protocol):
    """What is needed of `fairgrid.storage.client.StorageClient`."""

    async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None: ...
    async def stat(self, cid: str) -> int | None: ...


class InputCache:
    """Files by CID in one folder; least recently used ones go when they take over ``max_bytes()`` together.

    ``partials`` is the folder of files that are not whole yet: they count, and go first.
    """

    def __init__(
        self,
        folder: Path,
        source: ContentSource,
        *,
        max_bytes: Callable[[], int],
        partials: Path | None = None,
        tally: Counter[str] | None = None,
    ) -> None:
        """``tally`` counts ``cache_hits``, ``cache_misses`` and ``fetched_bytes``."""
        self._tally = tally if tally is not None else Counter()
        self._folder = folder
        self._source = source
        self._max_bytes = max_bytes
        self._partials = partials
        self._locks: dict[str, asyncio.Lock] = {}
        self._used: Counter[str] = Counter()

    @asynccontextmanager
    async def holding(self, cids: Iterable[str], *, max_bytes: int) -> AsyncIterator[dict[str, Path]]:
        """Fetch all of ``cids`` (each once); they stay on disk, read-only, while the block runs.

        ``max_bytes`` limits their sum. The keys of the result are the CIDs as given.

        Raises:
            HostFailure: they are larger than ``max_bytes``, or storage does not have one of them.
            ServiceUnavailable: storage does not answer.
            VerificationError: storage sent something else.
            UsageError: one is no CID.
        """
        wanted = list(dict.fromkeys(cids))
        names = [normal_cid(cid) for cid in wanted]
        self._used.update(names)
        try:
            paths: dict[str, Path] = {}
            left = max_bytes
            for cid, name in zip(wanted, names, strict=True):
                path = await self._one_at_a_time(name, left, total=max_bytes)
                left -= path.stat().st_size
                paths[cid] = path
            yield paths
        finally:
            self._used.subtract(names)
            self._used += Counter()
            await asyncio.to_thread(self._evict, self._max_bytes())

    def cached(self, *, limit: int = 512, min_bytes: int = 0) -> tuple[str, ...]:
        """CIDs of files of at least ``min_bytes`` that are here, the most recently used first. Blocking."""
        with contextlib.suppress(OSError):
            files = [(entry.stat(), entry.name) for entry in os.scandir(self._folder) if is_cid(entry.name)]
            entries = [(state.st_mtime, name) for state, name in files if state.st_size >= min_bytes]
            return tuple(name for _, name in sorted(entries, reverse=True)[:limit])
        return ()

    async def _one_at_a_time(self, name: str, left: int, *, total: int) -> Path:
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                return await self._ready(name, left, total=total)
        finally:
            if not lock.locked():
                self._locks.pop(name, None)

    async def _ready(self, cid: str, left: int, *, total: int) -> Path:
        path = self._folder / cid
        if await asyncio.to_thread(_holds, path, cid):
            size = path.stat().st_size
            self._tally["cache_hits"] += 1
        else:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            stated = await self._source.stat(cid)
            if stated is None:
                raise HostFailure(f"The network's storage does not have input {cid}. Upload it, then ask again.")
            if stated <= left:
                await self._fetch(cid, path, left)
                await asyncio.to_thread(path.chmod, 0o444)
                self._tally["cache_misses"] += 1
                self._tally["fetched_bytes"] += stated
                transfers.received(stated)
            size = stated
        if size > left:
            raise HostFailure(f"The inputs are larger than the {total} bytes that this worker's owner allows.")
        await asyncio.to_thread(os.utime, path)
        return path

    async def _fetch(self, cid: str, path: Path, left: int) -> None:
        try:
            await self._source.fetch(cid, path, max_bytes=left)
        except DiskFull:
            # What nobody uses now is worth less than the task at hand.
            if not await asyncio.to_thread(self._evict, 0):
                raise
            await self._source.fetch(cid, path, max_bytes=left)

    def _evict(self, max_bytes: int) -> int:
        """Remove what is not in use until the rest fits into ``max_bytes``; gives how many bytes went."""
        gone = 0
        with contextlib.suppress(OSError):
            files = [(entry.stat(), entry) for entry in os.scandir(self._folder) if entry.is_file()]
            unfinished = []
            if self._partials is not None and self._partials.is_dir():
                unfinished = [(entry.stat(), entry) for entry in os.scandir(self._partials) if entry.is_file()]
            total = sum(state.st_size for state, _ in (*files, *unfinished))
            for state, entry in (*_oldest_first(unfinished), *_oldest_first(files)):
                if total <= max_bytes:
                    break
                if self._used[entry.name] <= 0 and state.st_nlink == 1:
                    os.unlink(entry.path)
                    total -= state.st_size
                    gone += state.st_size
        return gone


def _oldest_first(
    files: list[tuple[os.stat_result, os.DirEntry[str]]],
) -> list[tuple[os.stat_result, os.DirEntry[str]]]:
    return sorted(files, key=lambda file: (file[0].st_mtime, file[1].name))


def _holds(path: Path, cid: str) -> bool:
    """True if ``path`` is there with exactly this content; a file with other content is removed."""
    builder = CidBuilder()
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                builder.update(piece)
    except FileNotFoundError:
        return False
    if builder.finish() == cid:
        return True
    path.unlink()
    return False
