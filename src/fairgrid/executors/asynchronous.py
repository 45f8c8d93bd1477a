"""`AsyncExecutor`: the same for programs with an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from itertools import islice
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from fairgrid.executors.cancelling import Cancelled
from fairgrid.executors.environment import Environment
from fairgrid.executors.executor import Executor
from fairgrid.executors.progress import RunProgress
from fairgrid.executors.quoting import SweepQuote
from fairgrid.executors.receipt import Receipt
from fairgrid.protocol.certificate import Certificate

__all__ = ["AsyncExecutor"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class AsyncExecutor:
    """An asynchronous context manager. Takes what `Executor` takes; connects on entering."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._make: Callable[[], Executor] = lambda: Executor(*args, **options)
        self._executor: Executor | None = None

    @classmethod
    def resume(cls, run_id: str, *args: Any, **options: Any) -> AsyncExecutor:
        """As `Executor.resume`, on entering."""
        made = cls()
        made._make = lambda: Executor.resume(run_id, *args, **options)
        return made

    async def __aenter__(self) -> AsyncExecutor:
        self._executor = await asyncio.to_thread(self._make)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all calls; if the task is cancelled, leave at once: `Executor.resume` fetches the results."""
        executor = self._entered
        if kind is not None and issubclass(kind, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
            await asyncio.to_thread(executor.__exit__, KeyboardInterrupt, None, None)
        else:
            await asyncio.to_thread(executor.shutdown)

    @property
    def run_id(self) -> str:
        """The name of this run."""
        return self._entered.run_id

    @property
    def environment(self) -> Environment:
        """As `Executor.environment`."""
        return self._entered.environment

    @property
    def recovered(self) -> list[asyncio.Future[Any]]:
        """The calls of the processes before."""
        return [asyncio.wrap_future(future) for future in self._entered.recovered]

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> asyncio.Future[_T]:
        """Call a function on the network; await the result.

        Raises:
            as `Executor.submit`.
        """
        return asyncio.wrap_future(self._entered.submit(fn, *args, **kwargs))

    async def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> AsyncIterator[_T]:
        """Results in the order of the items. Nothing is sent before the first result is asked for.

        Raises:
            as `Executor.map`.
        """
        end = None if timeout is None else asyncio.get_running_loop().time() + timeout
        more = self._entered.futures(fn, *iterables, chunksize=chunksize, buffersize=buffersize)
        ahead: deque[Future[_T]] = deque(islice(more, buffersize))
        try:
            while ahead:
                async with asyncio.timeout_at(end):
                    value = await asyncio.wrap_future(ahead[0])
                ahead.popleft()
                ahead.extend(islice(more, 1))
                yield value
        finally:
            for future in ahead:
                future.cancel()

    async def quote(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], chunksize: int | None = None
    ) -> SweepQuote:
        """As `Executor.quote`."""
        return await asyncio.to_thread(self._entered.quote, fn, *iterables, chunksize=chunksize)

    async def certificates(self) -> tuple[Certificate, ...]:
        """As `Executor.certificates`."""
        return await asyncio.to_thread(self._entered.certificates)

    def progress(self) -> RunProgress:
        """How far the run is now."""
        return self._entered.progress()

    def receipt(self) -> Receipt:
        """What this run has cost so far."""
        return self._entered.receipt()

    async def cancel(self) -> Cancelled:
        """As `Executor.cancel`."""
        return await asyncio.to_thread(self._entered.cancel)

    async def shutdown(self, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and wait for those that are there."""
        await asyncio.to_thread(self._entered.shutdown, cancel_futures=cancel_futures)

    @property
    def _entered(self) -> Executor:
        if self._executor is None:
            raise RuntimeError("use it as `async with AsyncExecutor(...) as executor:`")
        return self._executor
