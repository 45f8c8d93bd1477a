from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairgrid.localnet.bytecode import bytecode_environment, compile_once


def test_children_write_bytecode_to_the_cache_where_it_is_forbidden_beside_the_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAIRGRID_CACHE", str(tmp_path))
    child = bytecode_environment({"PYTHONDONTWRITEBYTECODE": "1", "A": "b"})
    assert child == {"A": "b", "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode")}
    (tmp_path / "module_of_mine.py").write_text("")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import module_of_mine"]
    subprocess.run(command, env={**os.environ, **child, "PYTHONDONTWRITEBYTECODE": ""}, check=True)
    assert list((tmp_path / "bytecode").rglob("module_of_mine.*.pyc"))
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize("environment", [{}, {"PYTHONDONTWRITEBYTECODE": ""}, {"PYTHONPYCACHEPREFIX": "/somewhere"}])
def test_an_environment_that_allows_bytecode_is_left_as_it_is(environment: dict[str, str]) -> None:
    expected = {name: value for name, value in environment.items() if value}
    assert bytecode_environment(environment) == expected


def test_what_is_compiled_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRGRID_CACHE", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    compile_once()
    found = list((tmp_path / "bytecode").rglob("*.pyc"))
    assert len(found) > 300
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    compile_once()
