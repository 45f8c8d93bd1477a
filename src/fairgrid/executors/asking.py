"""Questions to a backend from other threads than its own, while its thread works and afterwards."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from fairgrid.executors.backend import Backend

__all__ = ["ask"]

_T = TypeVar("_T")
_Question = Callable[[], Coroutine[Any, Any, _T]]
_SLICE_S: Final = 0.5


class _Ended(Exception):
    """The thread ended before it could answer."""


def ask(
    question: _Question[_T],
    *,
    backend: Backend,
    thread: threading.Thread,
    loop: asyncio.AbstractEventLoop | None,
) -> _T:
    """The answer, from the loop that ``thread`` runs; if that has ended, from a new connection of the backend.

    Raises:
        RuntimeError: this is that thread, such as in a callback of a future.
        and what the question raises.
    """
    if threading.current_thread() is thread:
        raise RuntimeError("This would wait for itself: ask it in another thread than that of the callback.")
    with contextlib.suppress(_Ended):
        return _ask_there(question, thread, loop)
    answer: Future[_T] = Future()
    anew = threading.Thread(target=_settle, args=(answer, lambda: asyncio.run(_ask_anew(question, backend))))
    anew.start()
    return answer.result()


def _ask_there(question: _Question[_T], thread: threading.Thread, loop: asyncio.AbstractEventLoop | None) -> _T:
    if loop is None or not thread.is_alive():
        raise _Ended
    asked = question()
    try:
        pending = asyncio.run_coroutine_threadsafe(asked, loop)
    except RuntimeError:
        asked.close()
        raise _Ended from None
    while True:
        try:
            return pending.result(_SLICE_S)
        except concurrent.futures.CancelledError:
            raise _Ended from None
        except TimeoutError:
            if pending.done():
                raise
            if not thread.is_alive():
                asked.close()
                raise _Ended from None


async def _ask_anew(question: _Question[_T], backend: Backend) -> _T:
    await backend.open()
    try:
        return await question()
    finally:
        await backend.close()


def _settle(answer: Future[_T], ask_it: Callable[[], _T]) -> None:
    try:
        answer.set_result(ask_it())
    except BaseException as error:
        answer.set_exception(error)
