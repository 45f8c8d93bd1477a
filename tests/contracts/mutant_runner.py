"""Runs mutants: a copy of the sources each, the contract compiled, the named test run, and it must fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["REPOSITORY", "Mutant", "Verdict", "copy_sources", "run_all", "run_mutant", "run_test"]

REPOSITORY = Path(__file__).resolve().parents[2]
COPIED = ("src/fairgrid", "contracts", "scripts", "tests/protocol", "tests/contracts", "tests/__init__.py")
TIME_LIMIT_S = 300
TESTS_FAILED = 1
"""What pytest exits with when a test failed, and only then."""


@dataclass(frozen=True)
class Mutant:
    """One mistake: in ``file``, the only ``text`` becomes ``replacement``; the test ``killer`` must then fail."""

    name: str
    file: str
    text: str
    replacement: str
    killer: str
    contracts: tuple[str, ...] = ()
    """Deployables that contain the file, compiled anew."""


@dataclass(frozen=True)
class Verdict:
    """How a mutant ended; ``log`` is the last thing that compiler or test said."""

    name: str
    killed: bool
    seconds: float
    log: str


def copy_sources(folder: Path) -> Path:
    """A copy of all that the killing tests need."""
    for part in COPIED:
        source, target = REPOSITORY / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    # nothing of the repository's configuration, and no plugin but the fixtures of the model's tests: starts in a second
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(folder / "src"), str(folder))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / ".hypothesis"),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        timeout=TIME_LIMIT_S,
        capture_output=True,
        text=True,
        check=False,
    )


def run_test(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run named tests against the sources in ``folder``."""
    plugins = ("-p", "tests.protocol.conftest", "-p", "no:cacheprovider")
    return _run(folder, "-m", "pytest", "-q", "-x", "--noconftest", "-c", "pytest.ini", *plugins, *tests)


def run_mutant(mutant: Mutant) -> Verdict:
    """Make the mistake in a copy and see whether its killer notices."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = copy_sources(Path(name))
        file = folder / mutant.file
        source = file.read_text()
        if source.count(mutant.text) != 1:
            return Verdict(mutant.name, False, 0.0, f"{mutant.file} does not contain the text exactly once")
        file.write_text(source.replace(mutant.text, mutant.replacement))
        if mutant.contracts:
            compiled = _run(folder, "scripts/compile_contracts.py", *mutant.contracts)
            if compiled.returncode != 0 or "wrote" not in compiled.stdout:
                return Verdict(mutant.name, False, time.monotonic() - start, compiled.stderr or "nothing changed")
        ended = run_test(folder, mutant.killer)
    return Verdict(mutant.name, ended.returncode == TESTS_FAILED, time.monotonic() - start, ended.stdout[-2_000:])


def run_all(mutants: Sequence[Mutant], *, jobs: int | None = None) -> int:
    """Run mutants side by side and say what became of them; 0 if all were killed, else 1.

    First the killers run without any mistake: all must pass, else their failing would mean nothing.
    """
    say = sys.stdout.write
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        sound = run_test(copy_sources(Path(name)), *sorted({mutant.killer for mutant in mutants}))
    if sound.returncode != 0:
        say(f"{sound.stdout}\nThe killing tests do not pass without a mutant: nothing was tried.\n")
        return 1
    with ThreadPoolExecutor(max_workers=jobs or os.cpu_count() or 1) as pool:
        survivors = 0
        for verdict in pool.map(run_mutant, mutants):
            survivors += not verdict.killed
            say(f"{'killed  ' if verdict.killed else 'SURVIVED'} {verdict.seconds:6.1f} s  {verdict.name}\n")
            if not verdict.killed:
                say(f"{verdict.log}\n")
    say(f"{len(mutants) - survivors} of {len(mutants)} mutants killed\n")
    return 1 if survivors else 0
