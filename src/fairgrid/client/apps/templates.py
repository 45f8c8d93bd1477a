"""Projects that begin from a template. Templates lie beside the package, in the wheel inside of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fairgrid.errors import UsageError

__all__ = ["APP_TEMPLATES", "CONSUMER_TEMPLATES", "Template", "make_project", "shipped"]

_NAME: Final = "{{name}}"


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of project."""

    summary: str
    folders: tuple[str, ...]
    """Below ``templates``; what comes later covers what came before."""
    examples: tuple[tuple[str, str], ...] = ()
    """Files of ``examples`` that are copied, and their paths in the project."""
    needs: str = ""
    """What must be installed for it, for people."""


APP_TEMPLATES: Final[Mapping[str, Template]] = MappingProxyType(
    {
        "python": Template(
            "a Python script; nothing to build, the same bits on every machine", ("app/shared", "app/python")
        ),
        "python-component": Template(
            "a Python class with its pure packages, as a WebAssembly component", ("app/shared", "app/python-component")
        ),
        "c-wasm": Template(
            "a C program for WebAssembly",
            ("app/shared", "app/c-wasm"),
            (("word_count/word_count.c", "word_count.c"),),
        ),
        "oci": Template(
            "an OCI image, for workers that allow the level container",
            ("app/shared", "app/oci"),
            (("word_count/word_count.c", "word_count.c"),),
        ),
    }
)


CONSUMER_TEMPLATES: Final[Mapping[str, Template]] = MappingProxyType(
    {
        "vyper": Template(
            "a contract in Vyper that orders a computation and keeps the verified answer",
            ("consumer/shared", "consumer/vyper"),
            needs="Vyper, web3 and pytest: pip install vyper==0.4.3 web3 pytest",
        ),
        "solidity": Template(
            "a contract in Solidity that orders a computation and keeps the verified answer",
            ("consumer/shared", "consumer/solidity"),
            needs="web3 and pytest (pip install web3 pytest), and a compiler: solc 0.8.30 on PATH, or Node.js and "
            "`npm install solc@0.8.30`",
        ),
    }
)


def shipped(folder: str) -> Path:
    """A folder that ships with the package: in a wheel inside of it, in a clone at its root."""
    package = Path(__file__).resolve().parents[2]
    for root in (package, package.parents[1]):
        if (root / folder).is_dir():
            return root / folder
    raise UsageError(f"This installation lacks the folder {folder!r}. Install fairgrid anew.")


def make_project(template: Template, target: Path, *, name: str) -> list[Path]:
    """Write a new project; the files that were written, in order. All of it is there, or nothing.

    Raises:
        UsageError: ``target`` is there already and not an empty folder, or cannot be written.
    """
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{target} is there already. Nothing was written: choose another name, or remove it.")
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            for folder in template.folders:
                _copy_folder(shipped("templates") / folder, draft, name)
            for source, place in template.examples:
                _copy(shipped("examples") / source, draft / place, name)
            if target.exists():
                target.rmdir()
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"The project {target} cannot be written ({error}).") from error
    return sorted(path for path in target.rglob("*") if path.is_file())


def _copy_folder(source: Path, target: Path, name: str) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            place = target / path.relative_to(source)
            # A file of this name would rule over the templates themselves.
            _copy(path, place.with_name(".gitignore") if path.name == "gitignore" else place, name)


def _copy(source: Path, target: Path, name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source.read_text(encoding="utf-8").replace(_NAME, name), encoding="utf-8")
