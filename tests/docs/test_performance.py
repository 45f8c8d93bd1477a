"""docs/performance.md: its gas figures are the committed ones, and what it tells to run is there."""

from __future__ import annotations

import json
import re

from tests.docs.references import REPOSITORY, rows

PAGE = (REPOSITORY / "docs" / "performance.md").read_text()
TARGETS = rows(PAGE.split("## Targets", 1)[1].split("\n## ", 1)[0])


def test_gas_figures_of_the_targets_are_the_committed_ones() -> None:
    committed = json.loads((REPOSITORY / "tests" / "contracts" / "hub_gas.json").read_text())
    said = [int(row[1].replace(",", "")) for row in TARGETS if "test_hub_gas.py" in row[2]]
    names = (
        "one worker: matchOrders",
        "one worker: deal and task",
        "three workers: deal and task",
        "1,000 tasks, one transaction: gas per task",
        "1,000 tasks, three workers: gas per task",
    )
    assert said == [committed[name] for name in names]
    assert f"costs {committed['1,000 tasks with data set, one transaction: gas per task']} gas" in PAGE


def test_targets_called_met_are_not_above_their_limit() -> None:
    limits = {
        row[0]: (int(found[1].replace(",", "")), int(row[1].replace(",", "")))
        for row in TARGETS
        if row[3] == "met" and "test_hub_gas" in row[2] and (found := re.search(r"≤ ([\d,]+) gas", row[0]))
    }
    assert len(limits) == 5
    assert [name for name, (limit, measured) in limits.items() if measured > limit] == []


def test_every_target_says_how_to_measure_it_and_how_it_went() -> None:
    for target, _, command, verdict in TARGETS:
        assert verdict in {"met", "missed", "not there"}, target
        assert command or verdict == "not there", target
        for file in re.findall(r"tests/\S+\.py", command):
            assert (REPOSITORY / file).is_file(), file


def test_benchmark_that_is_named_exists() -> None:
    assert {REPOSITORY / name for name in re.findall(r"bench/\w+\.py", PAGE)} == {
        file for file in (REPOSITORY / "bench").glob("*.py") if "def main(" in file.read_text()
    }
