"""`fairgrid simulate`: one object for machines, a table and a picture for people, and clear refusals."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from fairgrid.cli.main import main

QUICK = ["simulate", "--workers", "40", "--tasks", "400", "--adversaries", "5", "--mode", "independent"]


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*QUICK, *arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_json_has_one_row_for_each_cell_and_way_and_says_whether_targets_are_met(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = call(capsys, "--json", "--behaviour", "always")
    document = json.loads(out)
    assert code == 0
    assert [(cell["pool"], cell["way"]) for cell in document["cells"]] == [
        (pool, way) for pool in ("established", "fresh") for way in ("audits", "adaptive", "2 agree", "3 agree")
    ]
    assert [cell["targetMet"] for cell in document["cells"] if cell["way"] == "audits"] == [True, True]
    assert {cell["target"] for cell in document["cells"] if cell["way"] != "audits"} == {None}


def test_people_get_a_table_and_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "trust.png"
    code, out, err = call(capsys, "--pool", "fresh", "--plot", str(picture))
    assert (code, out) == (0, "")
    assert "audits" in err and "2.20 met" in err
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_papers_figures_hold(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--published", "--json")
    figures = json.loads(out)["figures"]
    assert code == 0
    assert len(figures) > 30
    assert [figure for figure in figures if not figure["holds"]] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pool", "old"], "established, fresh or both"),
        (["--adversaries", "many"], "percentages"),
        (["--adversaries", "100"], "Not everybody"),
        (["--trust", "0"], "from 1"),
        (["--trust", "x"], "whole numbers"),
        (["--audit-share", "2"], "audit_share"),
        (["--workers", "2"], "too small"),
        (["--plot", "/nowhere/at/all.png"], "cannot be written"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_give(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "--behaviour", "always", "--pool", "fresh", *arguments)
    assert code == 2
    assert said in err and not out


def test_without_the_extra_the_exact_command_that_installs_it_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    code, out, err = call(capsys, "--plot", str(tmp_path / "x.png"))
    assert code == 2 and not out
    assert "pip install 'fairgrid[plots]'" in err
