"""docs/deviations.md: each deviation has its test, each bound of the contracts its row."""

from __future__ import annotations

import re

import pytest

from tests.docs.references import REPOSITORY, missing, references, rows

PAGE = (REPOSITORY / "docs" / "deviations.md").read_text()
INTERNAL = {
    "MAX_ANSWER": "the longest answer of a facet",
    "MAX_BLOB": "a record that the hub writes itself",
    "MAX_ENTRY_INITCODE": "given once, when a registry is created",
    "MAX_FIELD": "the longest field of an entry, bounded when it is created",
    "MAX_INITIALIZER": "the sum of an entry's fields",
    "MAX_METADATA": "the sum of an entry's fields",
    "MAX_REASON": "the longest words of a match that is refused",
    "MAX_REWARD_RATIO": "100 percent, as published",
}


def bounds() -> dict[str, str]:
    """Name and value of every bound in the contracts' sources."""
    found: dict[str, str] = {}
    for source in sorted((REPOSITORY / "contracts").rglob("*.vy")):
        found |= dict(re.findall(r"^(MAX_\w+): constant\(uint256\) = (.+)$", source.read_text(), re.MULTILINE))
    return found


@pytest.mark.parametrize("row", rows(PAGE), ids=lambda row: row[0][:40])
def test_every_deviation_names_a_test_that_exists(row: list[str]) -> None:
    named = references(row[-1])
    assert len(named) == 1, f"{row[0]} names {len(named)} tests"
    assert missing(named[0]) is None


def test_every_bound_of_the_contracts_has_its_row_with_its_value() -> None:
    documented = {name: row for row in rows(PAGE) for name in re.findall(r"`(MAX_\w+)`", row[0])}
    sources = bounds()
    assert set(documented) == set(sources) - set(INTERNAL)
    wrong = [
        name
        for name, row in documented.items()
        if (value := sources[name].replace("_", "")).isdigit()
        and f"{int(value):,}" not in row[1]
        and row[1] != "as above"
    ]
    assert wrong == []


def test_internal_bounds_are_still_there() -> None:
    assert set(INTERNAL) <= set(bounds())


@pytest.mark.parametrize(
    "reference",
    [
        "tests/docs/test_nothing.py::test_x",
        "tests/docs/test_deviations.py::test_nothing",
        "tests/docs/test_deviations.py::bounds",
        "tests/docs/test_deviations.py::Nothing::test_x",
    ],
)
def test_test_that_does_not_exist_is_noticed(reference: str) -> None:
    assert references(f"`{reference}`") == [reference]
    assert missing(reference) is not None
