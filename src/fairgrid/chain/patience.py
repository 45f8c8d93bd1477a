"""Waiting for the chain: a service that comes back starts together with its node, in whatever order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from fairgrid.errors import ServiceUnavailable

__all__ = ["when_up"]

_Answer = TypeVar("_Answer")
_log = structlog.get_logger(__name__)
_LONGEST_PAUSE_S = 5.0


async def when_up(
    ask: Callable[[], Awaitable[_Answer]], *, served_before: bool, first_pause_s: float = 0.25
) -> _Answer:
    """What ``ask`` gives; for a service that ``served_before`` it is asked again until somebody answers.

    One that starts for the first time does not wait: its network file may be wrong, and nobody depends on it yet.

    Raises:
        ServiceUnavailable: nobody answers, at a first start.
        FairgridError: whatever else ``ask`` raises.
    """
    pause_s = first_pause_s
    while True:
        try:
            return await ask()
        except ServiceUnavailable as error:
            if not served_before:
                raise
            if pause_s == first_pause_s:
                _log.warning("waits until it answers", reason=str(error))
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
