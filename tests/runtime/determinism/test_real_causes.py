"""Real programs whose results differ, what `fairgrid app check` says is the cause, and the flag that mends each."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fairgrid.cli.app import app
from fairgrid.runtime.process.provider import provider
from fairgrid.runtime.process.runtimes import PROCESS_RUNTIMES
from fairgrid.runtime.wasm.interpreters import InstalledRuntime, default_runtime_id
from tests.needs import need

pytestmark = pytest.mark.timeout(240)

NATIVE = f"process/linux-{platform.machine()}"
DETERMINISTIC = ("--runtime", default_runtime_id())

CLOCK = "out.write(f'{time.time()}')"
RANDOM = "out.write(f'{random.random()}')"
SET_ORDER = """
class Species:
    def __init__(self, number):
        self.number = number

for species in {Species(number) for number in range(3000)}:
    out.write(f"species,{species.number}\\n")
"""
"""A set of objects has the order of their addresses; the hash seed, which orders texts, is fixed."""
THREADS = """
parts = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
out.write(f"{parts} parts")
"""
FLOAT_LIBRARY = """
numbers = [1 / number for number in range(1, 20_001)]
parts = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
out.write(f"harmonic,{sum(sum(numbers[part::parts]) for part in range(parts))!r}\\n")
"""
"""Sums as a library for many threads does: the order of the additions depends on their number."""


def written(folder: Path, body: str) -> Path:
    """A program for the machine's Python and for that of WebAssembly."""
    program = folder / "program.py"
    head = "#!/usr/bin/python3\nimport os, random, time\nout = open(os.environ['IEXEC_OUT'] + '/out.csv', 'w')\n"
    program.write_text(f"{head}{body}\nout.close()\n")
    program.chmod(0o755)
    return program


def checked(program: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a check."""
    ended = CliRunner().invoke(app, ["check", str(program), "--json", *options])
    assert ended.exit_code in (0, 5), ended.output
    document: dict[str, Any] = json.loads(ended.stdout)
    assert document["exitCode"] == 0
    return ended.exit_code, document


@pytest.mark.parametrize(
    ("body", "changed", "cause", "flags"),
    [
        pytest.param(CLOCK, "again", "clock", DETERMINISTIC, id="clock"),
        pytest.param(RANDOM, "again", "random", DETERMINISTIC, id="random"),
        pytest.param(SET_ORDER, "again", "order", ("--canonical", "rows:out.csv"), id="set order"),
        pytest.param(THREADS, "cores", "threads", DETERMINISTIC, id="threads"),
        pytest.param(
            FLOAT_LIBRARY,
            "cores",
            "rounding",
            ("--canonical", "round:out.csv:decimals=6:edge=3"),
            id="float library",
        ),
    ],
)
def test_a_program_that_differs_is_told_why_and_agrees_with_the_flag_that_its_remedy_names(
    tmp_path: Path, installed_runtime: InstalledRuntime, body: str, changed: str, cause: str, flags: tuple[str, ...]
) -> None:
    (info,) = [info for info in PROCESS_RUNTIMES if info.runtime_id == NATIVE]
    probe = asyncio.run(provider(info).probe())
    need(probe.works, f"native programs do not run here: {probe.detail}")
    if changed == "cores":
        need(_cores() > 1, "one core alone cannot show it")
    program = written(tmp_path, body)
    native = () if "--runtime" in flags else ("--runtime", NATIVE)
    code, document = checked(program, "--only", changed, "--runtime", NATIVE)
    assert (code, document["difference"]["file"], document["cause"]["name"]) == (5, "out.csv", cause)
    remedy = document["cause"]["remedy"]
    assert "deterministic" in remedy if flags == DETERMINISTIC else flags[1].partition(":")[0] in remedy
    assert checked(program, "--only", changed, *native, *flags)[0] == 0


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def test_a_rule_that_is_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for command in ("check", "test"):
        ended = CliRunner().invoke(app, [command, str(written(tmp_path, "")), "--canonical", "sorted:out.csv"])
        assert ended.exit_code != 0 and "sorted" in f"{ended.exception}", ended.output
