"""`StorageClient`: store files and fetch them by CID. What was fetched has that CID, or is not handed out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, TypeVar

import httpx

from fairgrid.errors import ServiceRefused, UsageError, VerificationError
from fairgrid.protocol.cid import CidBuilder, normal_cid
from fairgrid.seams.clock import Clock, SystemClock
from fairgrid.seams.http import TRANSIENT_STATUS, Interrupted, one_line, open_http, parse_json, retried, start_of
from fairgrid.storage.store import BlobTooLarge

__all__ = ["StorageClient"]

_SERVICE = "storage"
_UPLOAD_PIECE_BYTES = 256 * 1024
_WRITE_BUFFER_BYTES = 1024 * 1024
_ASK_FIRST_BYTES = 64 * 1024 * 1024
_Answer = TypeVar("_Answer")


class StorageClient:
    """A storage service, or any IPFS gateway and node at ``url``. Use as an async context manager.

    Lost connections are retried four times with growing pauses; a download goes on where it stopped.
    ``transport`` replaces the network, for example by ``httpx.ASGITransport(storage_application(MemoryStore()))``.
    """

    def __init__(
        self, url: str, *, transport: httpx.AsyncBaseTransport | None = None, clock: Clock | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._clock = clock or SystemClock()
        self._http = open_http(transport=transport)

    async def __aenter__(self) -> StorageClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def add_bytes(self, data: bytes, *, name: str = "data") -> str:
        """Store ``data``; gives its CID.

        Raises:
            ServiceUnavailable: nobody answers.
            ServiceRefused: the service does not take it (too large, full).
            VerificationError: the service claims another CID than these bytes have.
        """

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(data), _UPLOAD_PIECE_BYTES):
                yield data[start : start + _UPLOAD_PIECE_BYTES]

        return await self._retried(lambda: self._upload(pieces(), len(data), name))

    async def add_file(self, path: Path) -> str:
        """Store a file without loading it whole; gives its CID.

        Raises:
            UsageError: the file cannot be read, or changes while it is read.
            ServiceUnavailable, ServiceRefused, VerificationError: as `add_bytes`.
        """
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except OSError as error:
            raise UsageError(
                f"The file {path} cannot be read ({error.strerror}). Check its name and rights."
            ) from error
        try:
            size = os.fstat(file.fileno()).st_size
            await self._check_room(size)

            async def pieces() -> AsyncIterator[bytes]:
                await asyncio.to_thread(file.seek, 0)
                left = size
                while left:
                    piece = await asyncio.to_thread(file.read, min(left, _UPLOAD_PIECE_BYTES))
                    if not piece:
                        raise UsageError(f"The file {path} became shorter while it was sent. Send it when it is ready.")
                    left -= len(piece)
                    yield piece

            return await self._retried(lambda: self._upload(pieces(), size, path.name))
        finally:
            file.close()

    async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None:
        """Download to ``dest``, which appears only when all bytes are there and have this CID.

        Raises:
            VerificationError: the bytes have another CID; nothing is left of them.
            BlobTooLarge: more than ``max_bytes``.
            ServiceRefused: the service does not have it (404), or has it damaged (500).
            ServiceUnavailable: nobody answers, or the connection was lost too often.
            UsageError: ``cid`` is none, or ``dest`` cannot be written.
        """
        partial = dest.with_name(f".{dest.name[:100]}.{secrets.token_hex(8)}.partial")
        try:
            file = await asyncio.to_thread(partial.open, "wb")
        except OSError as error:
            raise UsageError(f"Cannot write to {dest.parent} ({error.strerror}). Choose another folder.") from error
        try:
            sink = _FileSink(file)
            try:
                await self._download(cid, sink, max_bytes)
            finally:
                await asyncio.to_thread(file.close)
            await asyncio.to_thread(partial.replace, dest)
        except OSError as error:
            raise UsageError(f"Cannot write {dest} ({error.strerror}). Make room, or choose another place.") from error
        finally:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(partial.unlink, missing_ok=True)

    async def fetch_bytes(self, cid: str, *, max_bytes: int) -> bytes:
        """The content with this CID; fails as `fetch` does."""
        sink = _MemorySink()
        await self._download(cid, sink, max_bytes)
        return bytes(sink.content)

    async def stat(self, cid: str) -> int | None:
        """Size in bytes as the service states it, or None when it does not have this CID.

        Raises:
            ServiceUnavailable, ServiceRefused: it does not answer, or answers with an error.
            UsageError: ``cid`` is none.
        """
        path = f"{self._url}/ipfs/{normal_cid(cid)}"

        async def ask() -> int | None:
            response = await self._http.head(path)
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise _refusal(response.status_code, f"{cid}: it reports an error for this file")
            length = response.headers.get("content-length", "")
            if not length.isdecimal():
                raise ServiceRefused(_SERVICE, 200, f"no length for {cid}")
            return int(length)

        return await self._retried(ask)

    async def _check_room(self, size: int) -> None:
        """Ask before a large upload, whose refusal would come only after it; other IPFS nodes cannot tell."""
        if size <= _ASK_FIRST_BYTES:
            return

        async def ask() -> bytes:
            async with self._http.stream("GET", f"{self._url}/health") as response:
                return await start_of(response) if response.status_code == 200 else b""

        with contextlib.suppress(ValueError, TypeError, KeyError):
            limit = int(parse_json(await self._retried(ask))["maxBlobBytes"])
            if size > limit:
                raise ServiceRefused(_SERVICE, 413, f"files of more than {limit} bytes; this one has {size}")

    async def _upload(self, pieces: AsyncIterator[bytes], size: int, name: str) -> str:
        boundary = secrets.token_hex(16)
        safe_name = name.replace("\\", "_").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{safe_name}"\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        builder = CidBuilder()

        async def body() -> AsyncIterator[bytes]:
            yield head
            async for piece in pieces:
                builder.update(piece)
                yield piece
            yield tail

        async with self._http.stream(
            "POST",
            f"{self._url}/api/v0/add",
            params={"cid-version": "1", "pin": "true"},
            content=body(),
            headers={
                "content-type": f"multipart/form-data; boundary={boundary}",
                "content-length": str(len(head) + size + len(tail)),
            },
        ) as response:
            answer = await start_of(response)
        if response.status_code != 200:
            raise _refusal(response.status_code, _message(answer) or f"the upload of {name}")
        try:
            cid = normal_cid(str(parse_json(answer.strip().splitlines()[-1])["Hash"]))
        except (ValueError, KeyError, TypeError, IndexError, UsageError) as error:
            raise ServiceRefused(_SERVICE, 200, "its answer to an upload cannot be understood") from error
        if cid != builder.finish():
            raise VerificationError(
                f"The storage at {self._url} says that {name} has the CID {cid}, but it is {builder.finish()}. "
                f"Use another storage service."
            )
        return cid

    async def _download(self, cid: str, sink: _Sink, max_bytes: int) -> None:
        cid = normal_cid(cid)
        download = _Download(cid, sink, max_bytes, self._url)
        await self._retried(lambda: download.go_on(self._http))
        await sink.flush()
        if download.builder.finish() != cid:
            raise VerificationError(
                f"What the storage at {self._url} sent for {cid} has the CID {download.builder.finish()}. "
                f"Nothing of it was kept; use another storage service."
            )

    async def _retried(self, attempt: Callable[[], Awaitable[_Answer]]) -> _Answer:
        return await retried(attempt, service=_SERVICE, url=self._url, clock=self._clock)


class _Sink(Protocol):
    async def write(self, data: bytes) -> None: ...
    async def flush(self) -> None: ...
    async def restart(self) -> None: ...


class _MemorySink:
    def __init__(self) -> None:
        self.content = bytearray()

    async def write(self, data: bytes) -> None:
        self.content += data

    async def flush(self) -> None:
        """Nothing is held back."""

    async def restart(self) -> None:
        self.content.clear()


class _FileSink:
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

    async def restart(self) -> None:
        self._buffer.clear()
        await asyncio.to_thread(self._file.seek, 0)
        await asyncio.to_thread(self._file.truncate)


class _Download:
    """One file on its way; `go_on` may be called again after a lost connection."""

    def __init__(self, cid: str, sink: _Sink, max_bytes: int, url: str) -> None:
        self._cid = cid
        self._sink = sink
        self._max_bytes = max_bytes
        self._url = url
        self.builder = CidBuilder()

    async def go_on(self, http: httpx.AsyncClient) -> None:
        had = self.builder.size
        headers = {"range": f"bytes={had}-"} if had else {}
        async with http.stream("GET", f"{self._url}/ipfs/{self._cid}", headers=headers) as response:
            if response.status_code in TRANSIENT_STATUS:
                raise Interrupted(f"status {response.status_code}")
            resumed = response.status_code == 206 and response.headers.get("content-range", "").startswith(
                f"bytes {had}-"
            )
            if response.status_code == 416 and had:
                return  # Nothing is left to send; the CID tells whether that is true.
            if response.status_code != 200 and not resumed:
                said = _message(await start_of(response)) or "no reason given"
                raise _refusal(response.status_code, f"{self._cid}: {said}")
            if had and not resumed:
                await self._sink.restart()
                self.builder = CidBuilder()
            announced = response.headers.get("content-length", "")
            if announced.isdecimal():
                self._check_size(self.builder.size + int(announced))
            async for piece in response.aiter_raw():
                self._check_size(self.builder.size + len(piece))
                self.builder.update(piece)
                await self._sink.write(piece)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise BlobTooLarge(
                self._max_bytes, subject=f"The file {self._cid}", remedy="Allow more, or refuse the file."
            )


def _message(answer: bytes) -> str:
    """What the service said."""
    text = answer.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        document = parse_json(answer)
        if isinstance(document, dict) and "Message" in document:
            text = str(document["Message"])
    return one_line(text)


def _refusal(status: int, message: str) -> ServiceRefused | Interrupted:
    return Interrupted(f"status {status}") if status in TRANSIENT_STATUS else ServiceRefused(_SERVICE, status, message)
