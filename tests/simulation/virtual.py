"""An event loop whose time is not the machine's: it jumps to the next timer, so that an hour takes a moment.

Everything happens in one thread and in one order: calls that would go to a thread run in the loop, one after another.
Nothing comes from outside, so the queues of what is ready and of timers are all there is to an iteration.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Deadlock", "VirtualLoop", "run_virtually"]

_Result = TypeVar("_Result")
_TOGETHER_S = 1e-9
"""Timers that are so close to each other are due together."""
_MANY_TIMERS = 100


class Deadlock(Exception):
    """Nobody is ready and nobody sleeps: the program waits for ever."""


class _Due(float):
    """When a timer is due; the heap compares numbers, which costs less than to ask handles."""

    __slots__ = ("handle",)
    handle: asyncio.TimerHandle


class VirtualLoop(asyncio.BaseEventLoop):
    """Give its `elapsed` (seconds since it began) a look; set nothing.

    ``blocking`` decides what happens to a call that would block a thread: it gets the call and gives a future.
    """

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self.blocking: Callable[[Callable[[], Any]], asyncio.Future[Any]] = self._at_once
        self._handles: deque[asyncio.Handle] = deque()
        self._timers: list[_Due] = []
        self._cancelled_timers = 0
        self._ends = False

    def time(self) -> float:
        return self.elapsed

    def get_debug(self) -> bool:
        return False

    def stop(self) -> None:
        super().stop()
        self._ends = True

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._handles.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]
    """There is no other thread."""

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        due = _Due(when)
        due.handle = handle
        heapq.heappush(self._timers, due)
        handle._scheduled = True  # type: ignore[attr-defined]
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.elapsed + delay, callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        return self.blocking(functools.partial(func, *args))

    def _at_once(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)
        return future

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle._scheduled:  # type: ignore[attr-defined]
            self._cancelled_timers += 1

    def _run_once(self) -> None:
        """Everything that is ready now; if nothing is, time jumps to the next timer."""
        timers, handles = self._timers, self._handles
        if len(timers) > _MANY_TIMERS and self._cancelled_timers / len(timers) > 0.5:
            timers = self._timers = [due for due in timers if not due.handle.cancelled()]
            heapq.heapify(timers)
            self._cancelled_timers = 0
        while timers and timers[0].handle.cancelled():
            heapq.heappop(timers)
            self._cancelled_timers -= 1
        if not handles and not self._ends:
            if not timers:
                raise Deadlock
            if timers[0] > self.elapsed:
                self.elapsed += timers[0] - self.elapsed
        end = self.elapsed + _TOGETHER_S
        while timers and timers[0] < end:
            handle = heapq.heappop(timers).handle
            handle._scheduled = False  # type: ignore[attr-defined]
            handles.append(handle)
        while handles:  # Also what becomes ready meanwhile: no timer is due before time goes on.
            ready = handles.popleft()
            if not ready._cancelled:
                ready._run()
                if self._ends:
                    break
        self._ends = False


def run_virtually(
    main: Callable[[VirtualLoop], Coroutine[Any, Any, _Result]],
    *,
    make_task: Callable[..., asyncio.Task[Any]] | None = None,
) -> _Result:
    """Run ``main`` in a loop of its own until it returns; what still runs then is thrown away."""
    loop = VirtualLoop()
    if make_task is not None:
        loop.set_task_factory(make_task)
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        for _ in range(20):
            left = [task for task in asyncio.all_tasks(loop) if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            loop.run_until_complete(_settle())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
