"""Boost and the classic lane under the same random calls, out of the same orders, on contracts and model (Hypothesis).

At the end every task of every deal was settled or refunded, and nothing stays locked but the kitty's.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contracts.boost_machine import BoostMachine

EXAMPLES = int(os.environ.get("FAIRGRID_EXAMPLES", "40"))
STEPS = 30


@pytest.mark.timeout(240 if EXAMPLES <= 40 else 0)
@pytest.mark.parametrize("round_", range(2))
def test_random_calls_with_boost_leave_contracts_and_model_alike(round_: int) -> None:
    BoostMachine.reached.clear()
    run_state_machine_as_test(
        BoostMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    if EXAMPLES >= 40:
        for name in (
            "match boost happened",
            "match boost refused",
            "push happened",
            "push refused",
            "claim boost happened",
        ):
            assert BoostMachine.reached[name] >= 1, BoostMachine.reached
