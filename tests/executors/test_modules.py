"""Modules of the user's own travel whole; what cannot is told before anything is sent."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fairgrid.errors import CannotTravel, RemoteError
from fairgrid.executors.capture import capture
from fairgrid.executors.executor import Executor
from fairgrid.executors.modules import Imported, is_own, user_modules
from tests.executors.stage import Stage

Write = Callable[..., ModuleType]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules into a folder of scripts, and imports one of them."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)

    def written(main: str, **files: str) -> ModuleType:
        for name, text in files.items():
            path = folder / (name.replace("__slash__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(main)

    yield written
    for name in set(sys.modules) - before:
        del sys.modules[name]


PACKAGE = {
    "shop__slash____init__": "from .prices import BASE\n",
    "shop__slash__prices": "import math\nBASE = 3\ndef price(n):\n    return math.floor(BASE * n)\n",
    "shop__slash__kinds": (
        "import dataclasses, enum\nfrom . import prices\n"
        "class Size(enum.Enum):\n    SMALL = 1\n    LARGE = 2\n"
        "@dataclasses.dataclass\nclass Order:\n    count: int\n    size: Size\n"
        "    def total(self):\n        return prices.price(self.count) * self.size.value\n"
    ),
    "work": (
        "import shop.kinds\nimport shop\n"
        "def totals(order):\n    return order.total(), isinstance(order, shop.kinds.Order), order\n"
        "def local(n):\n    from shop import prices as p\n    return p.price(n)\n"
    ),
}


def test_a_package_beside_the_script_travels_with_what_it_imports(ex: Executor, write: Write) -> None:
    work = write("work", **PACKAGE)
    kinds = sys.modules["shop.kinds"]
    order = kinds.Order(2, kinds.Size.LARGE)
    total, same_class, back = ex.submit(work.totals, order).result()
    assert (total, same_class, back) == (12, True, order)
    assert ex.submit(work.local, 5).result() == 15
    assert ex.submit(kinds.Order.total, order).result() == 12


def test_only_what_is_needed_travels_and_no_path(write: Write, tmp_path: Path) -> None:
    work = write("work", **PACKAGE, unused="1/0")
    bundle = capture(work.local).bundle.decode()
    assert "shop/prices.py" in bundle and "shop/__init__.py" in bundle
    assert "shop/kinds.py" not in bundle and str(tmp_path) not in bundle


def test_an_edit_of_a_module_makes_another_call(write: Write) -> None:
    work = write("work", **PACKAGE)
    before = capture(work.local).name
    assert capture(work.local).name == before
    write("work", shop__slash__prices=PACKAGE["shop__slash__prices"] + "\n# dearer\n")
    assert capture(work.local).name != before


def test_two_states_of_one_module_do_not_mix_in_one_task(stage: Stage, write: Write) -> None:
    with stage.executor() as ex:
        first = write("first", rates="RATE = 1\n", first="def get():\n    import rates\n    return rates.RATE\n")
        one = ex.submit(first.get)
        second = write("second", rates="RATE = 22\n", second="def get():\n    import rates\n    return rates.RATE\n")
        two, three = ex.submit(second.get), ex.submit(first.get)
        assert (one.result(), two.result()) == (1, 22)
        assert three.result() in (1, 22)


def test_a_traceback_shows_the_line_of_the_module(ex: Executor, write: Write) -> None:
    work = write(
        "work",
        deep="def fail(x):\n    return 1 // x  # here\n",
        work="import deep\ndef f(x):\n    return deep.fail(x)\n",
    )
    error = ex.submit(work.f, 0).exception()
    assert isinstance(error, ZeroDivisionError)
    assert 'File "deep.py", line 2, in fail' in str(error.__cause__)
    assert "return 1 // x  # here" in str(error.__cause__)


def test_imports_that_may_fail_and_those_for_types_are_no_obstacle(ex: Executor, write: Write) -> None:
    work = write(
        "work",
        soft=(
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import httpx\n"
            "try:\n    import coincurve\nexcept ImportError:\n    coincurve = None\n"
            "def has():\n    return coincurve is not None\n"
        ),
        work="import soft\ndef f():\n    return soft.has()\n",
    )
    assert "coincurve" not in [one.name for one in user_modules([Imported("soft")], "it", frozenset())]
    # In the plain process of these tests the package is there after all.
    assert ex.submit(work.f).result() in (True, False)


@pytest.mark.parametrize(
    ("imports", "message"),
    [
        ("import httpx", r"the module helper uses the module httpx.*declare it.*\['httpx'\]"),
        ("import coincurve", "coincurve, which is compiled code.*No runtime of the grid carries coincurve"),
        ("import pandas", "pandas, which this executor's runtime does not have.*runtime='science'"),
        ("import multiprocessing", "multiprocessing, which the sandbox does not have"),
        ("import nowhere_to_be_found", "nowhere_to_be_found, which is not found here.*Install it"),
        ("from __main__ import x", "imports the script itself"),
        ("from .. import x", "relative to a package that it is not in"),
    ],
)
def test_what_a_module_imports_is_looked_at_before_anything_is_sent(
    stage: Stage, write: Write, imports: str, message: str
) -> None:
    work = write("work", helper="", work="import helper\ndef f():\n    return helper.x\n")
    write("work", helper=f"{imports}\nx = 1\n")
    with stage.executor() as ex, pytest.raises(CannotTravel, match=message):
        ex.submit(work.f)
    assert stage.backend.signed == []


def test_a_module_that_fails_to_load_is_the_calls_own_error(ex: Executor, write: Write) -> None:
    work = write("work", bad="class Odd(Exception): ...\n", work="def f():\n    import bad\n    return 1\n")
    write("work", bad="class Odd(Exception): ...\nraise Odd('at import')\n")
    error = ex.submit(work.f).exception()
    assert isinstance(error, RemoteError) and error.kind == "bad.Odd"
    assert ex.submit(len, [1]).result() == 1


def test_own_modules_are_told_from_installed_and_standard_ones() -> None:
    assert is_own("tests.executors.stage")
    for foreign in ("json", "httpx", "numpy", "fairgrid", "__main__", "nowhere_to_be_found"):
        assert not is_own(foreign)


def test_arrays_travel_bit_by_bit_where_the_runtime_has_numpy(stage: Stage) -> None:
    numpy: Any = pytest.importorskip("numpy")
    stage.packages = frozenset({"numpy"})
    grid = numpy.asfortranarray(numpy.arange(12, dtype=">f4").reshape(3, 4))
    large = numpy.random.default_rng(1).random(40_000)
    with stage.executor() as ex:
        back = ex.submit(_double, grid, numpy.float32(0.1), large).result()
        draws = [ex.submit(_draw, 1), ex.submit(_draw, 2)]
        assert draws[0].result() != draws[1].result()
    doubled, number, total = back
    assert doubled.tobytes() == (2 * grid).astype("<f4").tobytes() and doubled.flags.writeable
    assert type(number) is numpy.float32 and number == numpy.float32(0.1)
    assert total == float(large.sum())
    blobs = [name for plan in stage.plans() for task in plan["tasks"] for call in task["blobs"] for name in call]
    assert len(blobs) == 1


def test_an_array_for_a_runtime_without_numpy_and_one_of_objects_are_refused(stage: Stage) -> None:
    numpy: Any = pytest.importorskip("numpy")
    with stage.executor() as ex, pytest.raises(CannotTravel, match=r"runtime='science'.*tolist"):
        ex.submit(_same, numpy.zeros(3))
    stage.packages = frozenset({"numpy"})
    with stage.executor() as ex, pytest.raises(CannotTravel, match="Python objects"):
        ex.submit(_same, numpy.array([object()]))
    with stage.executor() as ex, pytest.raises(CannotTravel, match="special kind of array"):
        ex.submit(_same, numpy.memmap(stage.folder / "map", shape=(3,), mode="w+"))
    with stage.executor() as ex, pytest.raises(CannotTravel, match="plain array"):
        ex.submit(_same, numpy.ma.zeros(3))


def _same(value: Any) -> Any:
    return value


def _double(grid: Any, number: Any, large: Any) -> Any:
    import numpy

    if grid.dtype.byteorder != ">" or not grid.flags.f_contiguous:
        raise ValueError("it is another array")
    return (2 * grid).astype("<f4"), number, float(numpy.sum(large))


def _draw(x: int) -> float:
    import numpy

    return float(numpy.random.rand())
