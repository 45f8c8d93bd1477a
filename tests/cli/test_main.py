"""The console entry point: whatever happens, the exit code and the one JSON object tell it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from fairgrid.__main__ import start
from fairgrid.cli import main as entry
from fairgrid.cli.main import main
from fairgrid.cli.output import INTERRUPTED, UNEXPECTED

UNREADABLE = "x" * 300
"""No system has so long a name, so looking at it is an error, and not only an absence."""


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    said = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, said.out, said.err


def document(text: str) -> dict[str, Any]:
    """The one JSON object on stdout."""
    answer = json.loads(text)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", UNREADABLE],
        ["run", "job.py", "--input", UNREADABLE],
        ["run", "job.py", "--dir", UNREADABLE],
        ["result", "last", "--dir", UNREADABLE],
        ["status", "--dir", UNREADABLE],
        ["down", "--dir", UNREADABLE],
        ["up", "--dir", UNREADABLE],
    ],
    ids=lambda arguments: " ".join(word for word in arguments if word != UNREADABLE),
)
def test_path_that_cannot_be_looked_at_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.py").write_text("print(1)")
    code, out, err = ended([*arguments, "--json"], capsys)
    assert code == 2
    assert document(out)["exitCode"] == 2
    assert UNREADABLE in document(out)["message"]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--trust", "1"], "below 1"),
        (["--trust", "high"], "not a number"),
        (["--memory", "lots"], "not a size"),
    ],
)
def test_what_can_be_known_to_be_wrong_is_refused_before_anything_is_asked(
    options: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.py").write_text("print(1)")
    code, out, _ = ended(["run", "job.py", *options, "--dir", "no-network", "--json"], capsys)
    assert code == 2
    assert says in document(out)["message"]


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command raises ``error``."""

    def command_line(**options: Any) -> None:
        raise error

    monkeypatch.setattr(entry, "command_line", command_line)


def test_failure_that_nobody_foresaw_is_no_verified_job_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(OSError(28, "No space left on device"), monkeypatch)
    code, out, err = ended(["run", "job.py", "--json"], capsys)
    assert code == UNEXPECTED
    assert (document(out)["status"], document(out)["exitCode"]) == ("error", UNEXPECTED)
    assert "No space left" in document(out)["message"]
    assert "Traceback" in err
    code, out, err = ended(["run", "job.py"], capsys)
    assert (code, out) == (UNEXPECTED, "")
    assert "No space left" in err and "fairgrid result" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "job.py", "--bogus"], "--bogus"),
        (["run", "job.py", "--workers-at-least", "0"], "workers-at-least"),
        (["run"], "script"),
        (["nothing"], "nothing"),
        (["worker", "nothing"], "nothing"),
    ],
)
def test_wrong_command_line_is_told_as_json_too(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ended([*arguments, "--json"], capsys)
    assert code == 2
    answer = document(out)
    assert (answer["status"], answer["error"], answer["exitCode"]) == ("error", "UsageError", 2)
    assert says in answer["message"]
    code, out, err = ended(arguments, capsys)
    assert (code, out) == (2, "")
    assert says in err


def test_exit_code_that_a_command_chose_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAIRGRID_CACHE", str(tmp_path))
    assert ended(["runtime", "list", "--json"], capsys)[0] == 0
    for chosen in (0, 1, 4):
        monkeypatch.setattr(entry, "command_line", lambda code=chosen, **options: code)
        assert ended(["run", "--json"], capsys) == (chosen, "", "")


@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_while_a_command_is_loaded_ends_it_as_interrupted(
    as_json: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fairgrid.cli.main.importlib.import_module", load)
    code, out, err = ended(["status", *(["--json"] if as_json else [])], capsys)
    assert code == INTERRUPTED
    assert "Traceback" not in err
    if as_json:
        assert (document(out)["status"], document(out)["exitCode"]) == ("interrupted", INTERRUPTED)


class Unloaded:
    """A module whose loading is interrupted."""

    def __getattr__(self, name: str) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_before_anything_is_loaded_ends_as_interrupted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fairgrid.cli.main", cast(ModuleType, Unloaded()))
    for words in (["fairgrid", "status", "--json"], ["fairgrid", "status"]):
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            start()
        assert caught.value.code == INTERRUPTED
        said = capsys.readouterr()
        assert said.err == ""
        assert (document(said.out)["status"] == "interrupted") if "--json" in words else said.out == ""
