"""The owner's limit on transfers: a token bucket that many transfers may ask at once, first come, first served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairgrid.seams.clock import Clock

__all__ = ["TokenBucket"]


class TokenBucket:
    """Lets ``rate()`` bytes a second through, one second's worth at once after a pause; None lets everything through.

    The rate is asked at every `take`, so a changed policy counts from the next block on. Lives in one event loop.
    """

    def __init__(self, rate: Callable[[], int | None], *, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens: float | None = None
        self._at = 0.0
        self._turn = asyncio.Lock()

    async def take(self, byte_count: int) -> None:
        """Wait until ``byte_count`` bytes may pass. Blocks larger than a second's worth are waited for afterwards too.

        A block passes as soon as the bucket is not in debt, and its bytes become debt: so any size of block goes
        through, and the long-run rate holds.
        """
        async with self._turn:
            while (rate := self._rate()) is not None:
                now = self._clock.now()
                if self._tokens is None:
                    self._tokens, self._at = float(rate), now
                # A clock that was set back must not stop transfers until it catches up.
                elapsed = max(now - self._at, 0.0)
                self._tokens, self._at = min(float(rate), self._tokens + elapsed * rate), now
                if self._tokens > 0:
                    self._tokens -= byte_count
                    return
                await self._clock.sleep(min(-self._tokens / max(rate, 1), 1.0) + 0.001)
            self._tokens = None
