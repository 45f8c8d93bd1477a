"""What a deterministic guest has besides files: a logical clock, a seeded random stream, logs with a cap."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import BinaryIO

__all__ = ["CLOCK_START_NS", "CLOCK_STEP_NS", "LogSink", "LogicalClock", "SeededRandom", "cut_marker"]

CLOCK_START_NS = 1_700_000_000 * 1_000_000_000
CLOCK_STEP_NS = 1_000


class LogicalClock:
    """Starts at 1,700,000,000 s after the epoch; each read adds 1 µs, each sleep adds what was slept (decision 45)."""

    def __init__(self) -> None:
        self.now_ns = CLOCK_START_NS

    def read(self) -> int:
        """The time in nanoseconds, after which 1 µs passes."""
        now = self.now_ns
        self.now_ns += CLOCK_STEP_NS
        return now

    def advance_to(self, when_ns: int) -> None:
        """Sleep until ``when_ns``; a time in the past does nothing."""
        self.now_ns = max(self.now_ns, when_ns)


class SeededRandom:
    """The byte stream sha256(seed ‖ u64 0) ‖ sha256(seed ‖ u64 1) ‖ …, numbers big-endian."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._counter = 0
        self._rest = b""

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        parts = [self._rest]
        have = len(self._rest)
        while have < count:
            block = hashlib.sha256(self._seed + self._counter.to_bytes(8, "big")).digest()
            self._counter += 1
            parts.append(block)
            have += len(block)
        joined = b"".join(parts)
        self._rest = joined[count:]
        return joined[:count]


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
