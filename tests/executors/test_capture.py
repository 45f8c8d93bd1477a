"""Functions travel as source with what they use; what cannot travel is told before anything is sent."""

from __future__ import annotations

import asyncio
import collections
import functools
import io
import json
import linecache
import math
import math as mathematics
import os.path
import pathlib
import re
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from fairgrid.errors import CannotTravel, UsageError
from fairgrid.executors.calls import CallWriter
from fairgrid.executors.capture import capture
from fairgrid.executors.executor import Executor
from fairgrid.executors.obstacles import MISSING_MODULES
from fairgrid.executors.remote import RemoteFunction, remote
from tests.executors.stage import Stage

SCALE = 2
TABLE = {"a": [1, 2], "b": [3]}
LOCK = threading.Lock()
counter = 0


class Colour(Enum):
    RED = 1
    BLUE = 2

    def other(self) -> Colour:
        return Colour.BLUE if self is Colour.RED else Colour.RED


class Pair(NamedTuple):
    left: int
    right: int


@dataclass(order=True)
class Node:
    value: int
    children: list[Node] = field(default_factory=list)

    def total(self) -> int:
        return self.value + sum(child.total() for child in self.children)


class Shape:
    sides = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def area(self) -> float:
        raise NotImplementedError


class Square(Shape):
    sides = 4

    def area(self) -> float:
        return float(super().__init__.__name__ == "__init__") * self.size**2


class Ladder:
    def twin(self) -> Ladder:
        return Ladder()


class Own(Exception):
    pass


def fact(n: int) -> int:
    return 1 if n < 2 else n * fact(n - 1)


def is_even(n: int) -> bool:
    return n == 0 or is_odd(n - 1)


def is_odd(n: int) -> bool:
    return n != 0 and is_even(n - 1)


def noisy(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args) + SCALE

    return wrapper


@noisy
def decorated(x: int) -> int:
    return x * 10


@remote
def marked(x: int) -> int:
    return x + SCALE


def uses_marked(x: int) -> int:
    return marked(x) * 2


def with_defaults(x: int, scale: int = SCALE, *, table: dict[str, list[int]] = TABLE) -> int:
    return x * scale + len(table)


def many_things(x: int) -> list[Any]:
    import statistics

    inner = [value * SCALE for value in range(x)]
    return [sqrt(16), mathematics.pi, os.path.join("a", "b"), statistics.mean(inner), sorted(TABLE), json.dumps(x)]


def keeps_text() -> str:
    return """first
  second
third"""


def squares(n: int) -> Iterator[int]:
    yield from (i * i for i in range(n))


def uses_generator(n: int) -> int:
    return sum(squares(n))


def uses_shape(size: int) -> tuple[int, float]:
    made = Square(size)
    return made.sides, made.area()


def catches_own() -> str:
    try:
        raise Own("mine")
    except Own as error:
        return str(error)


def makes_tree(depth: int) -> Node:
    return Node(depth, [makes_tree(depth - 1), makes_tree(depth - 1)] if depth else [])


def paints(colour: Colour, pair: Pair) -> tuple[Colour, Pair]:
    return colour.other(), Pair(pair.right, pair.left)


def adder(n: int) -> Callable[[int], int]:
    def add(x: int) -> int:
        return x + n

    return add


def countdown(n: int) -> Callable[[int], int]:
    def down(x: int) -> int:
        return n if x == 0 else down(x - 1)

    return down


two = [lambda x: x + 1, lambda x: x * 100]
pick = [lambda x: x + 1, lambda y: y * 100]
in_one = functools.partial(pow, 2)


@pytest.fixture(scope="module")
def ex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    with Stage(tmp_path_factory.mktemp("stage")).executor() as made:
        yield made


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (fact, (10,)),
        (is_even, (7,)),
        (decorated, (1,)),
        (marked, (1,)),
        (uses_marked, (1,)),
        (with_defaults, (5,)),
        (many_things, (4,)),
        (keeps_text, ()),
        (uses_generator, (4,)),
        (uses_shape, (3,)),
        (catches_own, ()),
        (makes_tree, (3,)),
        (Node(1, [Node(2)]).total, ()),
        (paints, (Colour.RED, Pair(1, 2))),
        (adder(5), (1,)),
        (countdown(9), (4,)),
        (pick[0], (1,)),
        (pick[1], (1,)),
        (in_one, (10,)),
        (math.sqrt, (4,)),
        (Colour.RED.other, ()),
        (len, ([1],)),
        (re.sub, ("a", "b", "aa")),
        (max, (1, 2)),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_a_call_there_is_the_call_here(ex: Executor, function: Any, arguments: tuple[Any, ...]) -> None:
    assert ex.submit(function, *arguments).result(50) == function(*arguments)


def test_functions_and_classes_are_arguments_and_results(ex: Executor) -> None:
    def apply(function: Any, value: Any) -> Any:
        return function(value)

    assert ex.submit(apply, fact, 5).result(50) == 120
    assert ex.submit(apply, Node, 5).result(50) == Node(5)
    assert ex.submit(apply, functools.partial(with_defaults, scale=3), 5).result(50) == 17
    assert ex.submit(lambda: fact).result(50) is fact


