"""What readers are told makes sense to them: no numbers of papers that only the people who made this have."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.tree import commands
from tests.docs.references import REPOSITORY

INSIDE = re.compile(
    r"\bdecisions? \d+|\bissues? \d+\b|\bdesign\.md|\bdecisions\.md|\bstyle\.md|\bTODO\b", re.IGNORECASE
)
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
SHOWN = re.findall(r"^::: (\S+)$", (REPOSITORY / "docs" / "reference.md").read_text(), re.MULTILINE)


def told_of(name: str) -> str:
    """All docstrings of a class or function of the reference, those of its members and fields as well."""
    module, _, member = name.rpartition(".")
    tree = ast.parse(inspect.getsource(getattr(importlib.import_module(module), member)))
    return "\n".join(_strings(tree))


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_refer_to_nothing_that_readers_do_not_have(page: Path) -> None:
    assert INSIDE.findall(page.read_text()) == []


def test_helps_refer_to_nothing_that_users_do_not_have() -> None:
    texts = {
        name: " ".join([command.help or "", *(getattr(one, "help", None) or "" for one in command.params)])
        for name, command in commands().items()
    }
    assert {name: found for name, text in texts.items() if (found := INSIDE.findall(text))} == {}


@pytest.mark.parametrize("name", SHOWN)
def test_reference_refers_to_nothing_that_readers_do_not_have(name: str) -> None:
    assert INSIDE.findall(told_of(name)) == []


def test_a_number_of_a_paper_would_be_noticed() -> None:
    assert INSIDE.findall("as decision 8 says, and issue 6") == ["decision 8", "issue 6"]
    assert "decisions" not in INSIDE.findall("the pool's decisions are kept")
    assert SHOWN and "Example" not in INSIDE.findall(told_of(SHOWN[0]))
