"""The same calls in the interpreter that workers use."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import fairgrid
from fairgrid.client.job import Job
from fairgrid.client.prepared_job import run_locally
from fairgrid.errors import HostFailure, RemoteError
from fairgrid.executors.executor import Executor
from fairgrid.executors.here import HereBackend
from fairgrid.executors.obstacles import MISSING_MODULES
from fairgrid.executors.places import Place
from fairgrid.executors.runtimes import SCIENCE_RUNTIME, packages_of
from fairgrid.runtime.wasm.interpreters import default_runtime_id, find_runtime
from tests.executors.stage import QUICK
from tests.executors.travellers import Colour, Node, Pair, fact, makes_tree, paints
from tests.needs import need

NAN = struct.unpack(">d", bytes.fromhex("7ff8000000000123"))[0]


@pytest.fixture
def ex(tmp_path: Path) -> Iterator[Executor]:
    place = Place(HereBackend(tmp_path / "deals"), tmp_path / "runs")
    with Executor(place, timing=QUICK, packing=fairgrid.Packing(width=1)) as made:
        yield made


def same(value: Any) -> Any:
    return value


def draw() -> float:
    return random.random()


def fill_memory() -> int:
    return len(bytearray(1_500_000_000))


def large(n: int) -> bytes:
    return bytes(n)


def tangent(x: float) -> float:
    return math.tan(x)


def deep(text: str) -> Any:
    from toolz import frequencies  # type: ignore[import-untyped]

    return frequencies(text)


def test_a_declared_package_is_imported_from_its_wheel_in_the_sandbox(tmp_path: Path) -> None:
    place = Place(HereBackend(tmp_path / "deals"), tmp_path / "runs")
    with Executor(place, timing=QUICK, environment=["toolz"]) as ex:
        assert ex.submit(deep, "abca").result() == {"a": 2, "b": 1, "c": 1}


def fitted(xs: Any, ys: Any) -> Any:
    import numpy

    return numpy.polyfit(xs, ys, 1), numpy.random.rand()


@pytest.mark.timeout(240, func_only=True)
def test_arrays_travel_through_the_sandbox_of_scientific_python(tmp_path: Path) -> None:
    numpy: Any = pytest.importorskip("numpy")
    try:
        sandbox = find_runtime(SCIENCE_RUNTIME).sandbox()
    except HostFailure as error:
        need(None, str(error))
        raise
    backend = HereBackend(tmp_path / "deals", sandbox=sandbox, runtime_id=SCIENCE_RUNTIME)
    place = Place(backend, tmp_path / "runs", packages_of(SCIENCE_RUNTIME))
    xs = numpy.arange(10_000.0)
    with Executor(place, timing=QUICK, packing=fairgrid.Packing(width=1)) as ex:
        first, second = (ex.submit(fitted, xs, factor * xs + 1) for factor in (3.0, 4.0))
        (slope, intercept), drawn = first.result()
        assert (round(slope, 9), round(intercept, 6)) == (3, 1)
        assert second.result()[1] != drawn


def test_calls_values_and_errors_travel_through_the_sandbox(ex: Executor) -> None:
    values = [1 << 200, 0.1, "é\ud800", b"\0", (1, [2]), {3, 1}, Decimal("1.10"), Fraction(1, 3), {(1,): None}]
    back = ex.submit(same, values)
    nan = ex.submit(same, NAN)
    tree = ex.submit(makes_tree, 3)
    painted = ex.submit(paints, Colour.RED, Pair(1, 2))
    numbers = [ex.submit(draw) for _ in range(3)]
    failed = ex.submit(fact, "a")  # type: ignore[arg-type]
    wide = ex.submit(large, 200_000)
    assert back.result(50) == values
    assert struct.pack(">d", nan.result(50)).hex() == "7ff8000000000123"
    assert tree.result(50) == makes_tree(3)
    assert isinstance(tree.result(), Node)
    assert painted.result(50) == (Colour.BLUE, Pair(2, 1))
    assert len({future.result(50) for future in numbers}) == 3
    assert isinstance(failed.exception(50), TypeError)
    assert 'File "travellers.py"' in str(failed.exception().__cause__)  # type: ignore[union-attr]
    assert wide.result(50) == bytes(200_000)


def test_a_call_that_fills_the_memory_leaves_its_neighbours_alone(ex: Executor) -> None:
    futures: list[Any] = [ex.submit(same, x) for x in range(3)]
    futures.insert(1, ex.submit(fill_memory))
    error = futures.pop(1).exception(55)
    assert isinstance(error, RemoteError)
    assert "memory" in str(error)
    assert [future.result(55) for future in futures] == [0, 1, 2]


async def test_the_modules_that_are_said_to_be_missing_are_and_no_others(tmp_path: Path) -> None:
    script = tmp_path / "modules.py"
    script.write_text(
        "import importlib, sys\n"
        "skip = ('antigravity', 'this', 'idlelib', 'turtledemo', 'lib2to3', 'test')\n"
        "for name in sys.stdlib_module_names:\n"
        "    if name[0] != '_' and name not in skip:\n"
        "        try:\n"
        "            importlib.import_module(name)\n"
        "        except ImportError:\n"
        "            print(name)\n"
    )
    job = Job.from_files(script, [], [], runtime_id=default_runtime_id())
    sandbox = find_runtime(default_runtime_id()).sandbox()
    result = await run_locally(job, timeref=300, index=0, workdir=tmp_path / "work", sandbox=sandbox)
    # The interpreter there names some modules that newer ones have dropped.
    missing = set((result.result_folder / "stdout.txt").read_text().split()) - {"uu", "xdrlib"}
    assert missing == MISSING_MODULES
