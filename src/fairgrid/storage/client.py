"""`StorageClient`: store files and fetch them by CID. What was fetched has that CID, or is not handed out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlencode

import httpx

from fairgrid.errors import ServiceRefused, ServiceUnavailable, UsageError, VerificationError
from fairgrid.protocol.cid import CidBuilder, normal_cid
from fairgrid.seams.clock import Clock, SystemClock
from fairgrid.seams.closing import Closing
from fairgrid.seams.http import Interrupted, open_http, parse_json, retried, start_of
from fairgrid.seams.opening import open_in_thread
from fairgrid.storage.download import Download, FileSink, Leaves, Limiter, MemorySink, Sink, refusal, words_of

__all__ = ["StorageClient"]

_SERVICE = "storage"
_UPLOAD_PIECE_BYTES = 256 * 1024
_READ_BYTES = 1024 * 1024
_ASK_FIRST_BYTES = 64 * 1024 * 1024
_IN_PARTS_BYTES = 1024 * 1024
"""Files above this size are sent in parts, where the service can take them so."""
_MAX_LEAVES_BYTES = 16 * 1024 * 1024
_NO_SUCH_ROUTE = (404, 405, 501)
_Answer = TypeVar("_Answer")


class StorageClient(Closing):
    """A storage service, or any IPFS gateway and node at ``url``. Use as an async context manager.

    Lost connections are retried four times with growing pauses; downloads and large uploads go on where they stopped.
    ``transport`` replaces the network, for example by ``httpx.ASGITransport(storage_application(MemoryStore()))``.
    ``max_redirects``: a gateway may send a download elsewhere so often; use it with a transport that judges addresses.
    ``down`` and ``up`` limit the bandwidth.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        max_redirects: int = 0,
        down: Limiter | None = None,
        up: Limiter | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._clock = clock or SystemClock()
        self._http = open_http(transport=transport)
        self._http.follow_redirects = max_redirects > 0
        self._http.max_redirects = max_redirects
        self._down = down
        self._up = up

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return self._url

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def add_bytes(self, data: bytes, *, name: str = "data", keep_s: int | None = None) -> str:
        """Store ``data``; gives its CID. With ``keep_s``, storage may remove it after so many seconds.

        Raises:
            ServiceUnavailable: nobody answers.
            ServiceRefused: the service does not take it (too large, full).
            VerificationError: the service claims another CID than these bytes have.
        """

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(data), _UPLOAD_PIECE_BYTES):
                yield data[start : start + _UPLOAD_PIECE_BYTES]

        return await self._retried(lambda: self._upload(pieces(), len(data), name, keep_s))

    async def add_file(self, path: Path, *, ticket: Path | None = None, keep_s: int | None = None) -> str:
        """Store a file without loading it whole; gives its CID.

        A large file goes in parts where the service takes them. ``ticket`` is a file of the caller's in which the
        upload's name is kept, so that another process can go on with it; it is gone when the upload is done.
        ``keep_s`` as in `add_bytes`.

        Raises:
            UsageError: the file cannot be read, or changes while it is read.
            ServiceUnavailable, ServiceRefused, VerificationError: as `add_bytes`.
        """
        try:
            file = await open_in_thread(lambda: path.open("rb"), lambda file: file.close())
        except OSError as error:
            raise UsageError(
                f"The file {path} cannot be read ({error.strerror}). Check its name and rights."
            ) from error
        try:
            size = os.fstat(file.fileno()).st_size
            if size > _IN_PARTS_BYTES:
                cid = await self._add_in_parts(file, size, path, ticket, keep_s)
                if cid is not None:
                    return cid
            await self._check_room(size)
            return await self._retried(lambda: self._upload(_pieces(file, 0, size, path), size, path.name, keep_s))
        finally:
            file.close()

    async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None:
        """Download to ``dest``, which appears only when all bytes are there and have this CID.

        Raises:
            VerificationError: the bytes have another CID; nothing is left of them.
            BlobTooLarge: more than ``max_bytes``.
            ServiceRefused: the service does not have it (404), or not any more (410), or has it damaged (500).
            ServiceUnavailable: nobody answers, or the connection was lost too often.
            UsageError: ``cid`` is none, or ``dest`` cannot be written.
        """
        partial = dest.with_name(f".{dest.name[:100]}.{secrets.token_hex(8)}.partial")
        try:
            file = await open_in_thread(lambda: partial.open("wb"), lambda file: file.close())
        except OSError as error:
            raise UsageError(f"Cannot write to {dest.parent} ({error.strerror}). Choose another folder.") from error
        try:
            sink = FileSink(file)
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
        sink = MemorySink()
        await self._download(cid, sink, max_bytes)
        return bytes(sink.content)

    async def pull(self, download: Download) -> None:
        """Bring ``download`` to its end from here, through any number of lost connections as long as it gets on.

        Raises:
            WrongBytes: this service sent something else.
            BlobTooLarge, ServiceRefused, ServiceUnavailable: as `fetch`; what arrived stays.
            OSError: the sink cannot be written.
        """
        while True:
            before = download.position
            try:
                await self._retried(lambda: download.go_on(self._http, self._url))
            except ServiceUnavailable:
                if download.position > before:
                    continue
                raise
            await download.finish(self._url)
            return

    async def leaves(self, cid: str) -> Leaves | None:
        """Digests of the chunks of a file, proven by its CID; None where the service cannot give them.

        Raises:
            ServiceUnavailable: nobody answers.
            UsageError: ``cid`` is none.
        """
        cid = normal_cid(cid)

        async def ask() -> Leaves | None:
            async with self._http.stream("GET", f"{self._url}/leaves/{cid}") as response:
                if response.status_code != 200:
                    refused = refusal(response.status_code, "")
                    if isinstance(refused, Interrupted):
                        raise refused
                    return None
                size = response.headers.get("x-file-size", "")
                joined = await start_of(response, limit=_MAX_LEAVES_BYTES)
                return Leaves.parse(joined, int(size), cid) if size.isascii() and size.isdecimal() else None

        return await self._retried(ask)

    async def stat(self, cid: str) -> int | None:
        """Size in bytes as the service states it, or None when it does not have this CID.

        Raises:
            ServiceUnavailable, ServiceRefused: it does not answer, or answers with an error.
            UsageError: ``cid`` is none.
        """
        path = f"{self._url}/ipfs/{normal_cid(cid)}"

        async def ask() -> int | None:
            response = await self._http.head(path)
            if response.status_code in (404, 410):
                return None
            if response.status_code != 200:
                raise refusal(response.status_code, f"{cid}: it reports an error for this file")
            length = response.headers.get("content-length", "")
            if not length.isdecimal():
                raise ServiceRefused(_SERVICE, 200, f"no length for {cid}")
            return int(length)

        return await self._retried(ask)

    async def kept(self, cid: str, *, keep_s: int | None = None) -> int | None:
        """Let a file that is there stay as an upload with ``keep_s`` would; gives its size, None when it is not there.

        A service that removes nothing is only asked for the size.

        Raises:
            ServiceUnavailable, ServiceRefused, UsageError: as `stat`.
        """
        path = f"{self._url}/keep/{normal_cid(cid)}"
        size = await self.stat(cid)
        if size is None:
            return None

        async def ask() -> int | None:
            async with self._http.stream("POST", path, params=_expiry(keep_s)) as response:
                if response.status_code == 200 or response.status_code in _NO_SUCH_ROUTE:
                    return size
                if response.status_code == 410:
                    return None  # Its time was over meanwhile.
                raise refusal(response.status_code, f"{cid}: it does not keep this file longer")

        return await self._retried(ask)

    async def _add_in_parts(
        self, file: BinaryIO, size: int, path: Path, ticket: Path | None, keep_s: int | None
    ) -> str | None:
        """The CID when the file is stored; None where the service takes no uploads in parts."""
        cid = await asyncio.to_thread(_cid_of_file, file, size, path)
        with contextlib.suppress(ServiceRefused):
            if await self.kept(cid, keep_s=keep_s) == size:
                return cid
        name = await asyncio.to_thread(_read_ticket, ticket, self._url, cid)
        state: dict[str, Any] | None = None
        if name is not None:
            with contextlib.suppress(ServiceRefused):
                state = await self._ask_upload("GET", f"/uploads/{name}")
        if state is None:
            state = await self._begin_upload(cid, size, keep_s)
            if state is None:
                return None
            await asyncio.to_thread(_write_ticket, ticket, self._url, cid, str(state["id"]))
        try:
            while not state["done"]:
                state = await self._send_part(file, size, path, state)
        except ServiceRefused as error:
            if error.status == 404:
                # The service forgot the upload (it restarted): the next call begins anew.
                raise ServiceUnavailable(_SERVICE, self._url, "it lost the upload when it restarted") from error
            raise
        finally:
            if state["done"] and ticket is not None:
                await asyncio.to_thread(ticket.unlink, missing_ok=True)
        return cid

    async def _begin_upload(self, cid: str, size: int, keep_s: int | None = None) -> dict[str, Any] | None:
        wanted = json.dumps({"cid": cid, "size": size}).encode()
        try:
            return await self._ask_upload("POST", f"/uploads?{urlencode(_expiry(keep_s))}".rstrip("?"), wanted)
        except ServiceRefused as error:
            if error.status in _NO_SUCH_ROUTE:
                return None
            raise

    async def _send_part(self, file: BinaryIO, size: int, path: Path, state: dict[str, Any]) -> dict[str, Any]:
        """Send what is missing; after a lost connection the service is asked where to go on."""
        upload = f"/uploads/{state['id']}"
        start = int(state["offset"])
        try:
            return await self._ask_upload(
                "PATCH", f"{upload}?offset={start}", lambda: _pieces(file, start, size, path, self._up), once=True
            )
        except ServiceUnavailable:
            now = await self._ask_upload("GET", upload)
            if int(now["offset"]) <= start and not now["done"]:
                raise
            return now
        except ServiceRefused as error:
            if error.status != 409:
                raise
            return await self._ask_upload("GET", upload)

    async def _ask_upload(
        self,
        method: str,
        path: str,
        body: bytes | Callable[[], AsyncIterator[bytes]] | None = None,
        *,
        once: bool = False,
    ) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            content = body() if callable(body) else body
            try:
                async with self._http.stream(method, f"{self._url}{path}", content=content) as response:
                    answer = await start_of(response)
            except httpx.TransportError as error:
                if once:
                    raise ServiceUnavailable(_SERVICE, self._url, str(error) or type(error).__name__) from error
                raise
            if response.status_code not in (200, 201):
                raise refusal(response.status_code, words_of(answer) or "the upload")
            try:
                state: dict[str, Any] = parse_json(answer)
                int(state["offset"]), str(state["id"]), bool(state["done"])
            except (ValueError, KeyError, TypeError) as error:
                raise ServiceRefused(_SERVICE, 200, "its answer to an upload cannot be understood") from error
            return state

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

    async def _upload(self, pieces: AsyncIterator[bytes], size: int, name: str, keep_s: int | None) -> str:
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
                if self._up is not None:
                    await self._up.take(len(piece))
                yield piece
            yield tail

        async with self._http.stream(
            "POST",
            f"{self._url}/api/v0/add",
            params={"cid-version": "1", "pin": "true"} | _expiry(keep_s),
            content=body(),
            headers={
                "content-type": f"multipart/form-data; boundary={boundary}",
                "content-length": str(len(head) + size + len(tail)),
            },
        ) as response:
            answer = await start_of(response)
        if response.status_code != 200:
            raise refusal(response.status_code, words_of(answer) or f"the upload of {name}")
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

    async def _download(self, cid: str, sink: Sink, max_bytes: int) -> None:
        download = Download(normal_cid(cid), sink, max_bytes, limiter=self._down)
        await self._retried(lambda: download.go_on(self._http, self._url))
        await download.finish(self._url)

    async def _retried(self, attempt: Callable[[], Awaitable[_Answer]]) -> _Answer:
        return await retried(attempt, service=_SERVICE, url=self._url, clock=self._clock)


