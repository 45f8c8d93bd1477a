"""Both lanes under the same random sequences of calls, on contracts and reference model (Hypothesis).

As `test_stateful_hub`, with runs interleaved with single tasks of the same deals. After every step also: what payers,
pools and workers have locked is what is not yet settled, no task was settled twice, and nobody's free money fell who
did not call, sign or contribute. At the end each task of each deal was settled or refunded exactly once.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contracts.batch_machine import BatchMachine

EXAMPLES = int(os.environ.get("FAIRGRID_EXAMPLES", "60"))
ROUNDS = 3
STEPS = 30


@pytest.mark.timeout(240 if EXAMPLES <= 60 else 0)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_random_calls_in_both_lanes_leave_contracts_and_model_alike(round_: int) -> None:
    BatchMachine.reached.clear()
    run_state_machine_as_test(
        BatchMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    if EXAMPLES >= 60:
        reached = BatchMachine.reached
        for name in ("openRun", "contribute", "finalizeRun", "settleRun", "splitRun", "refundRest", "materialise"):
            assert reached[f"{name} happened"] >= 1, (name, reached)
