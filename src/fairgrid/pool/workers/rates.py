"""A limit on how often somebody may do something."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bucket"]


@dataclass(slots=True)
class Bucket:
    """A rate limit: ``burst`` times at once, ``per_s`` times a second in the long run."""

    tokens: float
    burst: float
    per_s: float
    at: float = 0.0

    @classmethod
    def full(cls, burst: float, per_s: float, *, at: float) -> Bucket:
        return cls(burst, burst, per_s, at)

    def take(self, now: float) -> bool:
        """Count one time at local time ``now`` (seconds); False if it is one too many."""
        self.tokens = min(self.burst, self.tokens + max(now - self.at, 0.0) * self.per_s)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
