"""Which step of a held task may follow which, and what is told when one may not."""

from __future__ import annotations

import pytest

from fairgrid.protocol.worker_messages import (
    PhaseReport,
)
from fairgrid.worker.core import events as ev
from fairgrid.worker.core.held import TRANSITIONS, WORKING, HeldTask, InvalidTransition, Phase
from tests.worker.machine_kit import (
    ABORT,
    APPROVED,
    COMPUTED,
    CONTRIBUTION_SIGNED,
    LEASE,
    REVEAL_SIGNED,
    SEAL_SIGNED,
    TASK,
    TO_CONTRIBUTED,
    TO_CONTRIBUTING,
    TO_REVEALED,
    TO_SEALED,
    fed,
    record,
)


def test_every_phase_has_its_row_and_every_row_names_known_phases() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert {phase for targets in TRANSITIONS.values() for phase in targets} == set(Phase)


def test_every_phase_has_a_coarse_phase_for_the_pool() -> None:
    for phase in Phase:
        held = HeldTask(lease_id="l1", deal_id=LEASE.deal_id, task_id=TASK, index=0, round=0, phase=phase)
        assert PhaseReport("l1", TASK, held.held_lease.phase)


def test_a_step_that_the_table_lacks_raises_with_the_story_and_changes_nothing() -> None:
    machine = fed(TO_CONTRIBUTED)
    before = record(machine)
    with pytest.raises(InvalidTransition, match=r"(?s)from contributed to sealed.*leased as l1") as caught:
        machine.handle(SEAL_SIGNED)
    assert caught.value.held == before == record(machine)


@pytest.mark.parametrize(
    ("events", "event"),
    [
        (TO_SEALED[:1], COMPUTED),
        (TO_SEALED[:1], ev.Downloaded(TASK)),
        (TO_SEALED[:2], APPROVED),
        (TO_SEALED, COMPUTED),
        (TO_SEALED[:3], CONTRIBUTION_SIGNED),
        (TO_CONTRIBUTING, CONTRIBUTION_SIGNED),
        (TO_CONTRIBUTING, REVEAL_SIGNED),
        (TO_REVEALED, ev.Uploaded(TASK, "bafy")),
    ],
)
def test_events_out_of_order_are_refused(events: tuple[ev.Event, ...], event: ev.Event) -> None:
    with pytest.raises(InvalidTransition):
        fed(events).handle(event)


def test_the_story_is_told_in_order_and_does_not_grow_without_end() -> None:
    machine = fed(TO_REVEALED)
    story = record(machine).story
    assert story[0].startswith("leased as l1") and story[-1].startswith("revealed")
    for _ in range(200):
        machine.handle(ABORT)
    assert len(record(machine).story) == 60


def test_phases_that_may_be_handed_back_are_those_before_the_seal() -> None:
    assert {Phase.ACCEPTED, Phase.DOWNLOADING, Phase.COMPUTING} == WORKING
