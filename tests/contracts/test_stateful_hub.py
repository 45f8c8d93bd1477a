"""Contracts and reference model under the same random sequences of calls (Hypothesis).

After every call: the same answer, the same revert, the same events. After every step: the same accounts, and money adds
up. At the end of each sequence every deadline passes, what is left is claimed, nobody's money is locked, all can leave.

``FAIRGRID_EXAMPLES`` is the number of sequences in each of the rounds (default 30); take 2000 after a change of the
contracts or the model. The rounds differ only in chance: each stays short, and they can run side by side.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contracts.hub_machine import HubMachine

EXAMPLES = int(os.environ.get("FAIRGRID_EXAMPLES", "30"))
ROUNDS = 3
STEPS = 30


@pytest.mark.timeout(240 if EXAMPLES <= 30 else 0)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_random_calls_leave_contracts_and_model_alike(round_: int) -> None:
    HubMachine.reached.clear()
    run_state_machine_as_test(
        HubMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    if EXAMPLES >= 30:
        reached = HubMachine.reached
        for name in ("match", "contribute", "reveal", "finalize", "claim"):
            assert reached[f"{name} happened"] >= 3, (name, reached)
