"""`fairgrid runtime`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairgrid.cli.runtime import app
from fairgrid.runtime.wasm.interpreters import InstalledRuntime, default_runtime_id


def test_install_reports_the_files_as_json(installed_runtime: InstalledRuntime) -> None:
    result = CliRunner().invoke(app, ["install", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "status": "ok",
        "runtime": default_runtime_id(),
        "wasm": str(installed_runtime.wasm),
        "compiled": str(installed_runtime.compiled),
        "sha256": "0x" + installed_runtime.spec.wasm_sha256,
        "cid": installed_runtime.spec.wasm_cid,
    }


def test_list_tells_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRGRID_CACHE", str(tmp_path))
    result = CliRunner().invoke(app, ["list", "--json"])
    first = json.loads(result.stdout)["runtimes"][0]
    assert (first["runtime"], first["installed"]) == (default_runtime_id(), False)
    facts = (first["level"], first["appType"], first["suffixes"], first["deterministic"])
    assert facts == ("wasm", "WASM", [".py"], True)
    table = CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"})
    assert table.exit_code == 0 and default_runtime_id() in table.output and "a Python script (.py)" in table.output


def test_unknown_runtime_is_refused() -> None:
    result = CliRunner().invoke(app, ["install", "--runtime", "none"])
    assert result.exit_code != 0 and "no runtime 'none'" in str(result.exception)
