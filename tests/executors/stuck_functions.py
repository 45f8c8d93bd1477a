"""Functions that cannot travel, each for another reason."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import httpx

LOCK = threading.Lock()
counter = 0


def sets_global() -> None:
    global counter
    counter += 1


def sets_nonlocal() -> Callable[[], None]:
    seen = 0

    def inner() -> None:
        nonlocal seen
        seen += 1

    return inner


async def asynchronous() -> None:
    pass


def uses_lock() -> bool:
    return LOCK.locked()


def uses_package() -> Any:
    return httpx.get("http://example")


def imports_package() -> Any:
    import numpy

    return numpy


def uses_threads_of_the_machine() -> Any:
    return subprocess.run(["ls"], check=False), socket.gethostname()


def imports_missing() -> Any:
    import multiprocessing

    return multiprocessing


def uses_nothing() -> Any:
    return nowhere  # type: ignore[name-defined] # noqa: F821


def reads_file() -> str:
    return __file__


def local_class() -> type:
    class Inner:
        pass

    return Inner


def never_called(x: int) -> Any:
    return uses_lock()


Inner = local_class()


def uses_local_class() -> Any:
    return Inner()
