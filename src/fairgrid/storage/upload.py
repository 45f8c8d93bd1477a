"""Streaming upload: a multipart body goes straight into the blob store, one blob per file part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fairgrid.errors import ServiceError, UsageError
from fairgrid.storage.store import BlobStore, BlobWriter, StoredBlob

__all__ = ["NamedBlob", "UploadStalled", "receive_files", "unstalled"]

_MAX_FILES = 1000
_MAX_NAME_CHARACTERS = 1024


class UploadStalled(ServiceError):
    """Nothing more of an upload arrived for too long."""

    def __init__(self, idle_s: float) -> None:
        self.idle_s = idle_s
        super().__init__(f"The upload stopped: no byte for {idle_s:g} s. Nothing of it was kept; send it again.")


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A stored file under the name that its sender gave."""

    name: str
    blob: StoredBlob


@dataclass(slots=True)
class _Parts:
    """What the parser saw in one piece of the body, in order: ``begin``, headers, data, ``end``."""

    events: list[tuple[str, bytes]] = field(default_factory=list)
    ended: bool = False
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)

    def on_part_begin(self) -> None:
        self.events.append(("begin", b""))

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if bytes(self._name).lower() == b"content-disposition":
            self.events.append(("disposition", bytes(self._value)))
        self._name.clear()
        self._value.clear()

    def on_headers_finished(self) -> None:
        self.events.append(("headers", b""))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.events.append(("data", data[start:end]))

    def on_part_end(self) -> None:
        self.events.append(("end", b""))

    def on_end(self) -> None:
        self.ended = True


async def receive_files(
    store: BlobStore,
    content_type: str,
    body: AsyncIterator[bytes],
    *,
    idle_s: float = 60,
    keep_s: int | None = None,
) -> list[NamedBlob]:
    """Store every file part of a multipart body and give them in order; other form fields are ignored.

    They stay for ``keep_s`` seconds, or without end (None).

    Each file is kept when its part ends: files before a broken part stay, the broken one leaves nothing.

    Raises:
        UsageError: the body is no multipart form, breaks off, or has no file.
        UploadStalled: nothing arrived for ``idle_s`` seconds.
        BlobTooLarge, StoreFull: as `BlobWriter.write`.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise UsageError("Send the file as multipart/form-data with a boundary, as IPFS nodes want it.")
    parts = _Parts()
    stored: list[NamedBlob] = []
    writer: BlobWriter | None = None
    disposition = b""
    name = ""
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.on_part_begin,
                "on_part_data": parts.on_part_data,
                "on_part_end": parts.on_part_end,
                "on_header_field": parts.on_header_field,
                "on_header_value": parts.on_header_value,
                "on_header_end": parts.on_header_end,
                "on_headers_finished": parts.on_headers_finished,
                "on_end": parts.on_end,
            },
        )
        async for piece in unstalled(body, idle_s):
            parser.write(piece)
            for event, value in parts.events:
                if event == "begin":
                    disposition = b""
                elif event == "disposition":
                    disposition = value
                elif event == "headers":
                    file_name = _file_name(disposition)
                    if file_name is not None:
                        if len(stored) == _MAX_FILES:
                            raise UsageError(f"One upload takes at most {_MAX_FILES} files. Send the rest in another.")
                        name, writer = file_name, await store.begin(keep_s=keep_s)
                elif writer is not None:
                    if event == "data":
                        await writer.write(value)
                    else:
                        blob = await writer.commit()
                        writer = None
                        stored.append(NamedBlob(name=name or blob.cid, blob=blob))
            parts.events.clear()
    except FormParserError as error:
        raise UsageError(f"The multipart body cannot be read ({error}). Send it again, well-formed.") from error
    finally:
        if writer is not None:
            await writer.abort()
    if not parts.ended:
        raise UsageError("The multipart body breaks off before its closing boundary. Send it again, whole.")
    if not stored:
        raise UsageError("The form has no file part (a part with a file name). Nothing was stored.")
    return stored


def _file_name(disposition: bytes) -> str | None:
    """The name of a file part; None for a part that is not a file."""
    _, options = parse_options_header(disposition)
    raw = options.get(b"filename")
    if raw is None:
        # IPFS clients may send a file under the form name "file" without a file name.
        return "" if options.get(b"name") in (b"file", b"path", b"data") else None
    return unquote(raw.decode("utf-8", "replace"))[:_MAX_NAME_CHARACTERS]


async def unstalled(body: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
    """The pieces of a body as they come.

    Raises:
        UploadStalled: nothing came for ``idle_s`` seconds.
    """
    while True:
        try:
            async with asyncio.timeout(idle_s):
                piece = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadStalled(idle_s) from None
        if piece:
            yield piece
