"""docs/weaknesses.md: each known weakness is pinned or mended by a test that exists."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.references import REPOSITORY, missing, references, rows

PAGE = (REPOSITORY / "docs" / "weaknesses.md").read_text()
NUMBERS = [
    *(f"A{number}" for number in range(1, 11)),
    *(f"B{number}" for number in range(1, 15)),
    *(f"C{number}" for number in range(1, 15)),
    *(f"D{number}" for number in range(1, 10)),
]
VERDICTS = ("kept", "mended", "batch lane", "off chain")


def test_every_known_weakness_has_its_row() -> None:
    assert [row[0] for row in rows(PAGE)] == NUMBERS


@pytest.mark.parametrize("row", rows(PAGE), ids=lambda row: row[0])
def test_row_says_what_became_of_it_and_names_a_test_that_exists(row: list[str]) -> None:
    assert row[2].startswith(VERDICTS)
    named = references(row[3])
    assert named
    assert [fault for reference in named if (fault := missing(reference))] == []


def test_every_pinned_weakness_is_on_the_page() -> None:
    tree = ast.parse((REPOSITORY / "tests" / "contracts" / "test_weaknesses.py").read_text())
    pinned = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    for name in pinned:
        number = re.match(r"test_([a-d]\d+)_", name)
        assert number is not None, name
        (row,) = [row for row in rows(PAGE) if row[0] == number[1].upper()]
        assert f"tests/contracts/test_weaknesses.py::{name}" in references(row[3])
