"""Functions travel as source with what they use."""

from __future__ import annotations

import functools
import linecache
import math
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import CannotTravel
from fairgrid.executors.capture import capture
from fairgrid.executors.executor import Executor
from tests.executors.travellers import (
    Colour,
    Node,
    Pair,
    adder,
    catches_own,
    countdown,
    decorated,
    fact,
    in_one,
    is_even,
    keeps_text,
    makes_tree,
    many_things,
    marked,
    paints,
    pick,
    uses_generator,
    uses_marked,
    uses_shape,
    with_defaults,
)


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
def test_a_call_there_is_the_call_here(lasting: Executor, function: Any, arguments: tuple[Any, ...]) -> None:
    assert lasting.submit(function, *arguments).result(50) == function(*arguments)


def test_functions_and_classes_are_arguments_and_results(lasting: Executor) -> None:
    def apply(function: Any, value: Any) -> Any:
        return function(value)

    assert lasting.submit(apply, fact, 5).result(50) == 120
    assert lasting.submit(apply, Node, 5).result(50) == Node(5)
    assert lasting.submit(apply, functools.partial(with_defaults, scale=3), 5).result(50) == 17
    assert lasting.submit(lambda: fact).result(50) is fact


def test_a_constant_that_is_bound_anew_counts_from_the_next_call_on(lasting: Executor) -> None:
    names: dict[str, Any] = {"__name__": "moving"}
    file = Path(__file__).with_name("moving.py")
    text = "STEP = 1\ndef move(x):\n    return x + STEP\n"
    import linecache

    linecache.cache[str(file)] = (len(text), None, text.splitlines(keepends=True), str(file))
    exec(compile(text, str(file), "exec"), names)
    move: Any = names["move"]
    first = lasting.submit(move, 1)
    names["STEP"] = 10
    assert (first.result(50), lasting.submit(move, 1).result(50)) == (2, 11)


def test_a_constant_that_is_changed_in_place_counts_from_the_next_call_on(lasting: Executor) -> None:
    box = [1]

    def read() -> int:
        return box[0]

    first = lasting.submit(read)
    box[0] = 2
    assert (first.result(50), lasting.submit(read).result(50)) == (1, 2)


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
    lasting: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lasting.submit(_same, Bare(3)).result() == Bare(3)
    text = "import dataclasses\n@dataclasses.dataclass\nclass Cell:\n    x: int\n"
    file = "/tmp/ipykernel_1/2.py"
    monkeypatch.setitem(linecache.cache, file, (len(text), None, text.splitlines(keepends=True), file))
    notebook = types.ModuleType("a_notebook")
    monkeypatch.setitem(sys.modules, "a_notebook", notebook)
    exec(compile(text, file, "exec"), notebook.__dict__)
    cell = notebook.Cell(4)
    assert lasting.submit(_same, cell).result() == cell


def _same(value: Any) -> Any:
    return value


def test_no_path_of_this_machine_travels() -> None:
    for function in (many_things, makes_tree, decorated, paints):
        assert str(Path(__file__).parent) not in capture(function).bundle.decode()
