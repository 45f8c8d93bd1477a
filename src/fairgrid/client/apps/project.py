"""An app's project on disk: the file ``app.toml`` and the files that it names.

Paths in it are relative to its folder and stay inside it. An unknown key is an error, so a misspelt one does not pass.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fairgrid.client.job import MAX_HOSTS
from fairgrid.client.job_options import parse_size
from fairgrid.errors import UsageError
from fairgrid.protocol.abilities import network_fault
from fairgrid.protocol.amounts import parse_rlc
from fairgrid.protocol.app_document import name_fault
from fairgrid.protocol.network import destination
from fairgrid.runtime.catalogue import runtime_for_program, runtime_info
from fairgrid.runtime.levels import RuntimeInfo

__all__ = ["PROJECT_FILE", "AppProject", "Build", "Sale", "Trial", "find_project", "read_project"]

PROJECT_FILE: Final = "app.toml"
_MAX_BYTES: Final = 64 << 10
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"name", "description", "program", "runtime", "files", "memory", "reach", "build", "test", "sale"}),
    "build": frozenset({"commands", "sources", "hint"}),
    "test": frozenset({"inputs", "arguments", "expected", "seconds"}),
    "sale": frozenset({"price", "volume"}),
}


@dataclass(frozen=True, slots=True)
class Build:
    """How the program is made; without commands it is a source itself."""

    commands: tuple[tuple[str, ...], ...] = ()
    """Run one after the other in the project's folder."""
    sources: tuple[Path, ...] = ()
    """Files and folders that the program is made of: it is made anew when one is younger."""
    hint: str = ""
    """How to get the tools."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What `fairgrid app test` runs, and what must come out."""

    inputs: tuple[Path, ...] = ()
    arguments: tuple[str, ...] = ()
    expected: Path | None = None
    """Folder with the files of the result, to the last bit."""
    seconds: int = 300
    """Limit of one run: category 0."""


@dataclass(frozen=True, slots=True)
class Sale:
    """What `fairgrid app publish` asks for the app."""

    price: int = 0
    """For one task (nRLC)."""
    volume: int = 1000
    """Tasks that one listing sells."""


@dataclass(frozen=True, slots=True)
class AppProject:
    """One project."""

    folder: Path
    name: str
    description: str
    program: Path
    runtime: RuntimeInfo
    files: tuple[Path, ...] = ()
    """Inputs that every run of the app has."""
    memory_bytes: int = 1 << 30
    reach: tuple[str, ...] = ()
    """Hosts that every run of it connects to."""
    build: Build = Build()
    test: Trial = Trial()
    sale: Sale = Sale()


def find_project(given: Path | None) -> Path | None:
    """The folder of the project that ``given`` means: a folder, its ``app.toml``, or nothing for the current folder.

    None if ``given`` is another file: a program.

    Raises:
        UsageError: it is a folder without a project.
    """
    path = given if given is not None else Path()
    try:
        if path.name == PROJECT_FILE and path.is_file():
            return path.parent
        if not path.is_dir():
            return None
        if (path / PROJECT_FILE).is_file():
            return path
    except OSError as error:
        raise UsageError(f"{path} cannot be looked at ({error}).") from error
    raise UsageError(
        f"{path.resolve()} has no {PROJECT_FILE}, so it is no app's project. Name a program, or make a project with "
        f"`fairgrid app init NAME --template python`."
    )


