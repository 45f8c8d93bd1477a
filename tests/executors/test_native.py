"""Calls in the Python of the machine itself, behind the walls of native programs: the one kind with network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import fairgrid
from fairgrid.errors import UsageError
from fairgrid.executors.runtimes import NATIVE_RUNTIME, check_reach
from tests.internet import PUBLIC_NAME, internet
from tests.needs import need


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRGRID_DIR", str(tmp_path))


def fetch(path: str) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://public.example.org/{path}", timeout=30) as answer:
        return str(answer.read().decode())


def machine_and_parts(text: str) -> tuple[str, list[str]]:
    import os

    return os.uname().nodename, text.split()


@pytest.mark.timeout(120)
def test_calls_reach_the_host_that_the_executor_names_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    need(sys.platform == "linux" and os.uname().machine == "x86_64", "native programs are for Linux on x86-64 here")
    need(Path("/usr/bin/python3").exists(), "/usr/bin/python3 is what native calls run in (apt install python3)")
    with internet(monkeypatch) as world:
        with fairgrid.Executor("here", runtime="native", reach=[PUBLIC_NAME]) as executor:
            assert list(executor.map(fetch, ["one", "two"])) == ["greetings from afar\n"] * 2
            name, parts = executor.submit(machine_and_parts, "a b").result()
            assert parts == ["a", "b"] and name != os.uname().nodename
        with fairgrid.Executor("here", runtime="native", reach=["other.example.org"]) as executor:
            error = executor.submit(fetch, "three").exception()
            assert error is not None and "403" in str(error)
    assert sorted(path for path, _ in world.asked) == ["/one", "/two"]


@pytest.mark.parametrize("runtime", ["python", "science"])
def test_an_executor_in_webassembly_is_refused_the_network_before_anything_else(runtime: str) -> None:
    with pytest.raises(UsageError, match=r"no network on any machine.*Nothing was signed.*runtime='native'"):
        fairgrid.Executor("here", runtime=runtime, reach=["a.org"])


def test_what_is_no_host_is_refused_and_hosts_count_once() -> None:
    with pytest.raises(UsageError, match="no place that a job could connect to"):
        fairgrid.Executor("here", runtime="native", reach=["http://a.org"])
    assert check_reach(NATIVE_RUNTIME, ["a.org", "a.org", "b.org:22"]) == ("a.org", "b.org:22")
    assert check_reach(NATIVE_RUNTIME, []) == ()


def test_a_remote_function_that_reaches_a_host_is_taken_only_by_an_executor_that_does() -> None:
    @fairgrid.remote(reach=["a.org"])
    def needy() -> None:
        pass

    with fairgrid.Executor("here", runtime="native", reach=["b.org"]) as executor:
        with pytest.raises(UsageError, match=r"'needy' reaches a.org.*reach=\['a.org'\]"):
            executor.submit(needy)
        with pytest.raises(UsageError, match=r"'needy' reaches a\.org"):
            executor.map(needy)
    with pytest.raises(UsageError, match="no place that a job could connect to"):
        fairgrid.remote(reach=["a b"])
