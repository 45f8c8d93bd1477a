"""One file on its way from storage: what arrived stays through lost connections, and wrong bytes are seen at once.

With the digests of a file's chunks (`Leaves`, which its CID proves) every chunk is checked as it arrives, and only
checked chunks are kept. Without them the whole file is checked at the end.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import httpx

from fairgrid.errors import ServiceRefused, UsageError, VerificationError
from fairgrid.protocol.cid import CHUNK_BYTES, CidBuilder, cid_of_leaves
from fairgrid.seams.http import TRANSIENT_STATUS, Interrupted, one_line, parse_json, start_of
from fairgrid.storage.store import BlobTooLarge

__all__ = [
    "Download",
    "FileSink",
    "Leaves",
    "Limiter",
    "MemorySink",
    "Sink",
    "Tempo",
    "WrongBytes",
    "refusal",
    "words_of",
]

_WRITE_BUFFER_BYTES = 1024 * 1024
_READ_BYTES = 1024 * 1024
_DIGEST_BYTES = 32


class WrongBytes(VerificationError):
    """A storage sent bytes that are not those of the CID. ``url`` is whose they were."""

    def __init__(self, cid: str, url: str, found: str) -> None:
        self.cid = cid
        self.url = url
        super().__init__(
            f"What the storage at {url} sent for {cid} {found}. Nothing of it was kept; use another storage service."
        )


class Limiter(Protocol):
    """A limit of bandwidth."""

    async def take(self, byte_count: int) -> None:
        """Wait until ``byte_count`` more bytes may pass."""
        ...


@dataclass(frozen=True, slots=True)
class Tempo:
    """How slow a storage may be: less than ``bytes_per_s`` over ``patience_s`` seconds of waiting is a lost one."""

    bytes_per_s: float = 1024.0
    patience_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Leaves:
    """Size of a file and the SHA-256 of each of its chunks."""

    size: int
    digests: tuple[bytes, ...]

    @classmethod
    def parse(cls, joined: bytes, size: int, cid: str) -> Leaves | None:
        """Read digests that somebody claims for ``cid``; None if the CID does not prove them."""
        if len(joined) % _DIGEST_BYTES:
            return None
        digests = tuple(joined[at : at + _DIGEST_BYTES] for at in range(0, len(joined), _DIGEST_BYTES))
        try:
            proven = cid_of_leaves(digests, size) == cid
        except UsageError:
            return None
        return cls(size, digests) if proven else None


class Sink(Protocol):
    """Where the bytes go."""

    async def write(self, data: bytes) -> None: ...
    async def flush(self) -> None: ...
    async def cut(self, size: int) -> None:
        """Forget everything after the first ``size`` bytes."""
        ...


class MemorySink:
    """Keeps the bytes in ``content``."""

    def __init__(self) -> None:
        self.content = bytearray()

    async def write(self, data: bytes) -> None:
        self.content += data

    async def flush(self) -> None:
        """Nothing is held back."""

    async def cut(self, size: int) -> None:
        del self.content[size:]


class FileSink:
    """Writes to an open file in larger pieces; its errors are the file's OSErrors."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = bytearray()

    async def write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _WRITE_BUFFER_BYTES:
            await self.flush()

    async def flush(self) -> None:
        await asyncio.to_thread(self._file.write, self._buffer)
        self._buffer = bytearray()

    async def cut(self, size: int) -> None:
        await self.flush()
        await asyncio.to_thread(self._file.seek, size)
        await asyncio.to_thread(self._file.truncate)


