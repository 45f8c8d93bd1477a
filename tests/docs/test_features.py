"""docs/features.md: 150 rows, each Y of ours shown by a test that exists, and totals that add up."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.docs.references import REPOSITORY, missing, references, rows

PAGE = (REPOSITORY / "docs" / "features.md").read_text()
FEATURES = [row for row in rows(PAGE) if row[0].isdigit()]
SYSTEMS = {"XW": 2, "IX": 3, "BO": 4, "Fairgrid": 5}


def test_rows_are_numbered_from_1_to_150() -> None:
    assert [int(row[0]) for row in FEATURES] == list(range(1, 151))


def test_every_mark_is_one_of_three() -> None:
    assert {row[column] for row in FEATURES for column in SYSTEMS.values()} == {"Y", "P", "N"}


@pytest.mark.parametrize("row", FEATURES, ids=lambda row: f"{row[0]} {row[1][:40]}")
def test_what_is_there_is_shown_by_a_test_that_exists(row: list[str]) -> None:
    named, mark, note = references(row[6]), row[5], row[7]
    ours = re.sub(r"_.*_$", "", note).strip(" .")
    if mark == "N":
        assert named == [], "what is not there is shown by nothing"
        return
    assert len(named) == 1
    assert missing(named[0]) is None
    assert mark == "Y" or ours, "what is there partly says how far"


@pytest.mark.parametrize("system", SYSTEMS)
def test_totals_add_up(system: str) -> None:
    counted = Counter(row[SYSTEMS[system]] for row in FEATURES)
    said = next(row for row in rows(PAGE.split("## Totals", 1)[1]) if row[0] == system)
    assert [int(number) for number in said[1:]] == [counted[mark] for mark in "YPN"]
