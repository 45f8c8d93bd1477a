"""Results of many futures in their order, as they come."""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TypeVar

from fairgrid.executors.futures import CallFuture

__all__ = ["in_order", "many_objects"]

_T = TypeVar("_T")


@contextlib.contextmanager
def many_objects() -> Iterator[None]:
    """Futures are made by the thousand here and all stay: no garbage is looked for among them, which takes long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def in_order(ahead: deque[CallFuture[_T]], more: Iterator[CallFuture[_T]], end: float | None) -> Iterator[_T]:
    """Results of the futures ``ahead``, and of one of ``more`` for each that was read; ``end`` by the monotonic clock.

    Raises:
        what a call raised; TimeoutError: a result is not there in time.
    """
    try:
        while ahead:
            future = ahead.popleft()
            value = _result(future, end)
            ahead.extend(itertools.islice(more, 1))
            yield value
    finally:
        for future in ahead:
            future.cancel()


def _result(future: Future[_T], end: float | None) -> _T:
    """Its result; a frame of its own, so that an exception holds no other futures alive."""
    try:
        return future.result(None if end is None else end - time.monotonic())
    finally:
        if not future.done():
            future.cancel()
