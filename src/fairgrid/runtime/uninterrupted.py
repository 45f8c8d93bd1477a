"""Waiting for what must be done to its end, also while the one that waits is being cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["settled", "to_the_end"]

_Result = TypeVar("_Result")


async def to_the_end(awaitable: Awaitable[_Result]) -> _Result:
    """Wait for it whatever happens; a cancellation meanwhile goes on afterwards."""
    result, cancelled = await settled(awaitable)
    if cancelled:
        raise asyncio.CancelledError
    return result


async def settled(awaitable: Awaitable[_Result]) -> tuple[_Result, bool]:
    """The same, for who has something to put away before a cancellation goes on: whether there was one."""
    task, cancelled = asyncio.ensure_future(awaitable), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                break
            cancelled = True
        except BaseException:
            break
    return task.result(), cancelled
