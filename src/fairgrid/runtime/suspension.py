"""Stops and continues running jobs, and measures their wall-clock limits without the time that they stood still."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

__all__ = ["SuspendableSandbox", "Suspension"]

_Result = TypeVar("_Result")


class Suspension:
    """For the process groups of one sandbox's jobs. Lives in one event loop."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._held: dict[object, tuple[Callable[[], None], Callable[[], None]]] = {}
        self._since: float | None = None
        self._total = 0.0

    @property
    def is_possible(self) -> bool:
        """False where the system cannot stop a process (Windows): `suspend` then changes nothing."""
        return hasattr(signal, "SIGSTOP") and hasattr(os, "killpg")

    @property
    def is_suspended(self) -> bool:
        return self._since is not None

    @property
    def suspended_s(self) -> float:
        """Seconds of all suspensions so far, the present one included."""
        return self._total + (self._monotonic() - self._since if self._since is not None else 0.0)

    def suspend(self) -> bool:
        """Stop every running job, and those that start, until `resume`; False where that is not possible."""
        if not self.is_possible:
            return False
        if self._since is None:
            self._since = self._monotonic()
        for stop, _ in self._held.values():
            stop()
        return True

    def resume(self) -> None:
        """Let every job go on."""
        if self._since is None:
            return
        self._total = self.suspended_s
        self._since = None
        for _, go_on in self._held.values():
            go_on()

    @contextlib.contextmanager
    def running(self, group: int) -> Iterator[None]:
        """Within the block the process group ``group`` is stopped and continued with the others."""
        with self.holding(lambda: _signal(group, signal.SIGSTOP), lambda: _signal(group, signal.SIGCONT)):
            yield

    @contextlib.contextmanager
    def holding(self, stop: Callable[[], None], go_on: Callable[[], None]) -> Iterator[None]:
        """As `running`, for what is stopped and continued in another way; neither of the two may raise or block."""
        key = object()
        self._held[key] = (stop, go_on)
        try:
            if self.is_suspended:
                stop()
            yield
        finally:
            del self._held[key]

    async def wait_for(self, awaitable: Awaitable[_Result], seconds: float) -> _Result:
        """As `asyncio.wait_for`, with a limit that suspended time does not count towards.

        Raises:
            TimeoutError: ``seconds`` of running passed; the awaitable was cancelled.
        """
        task = asyncio.ensure_future(awaitable)
        began, suspended = self._monotonic(), self.suspended_s
        try:
            while True:
                ran = self._monotonic() - began - (self.suspended_s - suspended)
                if ran >= seconds and not self.is_suspended:
                    raise TimeoutError
                done, _ = await asyncio.wait((task,), timeout=1.0 if self.is_suspended else max(seconds - ran, 0.01))
                if done:
                    return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


class SuspendableSandbox:
    """What `fairgrid.runtime.interface.Sandbox` asks of a sandbox that starts nothing ahead of its jobs."""

    def __init__(self, runtime_id: str) -> None:
        self._runtime_id = runtime_id
        self._suspension = Suspension()

    @property
    def runtime_id(self) -> str:
        """Which runtime its jobs must name."""
        return self._runtime_id

    async def close(self) -> None:
        """Nothing is kept ready."""

    def suspend(self) -> bool:
        """Stop all jobs until `resume`: they keep their memory, and notice nothing but the time."""
        return self._suspension.suspend()

    def resume(self) -> None:
        """Let every job go on."""
        self._suspension.resume()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
