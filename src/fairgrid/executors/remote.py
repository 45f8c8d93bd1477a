"""`@remote`: a function that says where it is defined whether it can travel, and runs here or there."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor as AnyExecutor
from concurrent.futures import Future
from typing import Any, Generic, ParamSpec, TypeVar, overload

from fairgrid.errors import CannotTravel, UsageError
from fairgrid.executors.capture import check_function
from fairgrid.executors.runtimes import NATIVE_RUNTIME, check_reach

__all__ = ["RemoteFunction", "remote"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class RemoteFunction(Generic[_P, _T]):
    """A function of the grid: ``f(x)`` and ``f.local(x)`` run here, ``f.submit(executor, x)`` runs there."""

    __name__: str

    def __init__(self, function: Callable[_P, _T], seconds: float, reach: tuple[str, ...] = ()) -> None:
        self.__fairgrid_local__ = function
        self.__fairgrid_seconds__ = seconds
        self.__fairgrid_reach__ = reach
        functools.update_wrapper(self, function)

    @property
    def local(self) -> Callable[_P, _T]:
        """The function itself."""
        return self.__fairgrid_local__

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.__fairgrid_local__(*args, **kwargs)

    def submit(self, executor: AnyExecutor, /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call it on an executor: a grid, or threads or processes of this machine."""
        return executor.submit(self, *args, **kwargs)

    def map(self, executor: AnyExecutor, /, *iterables: Iterable[Any], **options: Any) -> Iterator[_T]:
        """Call it on an executor for each item; options are those of the executor's ``map``."""
        return executor.map(self, *iterables, **options)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # Processes of this machine find it by its name, or else the function that it was made of.
        function = self.__fairgrid_local__
        found: Any = sys.modules.get(function.__module__)
        for part in function.__qualname__.split("."):
            found = getattr(found, part, None)
        if found is self:
            return function.__qualname__
        return RemoteFunction, (function, self.__fairgrid_seconds__, self.__fairgrid_reach__)

    def __repr__(self) -> str:
        return f"<remote {self.__fairgrid_local__.__qualname__}>"


@overload
def remote(function: Callable[_P, _T], /) -> RemoteFunction[_P, _T]: ...


@overload
def remote(
    *, seconds: float = 0.0, reach: Sequence[str] = ()
) -> Callable[[Callable[_P, _T]], RemoteFunction[_P, _T]]: ...


def remote(function: Callable[..., Any] | None = None, /, *, seconds: float = 0.0, reach: Sequence[str] = ()) -> Any:
    """Mark a function for the grid, and check now that it can go there.

    ``seconds`` is about how long one call computes there: calls are packed into tasks by it. ``reach`` names the hosts
    that it connects to: only an executor takes it that reaches them (`Executor`).

    Raises:
        CannotTravel: the function can never travel; what it uses is checked when it is first called.
        UsageError: ``seconds`` is no time, or ``reach`` names no host.
    """
    if seconds < 0:
        raise UsageError(f"A call cannot take {seconds} seconds. Give 0 or more.")
    hosts = check_reach(NATIVE_RUNTIME, reach)
    if function is None:
        return functools.partial(_marked, seconds=seconds, reach=hosts)
    return _marked(function, seconds=seconds, reach=hosts)


def _marked(function: Any, *, seconds: float, reach: tuple[str, ...]) -> RemoteFunction[Any, Any]:
    if isinstance(function, staticmethod | classmethod | property) or inspect.isclass(function):
        raise CannotTravel(
            f"The {type(function).__name__} {getattr(function, '__name__', '')}".rstrip(),
            "is no function",
            "Put @remote on a function.",
        )
    if not isinstance(function, types.FunctionType):
        raise CannotTravel(f"{function!r:.60}", "is no function written in Python", "Put @remote on a `def`.")
    check_function(function)
    return RemoteFunction(function, seconds, reach)