def _expiry(keep_s: int | None) -> dict[str, str]:
    """The parameters that limit how long an upload stays."""
    return {} if keep_s is None else {"expire-in": f"{keep_s}s"}


async def _pieces(
    file: BinaryIO, start: int, size: int, path: Path, limiter: Limiter | None = None
) -> AsyncIterator[bytes]:
    await asyncio.to_thread(file.seek, start)
    left = size - start
    while left:
        piece = await asyncio.to_thread(file.read, min(left, _UPLOAD_PIECE_BYTES))
        if not piece:
            raise UsageError(f"The file {path} became shorter while it was sent. Send it when it is ready.")
        left -= len(piece)
        if limiter is not None:
            await limiter.take(len(piece))
        yield piece


def _cid_of_file(file: BinaryIO, size: int, path: Path) -> str:
    builder = CidBuilder()
    file.seek(0)
    while data := file.read(_READ_BYTES):
        builder.update(data)
    if builder.size < size:
        raise UsageError(f"The file {path} became shorter while it was sent. Send it when it is ready.")
    return builder.finish()


def _read_ticket(ticket: Path | None, url: str, cid: str) -> str | None:
    """The name of the upload that an earlier process began there; a ticket of another file or place says nothing."""
    if ticket is None:
        return None
    try:
        known = parse_json(ticket.read_bytes())
        return str(known["id"]) if (known["url"], known["cid"]) == (url, cid) and str(known["id"]).isalnum() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_ticket(ticket: Path | None, url: str, cid: str, name: str) -> None:
    if ticket is not None:
        with contextlib.suppress(OSError):
            ticket.write_text(json.dumps({"url": url, "cid": cid, "id": name}))
