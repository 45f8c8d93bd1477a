"""Tests that a page names: found in the source, without collecting anything."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

__all__ = ["REPOSITORY", "missing", "references", "rows"]

REPOSITORY = Path(__file__).parents[2]
_REFERENCE = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")


def references(text: str) -> list[str]:
    """Every test id of ``text``."""
    return _REFERENCE.findall(text)


def missing(reference: str) -> str | None:
    """What is wrong with a test id; None if pytest would find the test."""
    file, *names = reference.split("::")
    body = _body(REPOSITORY / file)
    if body is None:
        return f"there is no file {file}"
    for name in names[:-1]:
        inner = next((node.body for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)
        if inner is None:
            return f"{file} has no class {name}"
        body = inner
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return None if names[-1] in functions and names[-1].startswith("test_") else f"{file} has no test {names[-1]}"


def rows(text: str) -> list[list[str]]:
    """Cells of every row of every table, without heads and rules."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if not line.startswith("|") or re.match(r"^\|[-|: ]+\|$", line) or re.match(r"^\|[-|: ]+\|$", following):
            continue
        found.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])])
    return found


@cache
def _body(file: Path) -> list[ast.stmt] | None:
    return ast.parse(file.read_text()).body if file.is_file() else None