def read_project(folder: Path) -> AppProject:
    """The project in ``folder``. The program need not be built yet.

    Raises:
        UsageError: ``app.toml`` is missing or wrong, or names a file that is not there; it says which line to change.
    """
    document = _load(folder / PROJECT_FILE)
    reader = _Reader(folder, document)
    name = reader.text("name")
    fault = name_fault(name)
    if fault is not None:
        raise UsageError(f"{folder / PROJECT_FILE}: name {name!r} cannot be an app's name: {fault}.")
    build = reader.table("build")
    test = reader.table("test")
    sale = reader.table("sale")
    program = reader.path(reader.text("program"), "program", exists=not build.get("commands"))
    runtime = document.get("runtime")
    chosen = runtime_info(reader.text("runtime")) if runtime is not None else runtime_for_program(program)
    return AppProject(
        folder=folder,
        name=name,
        description=str(document.get("description", "")),
        program=program,
        runtime=chosen,
        files=reader.paths("files", document.get("files", [])),
        memory_bytes=parse_size(str(document.get("memory", "1G")), "memory"),
        reach=reader.hosts("reach", chosen.runtime_id),
        build=Build(
            tuple(tuple(reader.words("build.commands", command)) for command in reader.items("build", "commands")),
            reader.paths("build.sources", build.get("sources", [])),
            str(build.get("hint", "")).strip(),
        ),
        test=Trial(
            reader.paths("test.inputs", test.get("inputs", [])),
            tuple(reader.words("test.arguments", test.get("arguments", []))),
            reader.path(test["expected"], "test.expected", exists=False) if "expected" in test else None,
            reader.number("test", "seconds", 300),
        ),
        sale=Sale(parse_rlc(str(sale.get("price", "0 RLC")), "sale.price"), reader.number("sale", "volume", 1000)),
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{file} is larger than {_MAX_BYTES} bytes: it is no project file.")
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read ({error}). docs/app-developer.md shows one.") from error
    return document


class _Reader:
    """Takes values out of the document, each of the type that it must have."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self._folder = folder
        self._document = document
        self._check_keys("", document)

    def _fault(self, key: str, text: str) -> UsageError:
        return UsageError(f"{self._folder / PROJECT_FILE}: {key} {text}.")

    def _check_keys(self, table: str, document: Mapping[str, Any]) -> None:
        unknown = sorted(set(document) - _KEYS[table])
        if unknown:
            key = f"{table}.{unknown[0]}" if table else unknown[0]
            raise self._fault(key, f"is no key; known here are {', '.join(sorted(_KEYS[table]))}")

    def table(self, name: str) -> dict[str, Any]:
        """A table; empty where there is none."""
        value = self._document.get(name, {})
        if not isinstance(value, dict):
            raise self._fault(name, f"must be a table: [{name}]")
        self._check_keys(name, value)
        return value

    def items(self, table: str, key: str) -> list[Any]:
        """A list; empty where there is none."""
        value = self.table(table).get(key, [])
        if not isinstance(value, list):
            raise self._fault(f"{table}.{key}", "must be a list")
        return value

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self._document.get(key)
        if not isinstance(value, str) or not value:
            raise self._fault(key, "must be there, and be a text")
        return value

    def number(self, table: str, key: str, default: int) -> int:
        """A whole number from 1 on."""
        value = self.table(table).get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 63:
            raise self._fault(f"{table}.{key}", "must be a whole number from 1 on")
        return value

    def hosts(self, key: str, runtime_id: str) -> tuple[str, ...]:
        """Places that programs of this runtime can connect to, in order; empty where there are none."""
        hosts = self.words(key, self._document.get(key, []))
        if len(hosts) > MAX_HOSTS:
            raise self._fault(key, f"names {len(hosts)} hosts; at most {MAX_HOSTS} can be")
        try:
            for host in hosts:
                destination(host)
        except UsageError as error:
            raise self._fault(key, f"is wrong: {str(error).rstrip('.')}") from error
        fault = network_fault(runtime_id, hosts)
        if fault is not None:
            raise self._fault(key, f"cannot be had: {fault.rstrip('.')}")
        return tuple(sorted(set(hosts)))

    def words(self, key: str, value: object) -> list[str]:
        """A list of texts."""
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self._fault(key, "must be a list of texts")
        return value

    def paths(self, key: str, value: object) -> tuple[Path, ...]:
        """Files or folders of the project that are there."""
        return tuple(self.path(word, key, exists=True) for word in self.words(key, value))

    def path(self, text: object, key: str, *, exists: bool) -> Path:
        """One path inside the project."""
        if not isinstance(text, str) or not text:
            raise self._fault(key, "must be a path")
        path = self._folder / text
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise self._fault(key, f"names {text}, which lies outside of the project")
        if exists and not path.exists():
            raise self._fault(key, f"names {text}, which is not there")
        return path
