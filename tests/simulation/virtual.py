"""An event loop whose time is not the machine's: it jumps to the next timer, so that an hour takes a moment.

Everything happens in one thread and in one order: calls that would go to a thread run in the loop, one after another.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Deadlock", "VirtualLoop", "run_virtually"]

_Result = TypeVar("_Result")


class Deadlock(Exception):
    """Nobody is ready and nobody sleeps: the program waits for ever."""


class _Jump:
    """A selector that watches nothing: waiting for ``timeout`` seconds makes them pass."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise Deadlock
        if timeout > 0:
            self._loop.elapsed += timeout
        return []

    def close(self) -> None:
        """Nothing is open."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Give its `elapsed` (seconds since it began) a look; set nothing.

    ``blocking`` decides what happens to a call that would block a thread: it gets the call and gives a future.
    """

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self.blocking: Callable[[Callable[[], Any]], asyncio.Future[Any]] = self._at_once
        self._selector = _Jump(self)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.elapsed

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

    def _process_events(self, event_list: list[object]) -> None:
        """There are none: nothing is watched."""

    def _write_to_self(self) -> None:
        """There is no other thread that could wake the loop."""


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
