"""What a deterministic guest has besides files: a logical clock, a seeded random stream, logs with a cap."""

from __future__ import annotations

import hashlib

__all__ = ["CLOCK_START_NS", "CLOCK_STEP_NS", "LogicalClock", "SeededRandom"]

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
