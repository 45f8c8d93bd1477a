"""Logs of a job: the first bytes are kept, the rest is forgotten, and whoever looks on sees them grow (decision 40)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO

__all__ = ["LogSink", "cut_marker"]


def cut_marker(limit: int) -> bytes:
    """The line that stands where a log of more than ``limit`` bytes was cut."""
    return f"\n[fairgrid: cut here, only the first {limit} bytes are kept]\n".encode()


class LogSink:
    """Keeps the first ``limit`` bytes of a stream and forgets the rest.

    What is kept also goes to the file ``mirror`` as it comes, for whoever looks on; trouble with it changes nothing.
    """

    def __init__(self, limit: int, mirror: Path | None = None) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._cut = False
        self._mirror: BinaryIO | None = None
        if mirror is not None:
            with contextlib.suppress(OSError):
                self._mirror = mirror.open("wb", buffering=0)

    def add(self, data: bytes | memoryview) -> None:
        """Append to the log."""
        room = self._limit - len(self._kept)
        self._kept += data[:room]
        self._cut = self._cut or len(data) > room
        if self._mirror is not None and room > 0:
            try:
                self._mirror.write(data[:room])
            except OSError:
                self.close()

    def contents(self) -> bytes:
        """What was kept, with the marker line if something was cut."""
        return bytes(self._kept) + (cut_marker(self._limit) if self._cut else b"")

    def saved(self) -> bytes:
        """What `add` must be given to make a new sink like this one."""
        return bytes(self._kept) + (b"\0" if self._cut else b"")

    def close(self) -> None:
        """Release the mirror."""
        if self._mirror is not None:
            self._mirror.close()
            self._mirror = None
