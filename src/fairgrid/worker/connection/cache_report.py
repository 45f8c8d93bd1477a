"""Tells the pool which large inputs lie here already, so that a task that reads them can come here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from fairgrid.protocol.cid import tail_of
from fairgrid.protocol.worker_messages import CacheReport, WorkerMessage

__all__ = ["MIN_REPORTED_BYTES", "CacheReporter"]

MIN_REPORTED_BYTES: Final = 1 << 20
"""Smaller files are fetched sooner than they are matched."""


class CacheReporter:
    """Reports what changed since the last report on this connection; nothing while the owner does not want it.

    Only the ends of CIDs are told, and only of inputs of tasks: who does not know a file learns nothing of it.
    """

    def __init__(
        self,
        cached: Callable[[], Sequence[str]],
        *,
        tell: Callable[[WorkerMessage], bool],
        allowed: Callable[[], bool],
    ) -> None:
        """``cached`` gives CIDs, and may block; ``tell`` gives False while no pool is connected."""
        self._cached = cached
        self._tell = tell
        self._allowed = allowed
        self._told: tuple[str, ...] = ()

    def connected(self) -> None:
        """The pool knows nothing yet."""
        self._told = ()

    async def report(self) -> None:
        """Tell what lies here now, if that is news."""
        found = await asyncio.to_thread(self._cached) if self._allowed() else ()
        tails = tuple(sorted({tail_of(cid) for cid in found}))
        if tails != self._told and self._tell(CacheReport(tails=tails)):
            self._told = tails
