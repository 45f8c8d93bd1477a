"""joblib on an executor: what `joblib.Parallel` is given goes out as calls of its own, many to a task."""

from __future__ import annotations

import concurrent.futures
import importlib
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Final

from fairgrid.errors import UsageError

__all__ = ["joblib_backend"]

_AT_ONCE: Final = 5_000
"""joblib hands out twice as many calls before it has a result: enough to fill tasks, not all of an endless input."""


def joblib_backend(executor: concurrent.futures.Executor) -> AbstractContextManager[Any]:
    """Inside of this block `joblib.Parallel` computes on ``executor``.

    The functions that are given to `joblib.delayed` travel as with `Executor.submit`; each call is one, whatever
    ``batch_size`` and ``n_jobs`` say. Functions of other packages, such as those behind scikit-learn's ``n_jobs``,
    travel only where the executor's runtime has these packages and their arguments are values.

    Raises:
        UsageError: joblib is not installed.
    """
    try:
        parallel = importlib.import_module("joblib.parallel")
    except ModuleNotFoundError as error:
        raise UsageError("joblib is not installed here: pip install joblib.") from error
    kind: Any = type("FairgridBackend", (_Methods, parallel.ParallelBackendBase), {})
    backend = kind()
    backend.executor, backend.batches = executor, weakref.WeakSet()
    context: AbstractContextManager[Any] = parallel.parallel_config(backend=backend, n_jobs=-1)
    return context


class _Methods:
    """What joblib asks of a backend."""

    supports_retrieve_callback = True
    executor: concurrent.futures.Executor
    batches: weakref.WeakSet[_Batch]

    def effective_n_jobs(self, n_jobs: int) -> int:
        """How many calls are computed at once, for joblib."""
        return _AT_ONCE

    def submit(self, func: Any, callback: Callable[[Future[list[Any]]], Any] | None = None) -> Future[list[Any]]:
        """The calls of a batch, each of its own; the future has the list of their results."""
        futures = [self.executor.submit(call, *args, **kwargs) for call, args, kwargs in func.items]
        whole = _Batch(futures)
        self.batches.add(whole)
        if callback is not None:
            whole.add_done_callback(callback)
        whole.watch()
        return whole

    def retrieve_result_callback(self, out: Future[list[Any]]) -> list[Any]:
        """The results of a batch that is done."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """A call failed: drop those that are not signed yet."""
        for batch in list(self.batches):
            batch.drop()


class _Batch(Future[list[Any]]):
    """The results of several calls together, or the first exception among them."""

    def __init__(self, parts: list[Future[Any]]) -> None:
        super().__init__()
        self._parts = parts
        self._missing = len(parts)
        self._counting = threading.Lock()

    def watch(self) -> None:
        """Begin to wait for the parts."""
        for part in self._parts:
            part.add_done_callback(self._one_done)

    def drop(self) -> None:
        """Cancel what can be cancelled."""
        for part in self._parts:
            part.cancel()

    def _one_done(self, part: Future[Any]) -> None:
        with self._counting:
            self._missing -= 1
            if self._missing:
                return
        try:
            results = [one.result() for one in self._parts]
        except BaseException as error:
            self.set_exception(error)
        else:
            self.set_result(results)
