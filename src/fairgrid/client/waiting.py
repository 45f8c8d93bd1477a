"""The same methods for those without an event loop: each returns when its work is done."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from fairgrid.seams.loop_thread import LoopThread

__all__ = ["Waiting", "waits"]

_Core = TypeVar("_Core")
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Waiting(Generic[_Core]):
    """An object whose methods are coroutines, and the loop that they run on."""

    def __init__(self, core: _Core, loop: LoopThread) -> None:
        self.core = core
        self._loop = loop

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of a coroutine of the client or of its services."""
        return self._loop.wait(work)


def waits(
    method: Callable[Concatenate[_Core, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[Waiting[_Core], _P], _T]:
    """The same method, which returns when its work is done."""

    @functools.wraps(method)
    def call(self: Waiting[_Core], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.wait(method(self.core, *args, **kwargs))

    # What `wraps` copies says that it is a coroutine.
    del call.__wrapped__
    return call
