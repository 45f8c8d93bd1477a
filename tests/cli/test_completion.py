"""What a shell is told: commands, options, networks and wallets; never an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.cli.main import command_line
from fairgrid.seams.config_file import config_file


def completed(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash gets for a line whose last word is not finished."""
    capsys.readouterr()
    monkeypatch.setenv("_FAIRGRID_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit) as ended:
        command_line(args=[], prog_name="fairgrid")
    assert ended.value.code == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ("fairgrid acc", ["account"]),
        ("fairgrid account dep", ["deposit"]),
        ("fairgrid account deposit --dry", ["--dry-run"]),
        ("fairgrid network use ", ["local", "test"]),
        ("fairgrid funds --network te", ["test"]),
        ("fairgrid run --network lo", ["local"]),
    ],
)
def test_a_line_is_completed(
    words: str,
    some: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FAIRGRID_HOME", str(tmp_path))
    config_file().write_text("[networks.test]\n")
    assert set(some) <= set(completed(words, monkeypatch, capsys))


def test_a_damaged_config_file_completes_nothing_and_breaks_no_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAIRGRID_HOME", str(tmp_path))
    config_file().write_text("networks = ")
    assert completed("fairgrid network use ", monkeypatch, capsys) == []
