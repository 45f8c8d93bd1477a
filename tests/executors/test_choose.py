"""One argument says where a script computes; the package stays quick to import."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys

import pytest

import fairgrid
from fairgrid.errors import UsageError
from fairgrid.executors.remote import remote
from tests.executors.simple_calls import scaled

marked = remote(scaled)


@remote(seconds=0.1)
def doubled(x: int) -> int:
    return 2 * x


@pytest.mark.parametrize("where", ["threads", "processes"])
def test_the_same_script_runs_on_threads_and_processes(where: str) -> None:
    with fairgrid.executor(where, budget="2 RLC", trust=0.99, max_workers=1) as ex:
        assert list(ex.map(scaled, range(3))) == [0, 3, 6]
        assert marked.submit(ex, 4).result() == 12
        assert list(doubled.map(ex, [1, 2])) == [2, 4]


def test_the_environment_chooses_where_the_script_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRGRID_EXECUTOR", "threads")
    with fairgrid.executor() as ex:
        assert isinstance(ex, concurrent.futures.ThreadPoolExecutor)


def test_an_unknown_option_is_refused_on_threads_too() -> None:
    with pytest.raises(UsageError, match="'bugdet'"):
        fairgrid.executor("threads", bugdet="2 RLC")


def test_every_public_name_is_there_and_no_other() -> None:
    assert set(fairgrid.__all__) <= set(dir(fairgrid))
    for name in fairgrid.__all__:
        assert getattr(fairgrid, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = fairgrid.nothing_here


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, fairgrid; print([m for m in ('fairgrid.errors', 'httpx', 'web3', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
