"""Open a file in a thread without losing it to a cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["open_in_thread"]

_Opened = TypeVar("_Opened")


async def open_in_thread(make: Callable[[], _Opened], close: Callable[[_Opened], object]) -> _Opened:
    """What ``make`` gives, made in a thread. A caller that is cancelled meanwhile never sees it: then the thread closes
    it, also when nobody looks after it any more.

    Raises:
        what ``make`` raises.
    """
    lock = threading.Lock()
    made: list[_Opened] = []
    unwanted = False

    def work() -> _Opened:
        opened = make()
        with lock:
            if unwanted:
                close(opened)
            else:
                made.append(opened)
        return opened

    try:
        return await asyncio.to_thread(work)
    except asyncio.CancelledError:
        with lock:
            unwanted = True
            for opened in made:
                close(opened)
        raise
