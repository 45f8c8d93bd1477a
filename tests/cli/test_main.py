"""The console entry point: whatever happens, the exit code and the one JSON object tell it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairgrid.cli import main as entry
from fairgrid.cli.main import main
from fairgrid.cli.output import UNEXPECTED

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
