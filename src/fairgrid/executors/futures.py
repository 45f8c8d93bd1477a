"""The future of a call: the standard library's, but in a forked child it says what is wrong instead of waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final, TypeVar

from fairgrid.errors import UsageError
from fairgrid.protocol.certificate import Certificate

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
        self._certify: Callable[[], Certificate] | None = None

    def settled(self, certify: Callable[[], Certificate]) -> None:
        """The executor knows how to prove what the network agreed on for the task of this call."""
        self._certify = certify

    def certificate(self) -> Certificate:
        """The certificate of the task that this call was computed in, with other calls. Waits for the call's end.

        Write its ``to_bytes()`` into a file; `fairgrid verify` checks it on any machine.

        Raises:
            UsageError: nothing was settled on chain for it: it was cancelled, refunded, or ran on this machine alone.
            VerificationError: node or storage give what does not fit.
            ServiceUnavailable, ServiceRefused: the chain or the storage does not answer, or lacks something.
        """
        self._wait(None)
        if self._certify is None:
            raise UsageError("Nothing was settled on chain for this call, so there is nothing to certify.")
        return self._certify()

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
