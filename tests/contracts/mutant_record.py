"""The record of a run in which every mutant was killed: it need not be made again while nothing that it met changes.

A mutant's end depends on nothing but files: contracts, model, the tests that kill, and the versions of compiler and
EVM. Their digest is kept beside the tests. Whoever changes one of them breaks the record, and all mutants run again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.contracts.mutant_runner import REPOSITORY, Mutant

__all__ = ["RECORD", "imports_of", "is_recorded", "record", "source_digest"]

RECORD = Path(__file__).with_name("mutants_killed.txt")
_SOURCES = ("contracts", "scripts/compile_contracts.py", "src/fairgrid/errors.py", "tests/contracts", "tests/protocol")
_PACKAGES = ("src/fairgrid/protocol", "src/fairgrid/chain")
_TOOLS = re.compile(r"^(?:vyper|titanoboa|pyrevm|py-evm|eth-[a-z-]+|hypothesis|pytest)==\S+", re.MULTILINE)
_IMPORT = re.compile(r"^\s*(?:from|import) ((?:fairgrid|tests)(?:\.\w+)*)", re.MULTILINE)


def source_digest() -> str:
    """SHA-256 of everything that decides whether mutants are killed, in hex."""
    digest = hashlib.sha256()
    for file in _files():
        digest.update(f"{file.relative_to(REPOSITORY)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    tools = _TOOLS.findall((REPOSITORY / "requirements/dev.txt").read_text())
    return hashlib.sha256(digest.digest() + "\n".join(sorted(tools)).encode()).hexdigest()


def is_recorded() -> bool:
    """Whether these very sources were met by all mutants before, and all were killed."""
    return RECORD.is_file() and RECORD.read_text().split() == [source_digest()]


def record() -> None:
    """Remember that all mutants were killed on these sources."""
    RECORD.write_text(f"{source_digest()}\n")


def imports_of(mutants: Iterable[Mutant]) -> set[str]:
    """The packages of Fairgrid that the killing tests import, themselves or through other modules of the tests."""
    waiting = {mutant.killer.partition("::")[0] for mutant in mutants} | {"tests/protocol/conftest.py"}
    seen: set[str] = set()
    packages: set[str] = set()
    while waiting:
        file = waiting.pop()
        seen.add(file)
        for name in _IMPORT.findall((REPOSITORY / file).read_text()):
            if name.startswith("fairgrid"):
                packages.add(".".join(name.split(".")[:2]))
            elif (REPOSITORY / (module := name.replace(".", "/") + ".py")).is_file() and module not in seen:
                waiting.add(module)
    return packages


def _files() -> Iterator[Path]:
    for name in (*_SOURCES, *_PACKAGES):
        path = REPOSITORY / name
        found = [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file())
        yield from sorted(file for file in found if file.suffix != ".pyc" and file != RECORD)
