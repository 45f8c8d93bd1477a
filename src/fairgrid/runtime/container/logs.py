"""What a job prints: read to its end, so that it never waits for us, and kept to its limit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from fairgrid.runtime.wasm.wasi_state import cut_marker

__all__ = ["KeptLog"]

_READ_BYTES: Final = 65_536


class KeptLog:
    """The first ``limit`` bytes of a stream, which also grow in the file ``live``."""

    def __init__(self, limit: int, live: Path | None) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._is_cut = False
        self._live = live

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read it to its end."""
        if self._live is None:
            while data := await stream.read(_READ_BYTES):
                self._keep(data)
            return
        with self._live.open("ab", buffering=0) as file:
            while data := await stream.read(_READ_BYTES):
                file.write(self._keep(data))

    def content(self) -> bytes:
        """What was kept, with the marker line if something was cut."""
        return bytes(self._kept) + (cut_marker(self._limit) if self._is_cut else b"")

    def _keep(self, data: bytes) -> bytes:
        room = self._limit - len(self._kept)
        self._is_cut = self._is_cut or len(data) > room
        self._kept += data[:room]
        return data[:room]
