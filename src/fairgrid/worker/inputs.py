"""Inputs by CID, from the network's own storage and from nowhere else (decision 15), in a cache with a size limit.

No address that a job names is ever contacted: a job can name content, and the owner's network file says where content
is fetched. What is handed out was just verified against its CID, also when it was in the cache before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from fairgrid.errors import HostFailure
from fairgrid.protocol.cid import CidBuilder, normal_cid

__all__ = ["ContentSource", "InputCache"]

_READ_BYTES = 1 << 20


class ContentSource(Protocol):
    """What is needed of `fairgrid.storage.client.StorageClient`."""

    async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None: ...
    async def stat(self, cid: str) -> int | None: ...


class InputCache:
    """Files by CID in one folder; least recently used ones go when they take over ``max_bytes`` together."""

    def __init__(self, folder: Path, source: ContentSource, *, max_bytes: int) -> None:
        self._folder = folder
        self._source = source
        self._max_bytes = max_bytes
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
                lock = self._locks.setdefault(name, asyncio.Lock())
                async with lock:
                    path = await self._ready(name, left, total=max_bytes)
                left -= path.stat().st_size
                paths[cid] = path
            yield paths
        finally:
            self._used.subtract(names)
            self._used += Counter()
            await asyncio.to_thread(self._evict)

    async def _ready(self, cid: str, left: int, *, total: int) -> Path:
        path = self._folder / cid
        if await asyncio.to_thread(_holds, path, cid):
            size = path.stat().st_size
        else:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            stated = await self._source.stat(cid)
            if stated is None:
                raise HostFailure(f"The network's storage does not have input {cid}. Upload it, then ask again.")
            if stated <= left:
                await self._source.fetch(cid, path, max_bytes=left)
                await asyncio.to_thread(path.chmod, 0o444)
            size = stated
        if size > left:
            raise HostFailure(f"The inputs are larger than the {total} bytes that this worker's owner allows.")
        await asyncio.to_thread(os.utime, path)
        return path

    def _evict(self) -> None:
        with contextlib.suppress(OSError):
            entries = [(entry.stat(), entry) for entry in os.scandir(self._folder)]
            files = sorted((state.st_mtime, state.st_size, entry.path, entry.name) for state, entry in entries)
            total = sum(size for _, size, _, _ in files)
            for _, size, path, name in files:
                if total <= self._max_bytes:
                    break
                if self._used[name] <= 0:
                    os.unlink(path)
                    total -= size


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
