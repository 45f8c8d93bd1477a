"""The storage service: `/api/v0/add` as IPFS nodes have it, `/ipfs/{cid}` as IPFS gateways have it, `/health`.

Beside them what IPFS does not have: `/leaves/{cid}`, the SHA-256 of each chunk of a file, by which a client checks
every chunk as it arrives; `/uploads`, uploads in parts that survive lost connections; and `expire-in`, the seconds
after which an upload is removed, which `/keep/{cid}` lengthens.

Anyone who can reach it may store and read: content is public to whoever knows its CID (decision 34).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fairgrid import __version__
from fairgrid.errors import FairgridError, ServiceError, UsageError, VerificationError
from fairgrid.protocol.cid import normal_cid
from fairgrid.seams.http import parse_json
from fairgrid.seams.service import drain
from fairgrid.storage.sessions import SessionConflict, SessionMissing, UploadSessions
from fairgrid.storage.store import BlobDamaged, BlobMissing, BlobStore, BlobTooLarge, StoreFull
from fairgrid.storage.terms import keep_of_query
from fairgrid.storage.upload import UploadStalled, receive_files, unstalled

__all__ = ["VERIFIED_BEFORE_ANSWER_BYTES", "storage_application", "sweeping"]

#: So much of a range is verified before the answer starts, so that damage is a clear 500. Damage further on ends the
#: connection before the damaged chunk, and the length that was promised tells the client.
VERIFIED_BEFORE_ANSWER_BYTES = 64 * 1024 * 1024

_FORM_OVERHEAD_BYTES = 1024 * 1024
_DRAIN_BYTES = 256 * 1024 * 1024
_SHORT_BODY_BYTES = 4096
_SWEEP_S = 60.0
_CACHED_S = 29_030_400
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_PUBLIC_HEADERS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "content-length, content-range, etag, x-ipfs-path",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
}

_log = structlog.get_logger("fairgrid.storage")


def storage_application(
    store: BlobStore, *, idle_s: float = 60, allowed_origins: frozenset[str] = frozenset()
) -> Starlette:
    """The ASGI application over ``store``, which the caller opens and closes.

    ``idle_s``: an upload that sends nothing for so long is given up. ``allowed_origins``: web pages that may upload;
    a browser that says it acts for another page is refused, so that no web site fills a local store.
    """
    service = _Storage(store, idle_s, allowed_origins)
    return Starlette(
        routes=[
            Route("/api/v0/add", service.add, methods=["POST"]),
            Route("/ipfs/{cid}", service.get, methods=["GET", "HEAD"]),
            Route("/leaves/{cid}", service.leaves, methods=["GET"]),
            Route("/keep/{cid}", service.keep, methods=["POST"]),
            Route("/uploads", service.open_upload, methods=["POST"]),
            Route("/uploads/{id}", service.upload, methods=["GET", "PATCH", "DELETE"]),
            Route("/health", service.health, methods=["GET"]),
        ],
        exception_handlers={404: _not_found, 405: _not_allowed},
    )


@contextlib.asynccontextmanager
async def sweeping(store: BlobStore, *, every_s: float = _SWEEP_S) -> AsyncIterator[None]:
    """Meanwhile, blobs whose time is over are removed, at the start and every ``every_s`` seconds."""

    async def sweep() -> None:
        while True:
            try:
                for cid in await store.sweep():
                    _log.info("removed", cid=cid, reason="its time is over")
            except OSError as error:
                _log.error("sweep_failed", reason=str(error))
            await asyncio.sleep(every_s)

    task = asyncio.ensure_future(sweep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


@dataclass(frozen=True, slots=True)
class _Range:
    start: int
    length: int
    asked: bool = True


class _Storage:
    def __init__(self, store: BlobStore, idle_s: float, allowed_origins: frozenset[str]) -> None:
        self._store = store
        self._idle_s = idle_s
        self._allowed_origins = allowed_origins
        self._sessions = UploadSessions(store)

    async def health(self, request: Request) -> Response:
        usage, limits = self._store.usage, self._store.limits
        return JSONResponse(
            {
                "ok": True,
                "service": "storage",
                "version": __version__,
                "blobs": usage.blobs,
                "usedBytes": usage.used_bytes,
                "quotaBytes": limits.quota_bytes,
                "maxBlobBytes": limits.max_blob_bytes,
            }
        )

    async def add(self, request: Request) -> Response:
        body = request.stream()
        try:
            self._check_upload(request)
            stored = await receive_files(
                self._store,
                request.headers.get("content-type", ""),
                body,
                idle_s=self._idle_s,
                keep_s=_keep_s(request),
            )
        except ClientDisconnect:
            return Response(status_code=400)
        except (UsageError, StoreFull, UploadStalled) as error:
            status = _status_of(error)
            _log.warning("upload_refused", status=status, reason=str(error))
            if status != 408:
                await drain(body, limit_bytes=_DRAIN_BYTES)
            return _add_error(status, error)
        lines = [
            json.dumps({"Name": file.name, "Hash": file.blob.cid, "Size": str(file.blob.dag_size)}) for file in stored
        ]
        for file in stored:
            _log.info("stored", cid=file.blob.cid, size=file.blob.size)
        return Response("\n".join(lines) + "\n", media_type="application/json", headers=self._cors(request))

    async def keep(self, request: Request) -> Response:
        """Let a file stay as long as its upload would make it stay: ``{"cid", "size"}``, 404 when it is not here."""
        try:
            self._check_origin(request)
            cid = normal_cid(request.path_params["cid"])
            size = await self._store.keep(cid, keep_s=_keep_s(request))
        except (UsageError, StoreFull) as error:
            return _add_error(_status_of(error), error)
        if size is None:
            return self._missing(cid)
        return JSONResponse({"cid": cid, "size": size}, headers=self._cors(request))

    async def open_upload(self, request: Request) -> Response:
        """Begin an upload in parts: ``{"cid", "size"}`` in, ``{"id", "offset"}`` out."""
        body = request.stream()
        try:
            self._check_origin(request)
            async with asyncio.timeout(self._idle_s):
                wanted = parse_json(await _short_body(body))
            state = await self._sessions.begin(str(wanted["cid"]), int(wanted["size"]), keep_s=_keep_s(request))
        except ClientDisconnect:
            return Response(status_code=400)
        except TimeoutError:
            return _add_error(408, UploadStalled(self._idle_s))
        except (KeyError, TypeError, ValueError):
            return _add_error(400, UsageError('Begin an upload with a JSON object {"cid": "bafy…", "size": 123}.'))
        except (UsageError, StoreFull) as error:
            return _add_error(_status_of(error), error)
        return JSONResponse(state.document(), status_code=201, headers=self._cors(request))

    async def upload(self, request: Request) -> Response:
        """Ask how far an upload is (GET), send more of it (PATCH with ``?offset=``), or give it up (DELETE)."""
        name = request.path_params["id"]
        body = request.stream()
        try:
            self._check_origin(request)
            if request.method == "DELETE":
                await self._sessions.drop(name)
                return Response(status_code=204)
            if request.method == "GET":
                state = await self._sessions.state(name)
            else:
                offset = request.query_params.get("offset", "")
                if not (offset.isascii() and offset.isdecimal()):
                    raise UsageError("Say with ?offset=N where in the file these bytes begin.")
                state = await self._sessions.append(name, int(offset), unstalled(body, self._idle_s))
        except ClientDisconnect:
            return Response(status_code=400)
        except (UsageError, ServiceError, VerificationError) as error:
            status = _status_of(error)
            _log.warning("upload_refused", status=status, reason=str(error))
            if status not in (404, 408):
                await drain(body, limit_bytes=_DRAIN_BYTES)
            return _add_error(status, error)
        if state.done:
            _log.info("stored", cid=state.cid, size=state.size)
        return JSONResponse(state.document(), headers=self._cors(request))

    def _check_origin(self, request: Request) -> None:
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._allowed_origins:
            raise _OriginRefused(origin)

    def _check_upload(self, request: Request) -> None:
        self._check_origin(request)
        if request.query_params.get("cid-version", "1") != "1":
            raise UsageError("Only CIDs of version 1 are made here. Leave cid-version out, or send cid-version=1.")
        if request.query_params.get("wrap-with-directory", "false") == "true":
            raise UsageError("Folders are not kept here. Send an archive, or leave wrap-with-directory out.")
        limit = self._store.limits.max_blob_bytes
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit + _FORM_OVERHEAD_BYTES:
            raise BlobTooLarge(limit, remedy="Split it, or ask the store's owner to raise --max-blob.")

    def _cors(self, request: Request) -> dict[str, str]:
        origin = request.headers.get("origin")
        return {} if origin is None else {"access-control-allow-origin": origin, "vary": "origin"}

    async def get(self, request: Request) -> Response:
        try:
            cid = normal_cid(request.path_params["cid"])
        except UsageError as error:
            return _text(400, str(error))
        if "format" in request.query_params:
            return _text(406, "Only whole files are served here. Leave the query key 'format' out.")
        size = await self._store.size(cid)
        if size is None:
            return self._missing(cid)
        headers = {
            **_PUBLIC_HEADERS,
            "accept-ranges": "bytes",
            "cache-control": f"public, max-age={min(_CACHED_S, self._store.left_s(cid))}, immutable",
            "content-disposition": _disposition(request.query_params),
            "etag": f'"{cid}"',
            "x-ipfs-path": f"/ipfs/{cid}",
        }
        if _matches(request.headers.get("if-none-match"), cid):
            return Response(status_code=304, headers=headers)
        wanted = _wanted_range(request.headers, cid, size)
        if wanted is None:
            return _text(416, f"{cid} has {size} bytes.", {**headers, "content-range": f"bytes */{size}"})
        try:
            await self._store.verify(cid, start=wanted.start, length=min(wanted.length, VERIFIED_BEFORE_ANSWER_BYTES))
        except BlobMissing:
            return self._missing(cid)
        except BlobDamaged as error:
            _log.error("blob_damaged", cid=cid)
            return _text(500, str(error))
        headers["content-length"] = str(wanted.length)
        if wanted.asked:
            headers["content-range"] = f"bytes {wanted.start}-{wanted.start + wanted.length - 1}/{size}"
        status = 206 if wanted.asked else 200
        media_type = "application/octet-stream"
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=media_type)
        return StreamingResponse(self._body(cid, wanted), status_code=status, headers=headers, media_type=media_type)

    async def leaves(self, request: Request) -> Response:
        """The digests of a file's chunks, joined; ``x-file-size`` is the file's size."""
        try:
            cid = normal_cid(request.path_params["cid"])
            size, digests = await self._store.leaves(cid)
        except UsageError as error:
            return _text(400, str(error))
        except BlobMissing:
            return self._missing(cid)
        except BlobDamaged as error:
            _log.error("blob_damaged", cid=cid)
            return _text(500, str(error))
        headers = {**_PUBLIC_HEADERS, "x-file-size": str(size)}
        return Response(b"".join(digests), headers=headers, media_type="application/octet-stream")

    def _missing(self, cid: str) -> Response:
        if self._store.gone(cid):
            return _text(410, f"{cid} was removed: the time for which it was uploaded is over. Upload it again.")
        return _text(404, f"{cid} is not in this store.")

    async def _body(self, cid: str, wanted: _Range) -> AsyncIterator[bytes]:
        try:
            async for piece in self._store.read(cid, start=wanted.start, length=wanted.length):
                yield piece
        except BlobDamaged:
            _log.error("blob_damaged", cid=cid)
            raise


class _OriginRefused(UsageError):
    def __init__(self, origin: str) -> None:
        super().__init__(f"Web pages of {origin} may not upload to this store. Its owner can allow them.")


_UPLOAD_STATUS: tuple[tuple[type[FairgridError], int], ...] = (
    (BlobTooLarge, 413),
    (StoreFull, 507),
    (UploadStalled, 408),
    (_OriginRefused, 403),
    (SessionMissing, 404),
    (SessionConflict, 409),
    (VerificationError, 422),
    (UsageError, 400),
)


def _status_of(error: FairgridError) -> int:
    return next((status for kind, status in _UPLOAD_STATUS if isinstance(error, kind)), 500)


def _keep_s(request: Request) -> int | None:
    return keep_of_query(request.query_params.get("expire-in"))


async def _short_body(body: AsyncIterator[bytes]) -> bytes:
    """The body of a request that should be short; what is longer is cut."""
    read = bytearray()
    async for piece in body:
        read += piece
        if len(read) > _SHORT_BODY_BYTES:
            break
    return bytes(read[:_SHORT_BODY_BYTES])


def _wanted_range(headers: Mapping[str, str], cid: str, size: int) -> _Range | None:
    """The one range to answer with; everything when none is asked or it is not understood; None: it cannot be met."""
    whole = _Range(0, size, asked=False)
    match = _RANGE.fullmatch(headers.get("range", ""))
    if match is None or headers.get("if-range", f'"{cid}"') != f'"{cid}"':
        return whole
    first, last = match.groups()
    if not first:
        if not last:
            return whole
        length = min(int(last), size)
        return _Range(size - length, length) if length else None
    if last and int(last) < int(first):
        return whole
    start = int(first)
    if start >= size:
        return None
    return _Range(start, (min(int(last) + 1, size) if last else size) - start)


def _matches(if_none_match: str | None, cid: str) -> bool:
    if if_none_match is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or f'"{cid}"' in tags


def _disposition(query: Mapping[str, str]) -> str:
    """Always an attachment: nothing that a stranger stored is shown inside a page of this origin."""
    name = query.get("filename", "")
    return "attachment" if not name else f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _text(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        message + "\n", status_code=status, headers={**_PUBLIC_HEADERS, **(headers or {})}, media_type="text/plain"
    )


def _add_error(status: int, error: FairgridError) -> Response:
    """The shape in which IPFS nodes report errors; the rest of a refused body is not waited for."""
    return JSONResponse(
        {"Message": str(error), "Code": 0, "Type": "error"}, status_code=status, headers={"connection": "close"}
    )


async def _not_found(request: Request, error: Exception) -> Response:
    return _text(404, "There is nothing at this path. Files are at /ipfs/CID.")


async def _not_allowed(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None) or {}
    return _text(405, f"{request.method} is not possible at this path.", headers)
