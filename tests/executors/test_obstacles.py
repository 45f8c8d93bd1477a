"""What cannot travel is told, with the remedy, before anything is sent."""

from __future__ import annotations

import asyncio
import collections
import io
import pathlib
import re
import sys
import threading
from typing import Any

import httpx
import pytest

from fairgrid.errors import CannotTravel
from fairgrid.executors.executor import Executor
from fairgrid.executors.obstacles import MISSING_MODULES
from tests.executors.stuck_functions import (
    Inner,
    asynchronous,
    imports_missing,
    imports_package,
    never_called,
    reads_file,
    sets_global,
    sets_nonlocal,
    uses_local_class,
    uses_lock,
    uses_nothing,
    uses_package,
)
from tests.executors.travellers import (
    Square,
    fact,
    squares,
)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (sets_global, "sets 'counter' outside of itself.*Return the value"),
        (sets_nonlocal(), "sets 'seen' outside of itself.*Return the value"),
        (asynchronous, "asynchronous.*ordinary function"),
        (squares, "is a generator.*Return a list"),
        (uses_lock, "uses_lock: the global 'LOCK' is a _thread.lock.*Leave it out"),
        (never_called, "the global 'LOCK' is a _thread.lock"),
        (uses_package, r"httpx.*not of the standard library.*declare it.*\['httpx'\]"),
        (imports_package, "numpy.*runtime does not have.*runtime='science'"),
        (imports_missing, "multiprocessing, which the sandbox does not have"),
        (uses_nothing, "'nowhere', which is defined nowhere.*Define or import it"),
        (reads_file, "reads __file__.*Pass the file's content"),
        (uses_local_class, "was made inside of a function.*top of a module"),
        (eval("lambda x: x"), "does not know its source.*Write it in a file"),
        (Inner, "was made inside of a function"),
        (httpx.get, "uses the module httpx.*declare it"),
        (42, "cannot be called.*Give a function"),
        (Square(1).area, "is a .*Square.*dataclass"),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_what_cannot_travel_is_told_with_the_remedy(lasting: Executor, function: Any, message: str) -> None:
    with pytest.raises(CannotTravel, match=re.compile(message, re.DOTALL)) as caught:
        lasting.submit(function, *([1] if function is never_called else []))
    assert "Nothing was sent" in str(caught.value)
    assert caught.value.remedy in str(caught.value)


class Listy(list[int]):
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (io.StringIO("a"), "open file.*Read it before"),
        (threading.Lock(), "Leave it out"),
        (threading.Event(), "Leave it out"),
        ((x for x in [1]), "Make a list of it"),
        (iter([1]), "Make a list of it"),
        (pathlib.Path("a"), r"read_bytes\(\)"),
        (memoryview(b"a"), "Pass bytes"),
        (ValueError("a"), r"Pass str\(...\)"),
        (collections.defaultdict(int), r"list\(...\) or dict\(...\)"),
        (Listy(), r"subclass of list.*Pass list\(...\)"),
        (object(), "only plain values travel.*dataclass"),
        (Square(1), "only plain values travel.*dataclass"),
        (httpx, "not of the standard library"),
        (httpx.get, "uses the module httpx.*declare it"),
        (httpx.URL("http://a"), "httpx.*only plain values travel"),
        ([{"a": threading.Lock()}], r"argument 1\[0\]\['a'\] is a _thread.lock"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_argument_that_cannot_travel_is_told_with_the_remedy(lasting: Executor, value: Any, message: str) -> None:
    with pytest.raises(CannotTravel, match=re.compile(message, re.DOTALL)):
        lasting.submit(fact, value)


def test_a_coroutine_is_told_to_be_awaited(lasting: Executor) -> None:
    coroutine = asynchronous()
    with pytest.raises(CannotTravel, match="Await it first"):
        lasting.submit(fact, coroutine)  # type: ignore[arg-type]
    coroutine.close()
    assert asyncio.iscoroutinefunction(asynchronous)


def test_every_module_of_this_python_is_known_or_known_to_be_missing_there() -> None:
    assert {"json", "math", "dataclasses"}.isdisjoint(MISSING_MODULES)
    assert MISSING_MODULES - {"nt", "msilib", "winreg", "winsound", "msvcrt"} <= sys.stdlib_module_names | {
        "nis",
        "spwd",
    }
