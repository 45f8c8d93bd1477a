"""The future of a call: the standard library's, but in a forked child it says what is wrong instead of waiting."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, wait
from typing import Final, TypeVar

from fairgrid.errors import UsageError

__all__ = ["CallFuture", "check_process"]

_T = TypeVar("_T")
_SLICE_S: Final = 0.5


def check_process(owner: int) -> None:
    """Make sure that this process made the executor.

    Raises:
        UsageError: it is a fork of the one that did.
    """
    if os.getpid() != owner:
        raise UsageError(
            f"This executor belongs to process {owner}, and this is process {os.getpid()}, a fork of it: neither its "
            f"thread nor its connections are here. Make an executor in each process, or keep to the parent."
        )


class CallFuture(Future[_T]):
    """The result of one call."""

    def __init__(self) -> None:
        super().__init__()
        self._owner = os.getpid()

    def result(self, timeout: float | None = None) -> _T:
        """As in the standard library.

        Raises:
            UsageError: in a forked child of the process that made the call, if the result is not there.
        """
        self._wait(timeout)
        return super().result(0 if timeout is not None else None)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As in the standard library.

        Raises:
            UsageError: as `result`.
        """
        self._wait(timeout)
        return super().exception(0 if timeout is not None else None)

    def _wait(self, timeout: float | None) -> None:
        """Wait in slices: a Ctrl-C that reaches another thread is only seen by one that wakes up."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.done():
            check_process(self._owner)
            left = _SLICE_S if end is None else min(_SLICE_S, end - time.monotonic())
            if left <= 0:
                return
            wait((self,), left)
