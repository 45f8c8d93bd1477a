"""The simulation finds bugs: each that is planted, within 1,000 seeds."""

from __future__ import annotations

import os
import sys

import pytest

from tests.simulation.bugs import BUGS, planted
from tests.simulation.hunt import hunt, recorded
from tests.simulation.run import Report, replay_command, run_seed

MOST_SEEDS = 1_000


def test_at_least_20_bugs_are_planted_in_pool_and_worker() -> None:
    assert len(BUGS) >= 20
    assert {name.split()[0] for name in BUGS} == {"pool", "worker"}


def test_the_table_names_planted_bugs_and_seeds_of_the_first_thousand() -> None:
    table = recorded()
    assert set(table) <= set(BUGS)
    assert all(0 <= seed < MOST_SEEDS for seed in table.values())


@pytest.mark.parametrize("name", sorted(recorded()))
@pytest.mark.timeout(300)
def test_the_recorded_seed_finds_its_bug_and_is_clean_without_it(name: str) -> None:
    seed = recorded()[name]
    with planted(name):
        assert run_seed(seed).violations, f"hunt anew: python -m tests.simulation.hunt; {replay_command(seed, name)}"
    clean = run_seed(seed)
    assert not clean.violations, replay_command(seed)


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
