"""What workers agreed on is read as values and exceptions, or refused: it may have been written by anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import JobError, RemoteError
from fairgrid.executors.calls import Call
from fairgrid.executors.results import TaskResults, limit_reached
from fairgrid.protocol.results import exit_error, limit_error

CALL = Call(0, "0\t{}", "bundle")


def ending(folder: Path, document: Any) -> tuple[Any, BaseException | None]:
    line = document if isinstance(document, bytes) else json.dumps(document).encode()
    return TaskResults(folder).ending(line, CALL)


def raised(kind: str, arguments: Any, *, message: str = "m", traceback: str = "t") -> dict[str, Any]:
    return {"error": {"class": kind, "arguments": arguments, "message": message, "traceback": traceback}}


def test_a_value_and_an_exception_are_read(tmp_path: Path) -> None:
    assert ending(tmp_path, {"value": {"t": [1, "a"]}}) == ((1, "a"), None)
    value, error = ending(tmp_path, raised("builtins.KeyError", {"t": ["a"]}))
    assert (value, type(error), error and error.args) == (None, KeyError, ("a",))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        {"value": {"I": ["os", "system"]}},
        {"value": {"M": "os"}},
        {"value": {"P": [{"I": ["os", "system"]}, {"t": []}, []]}},
        {"value": {"A": ["", "join"]}},
        {"value": {"J": "blob-" + "0" * 64}},
        {"value": {"R": 0}},
        {"value": {"B": "../../etc/passwd"}},
        {"value": {"B": "blob-" + "0" * 64}},
        {"value": {"C": [[], []]}},
        {"error": {}},
        {"error": 1},
    ],
    ids=lambda document: str(document)[:40],
)
def test_what_is_no_result_is_an_error_of_that_call(tmp_path: Path, document: Any) -> None:
    value, error = ending(tmp_path, document)
    assert value is None
    assert isinstance(error, RemoteError)
    assert "cannot be read" in str(error)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("builtins.SystemExit", {"t": [1]}),
        ("builtins.StopIteration", {"t": []}),
        ("builtins.eval", {"t": ["1"]}),
        ("builtins.ExceptionGroup", {"t": ["a", []]}),
        ("os.system", {"t": ["ls"]}),
        ("builtins.UnicodeDecodeError", {"t": ["too few"]}),
        ("builtins.KeyError", {"t": [{"I": ["os", "system"]}]}),
        ("builtins.KeyError", ["no tuple"]),
        ("builtins.KeyError", None),
    ],
)
def test_only_exceptions_of_the_list_with_plain_arguments_are_rebuilt(
    tmp_path: Path, kind: str, arguments: Any
) -> None:
    _, error = ending(tmp_path, raised(kind, arguments))
    assert isinstance(error, RemoteError)
    assert (error.kind, error.message) == (kind, "m")


def test_nothing_that_was_written_there_steers_a_terminal_here(tmp_path: Path) -> None:
    for kind in ("builtins.ValueError", "\x1b[2J"):
        _, error = ending(tmp_path, raised(kind, {"t": ["\x1b[2J"]}, message="\x1b[2J", traceback="\x1b[2J"))
        assert error is not None
        assert "\x1b" not in f"{error} {error.__cause__}"


@pytest.mark.parametrize("content", [b"", b"1\n", b"1\n2\n3\n", b"1\n2"])
def test_a_task_whose_lines_are_not_its_calls_fails_as_a_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.jsonl").write_bytes(content)
    with pytest.raises(JobError, match="one of them changed"):
        TaskResults(tmp_path).read(2)
    (tmp_path / "results.jsonl").unlink()
    with pytest.raises(JobError):
        TaskResults(tmp_path).read(2)


@pytest.mark.parametrize(
    ("document", "kind"), [(limit_error("fuel", 10), "fairgrid.fuel"), (exit_error(3, b"", b"no"), "fairgrid.exit")]
)
def test_an_agreed_error_of_the_whole_task_names_its_kind(document: dict[str, Any], kind: str) -> None:
    error = limit_reached(document)
    assert error.kind == kind
    assert error.message
