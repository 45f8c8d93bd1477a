"""Exceptions of calls, as they come back from the machine that made them."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.errors import RemoteError
from fairgrid.executors.executor import Executor
from fairgrid.executors.results import RemoteTraceback
from tests.executors.simple_calls import divide, scaled


class OwnError(Exception):
    pass


def raise_own() -> None:
    raise OwnError("mine")


def test_an_exception_is_rebuilt_with_the_remote_traceback_as_text(ex: Executor) -> None:
    error = ex.submit(divide, 1, 0).exception(30)
    assert type(error) is ZeroDivisionError
    assert error.args == ("division by zero",)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert 'File "simple_calls.py", line' in str(error.__cause__)
    assert "return a / b" in str(error.__cause__)
    assert "runner.py" not in str(error.__cause__)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (KeyError, ("a",)),
        (FileNotFoundError, (2, "gone")),
        (UnicodeDecodeError, ("utf-8", b"\xff", 0, 1, "bad")),
        (AssertionError, ()),
        (TimeoutError, ("late",)),
    ],
)
def test_exceptions_of_python_itself_keep_class_and_arguments(
    ex: Executor, kind: type[Exception], arguments: tuple[Any, ...]
) -> None:
    def fail() -> None:
        raise kind(*arguments)

    error = ex.submit(fail).exception(30)
    assert type(error) is kind
    assert error.args == arguments


def stop() -> None:
    raise StopIteration(1)


def leave() -> None:
    raise SystemExit(3)


def escape() -> None:
    raise ValueError("\x1b[31mred")


@pytest.mark.parametrize(
    ("function", "kind"),
    [(raise_own, "OwnError"), (stop, "builtins.StopIteration"), (leave, "builtins.SystemExit")],
)
def test_other_exceptions_are_remote_errors(ex: Executor, function: Any, kind: str) -> None:
    error = ex.submit(function).exception(30)
    assert isinstance(error, RemoteError)
    assert error.kind.endswith(kind)
    assert "Traceback" in str(error.__cause__)


def test_what_a_traceback_says_cannot_steer_a_terminal(ex: Executor) -> None:
    error = ex.submit(escape).exception(30)
    assert "\x1b" not in str(error) + str(error.__cause__ if error else "")


def test_a_result_that_cannot_travel_is_an_error_of_that_call_alone(ex: Executor) -> None:
    good, bad = ex.submit(scaled, 1), ex.submit(lambda: object())
    with pytest.raises(TypeError, match="cannot travel"):
        bad.result(30)
    assert good.result(30) == 3
