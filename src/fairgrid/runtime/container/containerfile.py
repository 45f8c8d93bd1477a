"""The Containerfiles that need no tool: ``FROM scratch`` and files. Pure."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import UsageError
from fairgrid.runtime.container.oci_writer import ImageFile, RunConfig, files_of_folder

__all__ = ["Recipe", "read_recipe"]

_LABEL: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a Containerfile of this kind makes."""

    files: tuple[ImageFile, ...]
    config: RunConfig


def read_recipe(text: str, context: Path) -> Recipe | None:
    """Read a Containerfile; None if it needs a tool (another base, ``RUN``, a form that is not known here).

    Raises:
        UsageError: a file that it copies is not there, or not below ``context``.
    """
    files: list[ImageFile] = []
    environment: dict[str, str] = {}
    labels: dict[str, str] = {}
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    folder = ""
    has_base = False
    for word, rest in _instructions(text):
        if "$" in rest or "<<" in rest:
            return None
        match word:
            case "FROM" if not has_base and rest == "scratch":
                has_base = True
            case "COPY":
                copied = _copied(rest, context, folder)
                if copied is None:
                    return None
                files += copied
            case "ENV" | "LABEL":
                pairs = _pairs(rest)
                if pairs is None:
                    return None
                (environment if word == "ENV" else labels).update(pairs)
            case "WORKDIR":
                folder = posixpath.normpath(posixpath.join("/", folder, rest))
                files.append(ImageFile(folder.strip("/"), None))
            case "ENTRYPOINT" | "CMD":
                words = _words(rest)
                if words is None:
                    return None
                if word == "ENTRYPOINT":
                    entrypoint = words
                else:
                    command = words
            case _:
                return None
    if not has_base:
        return None
    config = RunConfig(
        entrypoint=entrypoint,
        command=command,
        environment=tuple(f"{name}={value}" for name, value in environment.items()),
        folder=folder,
        labels=tuple(labels.items()),
    )
    return Recipe(tuple(file for file in files if file.path), config)


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\[ \t]*\n", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            found.append((word.upper(), rest.strip()))
    return found


def _copied(rest: str, context: Path, folder: str) -> list[ImageFile] | None:
    words = list(_words(rest) or ()) if rest.startswith("[") else shlex.split(rest)
    if len(words) < 2 or any(word.startswith("--") or set(word) & set("*?[") for word in words):
        return None
    *sources, target = words
    place = posixpath.normpath(posixpath.join("/", folder, target)).strip("/")
    into = target.endswith("/") or len(sources) > 1 or target in (".", "./")
    files: list[ImageFile] = []
    for source in sources:
        path = context / source.lstrip("/")
        if not path.resolve().is_relative_to(context.resolve()) or not (path.exists() or path.is_symlink()):
            raise UsageError(f"The Containerfile copies {source!r}, which is not in {context}. Nothing was built.")
        if path.is_dir():
            files += [ImageFile(place, None), *files_of_folder(path, place)]
        else:
            name = "/".join(part for part in (place, path.name if into else "") if part)
            files.append(ImageFile(name, path, executable=bool(path.stat().st_mode & 0o111)))
    return files


def _pairs(rest: str) -> dict[str, str] | None:
    try:
        words = shlex.split(rest)
    except ValueError:
        return None
    pairs = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found or _LABEL.fullmatch(name) is None:
            return None
        pairs[name] = value
    return pairs


def _words(rest: str) -> tuple[str, ...] | None:
    try:
        words = json.loads(rest)
    except ValueError:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return tuple(words)
