"""`fairgrid consumer init`: the contract is written, compiles, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fairgrid.cli.consumer import app
from tests.contracts.consumer_projects import LANGUAGES, compiled


def made(folder: Path, language: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["init", str(folder / "price-median"), "--language", language, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("language", LANGUAGES)
def test_project_has_contract_job_test_and_page(tmp_path: Path, language: str) -> None:
    document = made(tmp_path, language)
    suffix = {"vyper": "vy", "solidity": "sol"}[language]
    assert {f"consumer.{suffix}", "job.py", "test_consumer.py", "build.py", "README.md"} <= set(document["files"])
    contract = (tmp_path / "price-median" / f"consumer.{suffix}").read_text()
    assert "price-median: a contract that orders a computation" in contract and "{{" not in contract
    assert language in document["needs"].lower() or "solc" in document["needs"]


def test_both_languages_make_the_same_interface() -> None:
    def interface(language: str) -> set[tuple[str, str, tuple[str, ...]]]:
        return {
            (entry["type"], entry.get("name", ""), tuple(parameter["type"] for parameter in entry["inputs"]))
            for entry in compiled(language)["abi"]
        }

    assert interface("vyper") == interface("solidity")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["oracle", "--language", "huff"], "There is no template in 'huff'"),
        (["My Oracle"], "cannot be the project's name"),
        (["taken"], "is there already. Nothing was written"),
    ],
)
def test_project_that_cannot_be_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "consumer.vy").write_text("mine")
    result = CliRunner().invoke(app, ["init", *arguments])
    assert result.exit_code != 0 and said in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken" / "consumer.vy").read_text() == "mine"