class Download:
    """One file on its way into ``sink``; `go_on` may be called again after a lost connection, also at another URL."""

    def __init__(
        self,
        cid: str,
        sink: Sink,
        max_bytes: int,
        *,
        leaves: Leaves | None = None,
        limiter: Limiter | None = None,
        tempo: Tempo | None = None,
    ) -> None:
        self._cid = cid
        self._sink = sink
        self._max_bytes = max_bytes
        self._leaves = leaves
        self._limiter = limiter
        self._tempo = tempo
        self._builder = CidBuilder()
        self._chunk = bytearray()
        self._checked = 0
        self._sources: set[str] = set()

    @property
    def position(self) -> int:
        """So many bytes are there; with leaves, so many are checked."""
        return self._checked if self._leaves is not None else self._builder.size

    async def recover(self, path: Path) -> None:
        """Take up what an earlier process left in ``path``, the sink's file: as much as is right, or can be."""
        kept = await asyncio.to_thread(self._reread, path)
        if kept:
            self._sources.add("an earlier run")
        await self._sink.cut(kept)

    async def go_on(self, http: httpx.AsyncClient, url: str) -> None:
        """Ask the storage at ``url`` for the rest, and take what comes.

        Raises:
            Interrupted, httpx.TransportError: the connection was lost, or too slow; `go_on` can be called again.
            WrongBytes: a chunk is not that of the CID; it was not kept.
            ServiceRefused: the storage does not have it.
            BlobTooLarge: it is larger than allowed.
        """
        self._chunk.clear()
        had = self.position
        if self._leaves is not None and had == self._leaves.size:
            return
        headers = {"range": f"bytes={had}-"} if had else {}
        async with http.stream("GET", f"{url}/ipfs/{self._cid}", headers=headers) as response:
            if response.status_code in TRANSIENT_STATUS:
                raise Interrupted(f"status {response.status_code}")
            resumed = response.status_code == 206 and response.headers.get("content-range", "").startswith(
                f"bytes {had}-"
            )
            if response.status_code == 416 and had:
                return  # Nothing is left to send; the CID tells whether that is true.
            if response.status_code != 200 and not resumed:
                said = words_of(await start_of(response)) or "no reason given"
                raise refusal(response.status_code, f"{self._cid}: {said}")
            if had and not resumed:
                await self.restart()
            announced = response.headers.get("content-length", "")
            if announced.isdecimal():
                self._check_size(self.position + int(announced))
            self._sources.add(url)
            await self._take(response, url)
        if self._leaves is not None and self._checked < self._leaves.size:
            raise Interrupted(f"it ended after {self._checked} of {self._leaves.size} bytes")

    async def finish(self, url: str) -> None:
        """Write what is held back, and check the whole.

        Raises:
            WrongBytes: it has another CID; the sink is empty.
        """
        await self._sink.flush()
        if self._leaves is not None:
            return
        found = self._builder.finish()
        if found != self._cid:
            alone = self._sources <= {url}
            await self.restart()
            raise WrongBytes(self._cid, url if alone else "several addresses", f"has the CID {found}")

    async def restart(self) -> None:
        """Forget everything that arrived."""
        await self._sink.cut(0)
        self._builder = CidBuilder()
        self._chunk.clear()
        self._checked = 0
        self._sources.clear()

    @property
    def has_mixed_sources(self) -> bool:
        """Bytes came from more than one place, so that nobody can be blamed for what the whole is."""
        return len(self._sources) > 1

    async def _take(self, response: httpx.Response, url: str) -> None:
        pieces = response.aiter_raw().__aiter__()
        waited, arrived = 0.0, 0
        while True:
            started = time.monotonic()
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                return
            waited += time.monotonic() - started
            arrived += len(piece)
            self._check_size(self.position + len(self._chunk) + len(piece))
            await self._keep(piece, url)
            if self._limiter is not None:
                await self._limiter.take(len(piece))
            if self._tempo is not None and waited >= self._tempo.patience_s:
                if arrived < waited * self._tempo.bytes_per_s:
                    raise Interrupted(f"only {arrived} bytes in {waited:.0f} s")
                waited, arrived = 0.0, 0

    async def _keep(self, piece: bytes, url: str) -> None:
        if self._leaves is None:
            self._builder.update(piece)
            await self._sink.write(piece)
            return
        if self._checked + len(self._chunk) + len(piece) > self._leaves.size:
            raise WrongBytes(self._cid, url, f"has more than its {self._leaves.size} bytes")
        self._chunk += piece
        while self._chunk and (
            len(self._chunk) >= CHUNK_BYTES or self._checked + len(self._chunk) == self._leaves.size
        ):
            chunk = bytes(self._chunk[:CHUNK_BYTES])
            if hashlib.sha256(chunk).digest() != self._leaves.digests[self._checked // CHUNK_BYTES]:
                raise WrongBytes(
                    self._cid, url, f"is wrong between bytes {self._checked} and {self._checked + len(chunk)}"
                )
            await self._sink.write(chunk)
            del self._chunk[:CHUNK_BYTES]
            self._checked += len(chunk)

    def _reread(self, path: Path) -> int:
        with path.open("rb") as file:
            if self._leaves is None:
                size = os.fstat(file.fileno()).st_size
                if size > self._max_bytes:
                    return 0
                while data := file.read(_READ_BYTES):
                    self._builder.update(data)
                return self._builder.size
            for digest in self._leaves.digests:
                chunk = file.read(min(CHUNK_BYTES, self._leaves.size - self._checked))
                if not chunk or hashlib.sha256(chunk).digest() != digest:
                    break
                self._checked += len(chunk)
            return self._checked

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise BlobTooLarge(
                self._max_bytes, subject=f"The file {self._cid}", remedy="Allow more, or refuse the file."
            )


def words_of(answer: bytes) -> str:
    """What a service said, as one line."""
    text = answer.decode("utf-8", "replace")
    try:
        document = parse_json(answer)
    except ValueError:
        document = None
    if isinstance(document, dict) and "Message" in document:
        text = str(document["Message"])
    return one_line(text)


def refusal(status: int, message: str) -> ServiceRefused | Interrupted:
    """The error of a status that is not success: worth another try, or not."""
    return Interrupted(f"status {status}") if status in TRANSIENT_STATUS else ServiceRefused("storage", status, message)
