"""The simulation finds bugs: each that is planted, within 1,000 seeds."""

from __future__ import annotations

import os
import sys

import pytest

from tests.simulation.bugs import BUGS, planted
from tests.simulation.hunt import hunt, recorded
from tests.simulation.run import Report, replay_command, run_seed

MOST_SEEDS = 1_000
NEIGHBOURS = 15
"""A change of the code shifts what a seed does; then one of the next seeds has to find the bug."""


def test_at_least_20_bugs_are_planted_in_pool_and_worker() -> None:
    assert len(BUGS) >= 20
    assert {name.split()[0] for name in BUGS} == {"pool", "worker"}


@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_planted_bug_changes_something_that_is_there(name: str) -> None:
    with planted(name):
        pass


def test_the_table_names_every_planted_bug_and_seeds_of_the_first_thousand() -> None:
    table = recorded()
    assert set(table) == set(BUGS), "hunt for those that are missing: python -m tests.simulation.hunt --new"
    assert all(0 <= seed < MOST_SEEDS for seed in table.values())


@pytest.mark.parametrize("name", sorted(recorded()))
@pytest.mark.timeout(600)
def test_the_recorded_seed_finds_its_bug_and_is_clean_without_it(name: str) -> None:
    for seed in range(recorded()[name], recorded()[name] + NEIGHBOURS):
        with planted(name):
            found = run_seed(seed).violations
        if found:
            assert not run_seed(seed).violations, replay_command(seed)
            return
    pytest.fail(f"Neither its seed nor the {NEIGHBOURS - 1} after it find {name!r}: hunt anew, docs/simulation.md")


@pytest.mark.slow
@pytest.mark.skipif("FAIRGRID_BUG_HUNT" not in os.environ, reason="set FAIRGRID_BUG_HUNT=1: it may take half an hour")
@pytest.mark.timeout(7_200)
def test_each_planted_bug_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    def tell(name: str, report: Report) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{name}: seed {report.seed}: {report.violations[0][:160]}")
            sys.stdout.write(f"\n    {replay_command(report.seed, name)}")

    found = hunt(BUGS, most=MOST_SEEDS, tell=tell)
    assert [name for name in BUGS if name not in found] == []
