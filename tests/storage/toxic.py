"""A proxy on a real port that harms what passes: cuts connections, drips, or changes bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["Toxic", "toxic_proxy"]

_PIECE = 16 * 1024


@dataclass
class Toxic:
    """What the proxy does to answers; may be changed while it runs."""

    cut_after: int | None = None
    """Hang up after so many bytes of an answer."""
    cut_upload_after: int | None = None
    """Hang up after so many bytes of a request."""
    swap: dict[bytes, bytes] = field(default_factory=dict)
    """Replace these bytes by others of the same length in every answer."""
    pause_s: float = 0.0
    """Wait so long before every piece of 16 KiB."""
    url: str = ""
    connections: int = 0
    requests: list[str] = field(default_factory=list)
    content_asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody asks for content."""


@asynccontextmanager
async def toxic_proxy(upstream: str, toxic: Toxic | None = None) -> AsyncIterator[Toxic]:
    """A proxy before the service at ``upstream``; `Toxic.url` is its own address."""
    toxic = toxic or Toxic()
    target = urlsplit(upstream)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool) -> None:
        passed = 0
        while data := await reader.read(_PIECE):
            if not answer and data[:4] in (b"GET ", b"HEAD", b"PATC", b"POST"):
                toxic.requests.append(data.split(b"\r\n", 1)[0].decode())
                if b" /ipfs/" in data:
                    toxic.content_asked.set()
            limit = toxic.cut_after if answer else toxic.cut_upload_after
            if answer and toxic.pause_s:
                await asyncio.sleep(toxic.pause_s)
            for found, put in toxic.swap.items() if answer else ():
                data = data.replace(found, put)
            if limit is not None and passed + len(data) > limit:
                writer.write(data[: max(limit - passed, 0)])
                await writer.drain()
                raise ConnectionResetError("toxic")
            writer.write(data)
            await writer.drain()
            passed += len(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        toxic.connections += 1
        with contextlib.suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection(target.hostname, target.port)
            ways = [
                asyncio.create_task(pass_on(reader, up_writer, answer=False)),
                asyncio.create_task(pass_on(up_reader, writer, answer=True)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                for end in (up_writer, writer):
                    end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        toxic.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield toxic
