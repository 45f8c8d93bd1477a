"""Tests and the processes that they start keep what they compile: without that CI takes a third longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_a_process_that_a_test_starts_writes_bytecode(tmp_path: Path) -> None:
    (tmp_path / "module_of_mine.py").write_text("")
    subprocess.run([sys.executable, "-c", "import module_of_mine"], cwd=tmp_path, check=True, timeout=60)
    assert list(tmp_path.rglob("module_of_mine.*.pyc"))


def test_make_lets_python_write_bytecode() -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    makefile = f'include {REPOSITORY / "Makefile"}\nshow:\n\t@echo "[$$PYTHONDONTWRITEBYTECODE]"\n'
    command = ["make", "-s", "-f", "-", "show"]
    shown = subprocess.run(
        command, input=makefile, env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    assert shown.stdout == "[]\n"
