"""The simulation finds bugs: each that is planted, within 1,000 seeds."""

from __future__ import annotations

import os
import sys

import pytest

from tests.simulation.bugs import BUGS, planted
from tests.simulation.run import find_bugs, replay_command, run_seed

MOST_SEEDS = 1_000


def test_at_least_20_bugs_are_planted_in_pool_and_worker() -> None:
    assert len(BUGS) >= 20
    assert {name.split()[0] for name in BUGS} == {"pool", "worker"}


def test_a_planted_bug_is_gone_afterwards() -> None:
    with planted("pool never finalizes"):
        assert run_seed(2).violations
    assert not run_seed(2).violations


@pytest.mark.slow
@pytest.mark.skipif("FAIRGRID_BUG_HUNT" not in os.environ, reason="set FAIRGRID_BUG_HUNT=1: it may take half an hour")
@pytest.mark.timeout(3_600)
def test_each_planted_bug_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for name, report in find_bugs(sorted(BUGS), most=MOST_SEEDS):
        found[name] = report
        what = f"seed {report.seed}: {report.violations[0]}" if report else "NOT FOUND"
        with capsys.disabled():
            sys.stdout.write(f"\n{name}: {what[:160]}")
            if report:
                sys.stdout.write(f"\n    {replay_command(report.seed, name)}")
    assert sorted(found) == sorted(BUGS)
    assert [name for name, report in found.items() if report is None] == []
