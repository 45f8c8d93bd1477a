"""How long an executor waits for what, and how it asks again those who are away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from fairgrid.errors import ServiceUnavailable

__all__ = ["Timing", "patiently"]

_T = TypeVar("_T")
_RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is waited for what (seconds)."""

    window: float = 0.05
    """Calls are gathered until none came for so long,"""
    longest_window: float = 2.0
    """but no longer than this."""
    patience: float = 600.0
    """How long chain, pool, market or storage may be away."""


async def patiently(question: Callable[[], Awaitable[_T]], *, patience: float) -> _T:
    """The answer to a question that is asked again while nobody is there, for ``patience`` seconds.

    Raises:
        ServiceUnavailable: nobody came.
        and what the question raises.
    """
    waited = 0.0
    while True:
        try:
            return await question()
        except ServiceUnavailable:
            if waited >= patience:
                raise
        await asyncio.sleep(_RETRY_S)
        waited += _RETRY_S
