"""Tells listeners how far a run is, when something changed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fairgrid.executors.progress import OnRunProgress, RunProgress

__all__ = ["Watch"]

_LOOK_S: Final = 0.25


class Watch:
    """Looks at a run by ``look``, four times a second."""

    def __init__(self, look: Callable[[], RunProgress]) -> None:
        self._look = look
        self.listeners: list[OnRunProgress] = []

    async def run(self) -> None:
        """Tell of every change, until it is cancelled; while calls are open, also that time goes by."""
        told: RunProgress | None = None
        while self.listeners:
            now = self._look()
            if told is None or now.done < now.calls or _timeless(now) != _timeless(told):
                self.tell(now)
                told = now
            await asyncio.sleep(_LOOK_S)

    def tell(self, progress: RunProgress) -> None:
        """Tell everybody. One that raises is not told again: who shows progress must not end a run that is paid for."""
        for listener in list(self.listeners):
            try:
                listener(progress)
            except Exception as error:
                self.listeners.remove(listener)
                sys.stderr.write(f"fairgrid: progress is told no more: {type(error).__name__}: {error}\n")


def _timeless(progress: RunProgress) -> RunProgress:
    return replace(progress, elapsed_s=0.0, eta_s=None)
