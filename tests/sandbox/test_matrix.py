"""The page on threats shows what the escape suite tries on which level, and the tests that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sandbox.attacks import ATTACKS, LEVELS
from tests.sandbox.matrix import levels, matrix

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()


def test_the_page_has_the_table_of_the_suite_word_for_word() -> None:
    assert "\n".join(matrix()) in PAGE, "put the output of `python -m tests.sandbox.matrix` into docs/threat-model.md"


def test_every_level_says_of_known_attacks_only_why_they_are_none_on_it() -> None:
    known = {attack.name for attack in ATTACKS}
    for level in levels():
        assert set(level.not_here) <= known and set(level.stops) <= known, level.name
        assert all(level.not_here.values()), level.name
    assert [level.name for level in levels()] == list(LEVELS)


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", PAGE)
    assert named
    for file, name in named:
        source = (ROOT / file).read_text()
        assert not name or re.search(rf"def {name}\(", source), f"{file}::{name}"