def test_a_constant_that_is_bound_anew_counts_from_the_next_call_on(ex: Executor) -> None:
    names: dict[str, Any] = {"__name__": "moving"}
    file = Path(__file__).with_name("moving.py")
    text = "STEP = 1\ndef move(x):\n    return x + STEP\n"
    import linecache

    linecache.cache[str(file)] = (len(text), None, text.splitlines(keepends=True), str(file))
    exec(compile(text, str(file), "exec"), names)
    move: Any = names["move"]
    first = ex.submit(move, 1)
    names["STEP"] = 10
    assert (first.result(50), ex.submit(move, 1).result(50)) == (2, 11)


def test_a_constant_that_is_changed_in_place_counts_from_the_next_call_on(ex: Executor) -> None:
    box = [1]

    def read() -> int:
        return box[0]

    first = ex.submit(read)
    box[0] = 2
    assert (first.result(50), ex.submit(read).result(50)) == (1, 2)


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
def test_what_cannot_travel_is_told_with_the_remedy(ex: Executor, function: Any, message: str) -> None:
    with pytest.raises(CannotTravel, match=re.compile(message, re.DOTALL)) as caught:
        ex.submit(function, *([1] if function is never_called else []))
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
def test_an_argument_that_cannot_travel_is_told_with_the_remedy(ex: Executor, value: Any, message: str) -> None:
    with pytest.raises(CannotTravel, match=re.compile(message, re.DOTALL)):
        ex.submit(fact, value)


def test_a_coroutine_is_told_to_be_awaited(ex: Executor) -> None:
    coroutine = asynchronous()
    with pytest.raises(CannotTravel, match="Await it first"):
        ex.submit(fact, coroutine)  # type: ignore[arg-type]
    coroutine.close()
    assert asyncio.iscoroutinefunction(asynchronous)


def test_a_function_that_changed_on_disk_is_told(tmp_path: Path) -> None:
    file = tmp_path / "moved.py"
    file.write_text("def f():\n    return 1\n")
    names: dict[str, Any] = {"__name__": "moved", "__file__": str(file)}
    exec(compile(file.read_text(), str(file), "exec"), names)
    file.write_text("\n\ndef g():\n    return 2\n")
    with pytest.raises(CannotTravel, match="not where it was"):
        capture(names["f"])


@dataclass
class Bare:
    x: int


def test_a_dataclass_without_a_method_travels_and_also_from_a_notebook(
    ex: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ex.submit(_same, Bare(3)).result() == Bare(3)
    text = "import dataclasses\n@dataclasses.dataclass\nclass Cell:\n    x: int\n"
    file = "/tmp/ipykernel_1/2.py"
    monkeypatch.setitem(linecache.cache, file, (len(text), None, text.splitlines(keepends=True), file))
    notebook = types.ModuleType("a_notebook")
    monkeypatch.setitem(sys.modules, "a_notebook", notebook)
    exec(compile(text, file, "exec"), notebook.__dict__)
    cell = notebook.Cell(4)
    assert ex.submit(_same, cell).result() == cell


def _same(value: Any) -> Any:
    return value


def test_no_path_of_this_machine_travels() -> None:
    for function in (many_things, makes_tree, decorated, paints):
        assert str(Path(__file__).parent) not in capture(function).bundle.decode()


def test_the_mark_checks_where_the_function_is_defined() -> None:
    with pytest.raises(CannotTravel, match="asynchronous"):
        remote(asynchronous)
    with pytest.raises(CannotTravel, match="sets 'counter'"):
        remote(sets_global)
    with pytest.raises(CannotTravel, match="Put @remote on a"):
        remote(len)
    with pytest.raises(CannotTravel, match="Put @remote on a function"):
        remote(Node)
    with pytest.raises(UsageError, match="Give 0 or more"):
        remote(seconds=-1)


def test_the_mark_does_not_need_what_stands_below() -> None:
    assert isinstance(remote(uses_nothing), RemoteFunction)


def test_a_marked_function_is_still_a_function(ex: Executor) -> None:
    timed = remote(seconds=2.5)(fact)
    assert (timed(5), timed.local(5), timed.local) == (120, 120, fact)
    assert (timed.__name__, timed.__doc__, repr(timed)) == ("fact", None, "<remote fact>")
    assert timed.submit(ex, 5).result(50) == 120
    assert list(timed.map(ex, [1, 2, 3], chunksize=3)) == [1, 2, 6]
    calls = CallWriter(lambda name, content: None)
    assert calls.write(timed, (1,), {}, seconds=timed.__fairgrid_seconds__).seconds == 2.5


def test_equal_calls_differ_by_their_number_and_only_by_it() -> None:
    calls = CallWriter(lambda name, content: None)
    first, second, other = (calls.write(fact, (x,), {}) for x in (1, 1, 2))
    assert first.line.split("\t") == ["0", second.line.split("\t")[1]]
    assert second.line.startswith("1\t")
    assert other.line.startswith("0\t")
    assert len({first.key, second.key, other.key}) == 3


def test_every_module_of_this_python_is_known_or_known_to_be_missing_there() -> None:
    assert {"json", "math", "dataclasses"}.isdisjoint(MISSING_MODULES)
    assert MISSING_MODULES - {"nt", "msilib", "winreg", "winsound", "msvcrt"} <= sys.stdlib_module_names | {
        "nis",
        "spwd",
    }
