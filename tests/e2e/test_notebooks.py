"""The notebooks of `examples/notebooks` run as they are, on the local network, and show progress, cost and results."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.wasm.interpreters import find_runtime
from tests.e2e.network import Network
from tests.needs import need

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = REPOSITORY / "examples" / "notebooks"
SCIENCE = "wasmtime-49/sci315/deterministic"
SAID = {
    "map_reduce": ["4 tasks cost 0.404 RLC", "4 of 4 results verified", "1990-2001.csv 626 weeks", "-0.404000000 RLC"],
    "parameter_sweep": [
        "6 in 6 tasks of 1 deals",
        "best: degree 3 with 4 harmonics, 0.688 ppmv",
        "0.606 RLC spent",
        "owners agreed on 0x",
    ],
    "monte_carlo": [
        "1.3484 ppmv a year",
        "400 slopes",
        "20 calls in 8 tasks of 1 deals; 0.808 RLC spent",
        "total,,8,20",
    ],
}
NEEDS_SCIENCE = {"map_reduce", "parameter_sweep"}


def outputs(book: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything that the cells gave."""
    return [output for cell in book["cells"] for output in cell.get("outputs", [])]


def texts(book: dict[str, Any]) -> str:
    """What a reader reads of it."""
    pieces = [output.get("text") or output.get("data", {}).get("text/plain") or [] for output in outputs(book)]
    return "\n".join("".join(piece) for piece in pieces)


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == SAID.keys()


@pytest.mark.parametrize("name", SAID)
def test_notebook_is_kept_without_what_it_printed(name: str) -> None:
    assert outputs(json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())) == []


@pytest.mark.parametrize("name", SAID)
def test_notebook_runs_and_shows_progress_cost_and_verified_results(
    network: Network, tmp_path: Path, name: str
) -> None:
    if name in NEEDS_SCIENCE:
        try:
            find_runtime(SCIENCE)
        except HostFailure as error:
            need(None, str(error))
    for folder in ("notebooks", "co2_trend"):
        shutil.copytree(REPOSITORY / "examples" / folder, tmp_path / folder)
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.run_notebook", tmp_path / "notebooks" / f"{name}.ipynb", tmp_path / "ran"],
        cwd=REPOSITORY,
        env=network.environment | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    book = json.loads((tmp_path / "ran").read_text())
    said = texts(book)
    assert [line for line in SAID[name] if line not in said] == [], said
    shown = {kind for output in outputs(book) for kind in output.get("data", {})}
    assert "image/png" in shown
    if name != "map_reduce":
        assert "text/html" in shown, "an executor shows its run as a card"
