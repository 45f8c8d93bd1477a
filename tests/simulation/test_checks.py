"""The checks of the simulation can fail where they once could not."""

from __future__ import annotations

from tests.simulation.bugs import planted
from tests.simulation.plan import plan_of
from tests.simulation.run import run_seed

SHORTEST_TIMEREF_S = 60
SEED = 102


def test_a_task_that_fails_though_workers_were_enough_is_noticed_with_the_shortest_reference_time_too() -> None:
    assert plan_of(SEED).timeref_s == SHORTEST_TIMEREF_S
    with planted("pool never finalizes"):
        found = run_seed(SEED).violations
    assert any("failed, though enough honest workers were there" in violation for violation in found)
    assert not run_seed(SEED).violations
