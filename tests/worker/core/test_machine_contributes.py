"""Events in, instructions out: what an authorisation leads to, until the contribution stands on chain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.views import ContributionStatus, TaskStatus
from fairgrid.protocol.worker_messages import (
    Contributed,
    LeaseFailed,
    Opening,
)
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.held import Phase, Step
from tests.worker.machine_kit import (
    AUTHORISATION,
    CONSENSUS,
    CONTRIBUTED,
    CONTRIBUTION_MINED,
    DEADLINE,
    NOW,
    OPENING_REQUEST,
    SALT,
    TASK,
    TO_CONTRIBUTED,
    TO_CONTRIBUTING,
    TO_REVEALED,
    TO_SEALED,
    UNSET,
    fed,
    kinds,
    mine,
    record,
    seen,
    sent,
    task,
    transaction,
)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_an_authorisation_before_the_seal_is_ignored(length: int) -> None:
    machine = fed(TO_SEALED[:length])
    assert kinds(machine.handle(AUTHORISATION)) == ["Note"]
    assert record(machine).authorisation == ""


@pytest.mark.parametrize("events", [TO_CONTRIBUTING, TO_CONTRIBUTED, TO_REVEALED])
def test_a_second_authorisation_is_ignored(events: tuple[ev.Event, ...]) -> None:
    assert kinds(fed(events).handle(AUTHORISATION)) == ["Note"]


def test_an_authorisation_for_another_lease_is_ignored() -> None:
    machine = fed(TO_SEALED)
    assert kinds(machine.handle(replace(AUTHORISATION, lease_id="other"))) == ["Note"]
    assert record(machine).authorisation == ""


def test_an_authorisation_for_an_enclave_is_refused_and_nothing_is_signed() -> None:
    machine = fed(TO_SEALED)
    instructions = machine.handle(replace(AUTHORISATION, enclave_challenge="0x" + "01" * 20))
    assert "Contribute" not in kinds(instructions)
    assert isinstance(sent(instructions)[0], LeaseFailed)


def test_a_refused_contribution_tells_the_pool_and_keeps_the_seal_openable() -> None:
    machine = fed((*TO_SEALED, AUTHORISATION))
    instructions = machine.handle(ev.ContributionRefused(TASK, "forged", lasting=True))
    assert sent(instructions)[0].reason == "forged"
    assert record(machine).phase is Phase.SEALED and record(machine).authorisation == ""
    machine.handle(OPENING_REQUEST)
    assert any(isinstance(message, Opening) for message in sent(machine.handle(CONSENSUS)))


def test_a_postponed_contribution_is_tried_again_when_the_chain_answers() -> None:
    machine = fed((*TO_SEALED, AUTHORISATION))
    assert sent(machine.handle(ev.ContributionRefused(TASK, "chain down", lasting=False))) == []
    assert machine.handle(seen(task())) == [to_do.Contribute(TASK)]
    assert machine.handle(seen(task())) == [], "not twice while the first is being signed"


@pytest.mark.parametrize("view", [task(TaskStatus.REVEALING), task(contribution_deadline=NOW)])
def test_a_postponed_contribution_is_not_tried_again_too_late(view: Any) -> None:
    machine = fed((*TO_SEALED, AUTHORISATION, ev.ContributionRefused(TASK, "chain down", lasting=False)))
    assert "Contribute" not in kinds(machine.handle(seen(view)))


def test_a_contribution_that_the_hub_refused_is_not_repeated() -> None:
    machine = fed(TO_CONTRIBUTING)
    instructions = machine.handle(replace(CONTRIBUTION_MINED, succeeded=False))
    assert isinstance(sent(instructions)[0], LeaseFailed)
    assert record(machine).phase is Phase.SEALED
    assert machine.handle(seen(task())) == []


def test_a_contribution_whose_nonce_was_taken_is_signed_anew_three_times_at_most() -> None:
    machine = fed((*TO_SEALED, AUTHORISATION))
    lost = ev.TransactionLost(TASK, Step.CONTRIBUTE, "nonce too low")
    for nonce in range(2):
        machine.handle(ev.TransactionSigned(TASK, Step.CONTRIBUTE, transaction(nonce)))
        assert kinds(machine.handle(lost)) == ["Save", "LookAtChain"]
        assert machine.handle(seen(task())) == [to_do.Contribute(TASK)]
    machine.handle(ev.TransactionSigned(TASK, Step.CONTRIBUTE, transaction(2)))
    assert isinstance(sent(machine.handle(lost))[0], LeaseFailed)
    assert machine.handle(seen(task())) == []


def test_a_contribution_that_the_chain_shows_counts_although_no_receipt_came() -> None:
    machine = fed(TO_CONTRIBUTING)
    assert isinstance(sent(machine.handle(seen(task(), CONTRIBUTED)))[0], Contributed)
    assert record(machine).phase is Phase.CONTRIBUTED
    assert machine.handle(CONTRIBUTION_MINED) == [], "the late receipt changes nothing"


@pytest.mark.parametrize(
    "late", [seen(task(TaskStatus.REVEALING)), seen(task(), time=DEADLINE), seen(task(TaskStatus.COMPLETED))]
)
def test_a_contribution_that_came_too_late_is_given_up_and_stays_openable(late: ev.ChainSeen) -> None:
    machine = fed(TO_CONTRIBUTING)
    assert isinstance(sent(machine.handle(late))[0], LeaseFailed)
    assert record(machine).phase is Phase.SEALED and record(machine).salt == SALT


def test_a_contribution_that_a_reorganisation_undid_is_sent_again_with_the_same_bytes() -> None:
    machine = fed(TO_CONTRIBUTED)
    instructions = machine.handle(seen(task(), UNSET, block=12))
    assert to_do.Broadcast(TASK, Step.CONTRIBUTE) in instructions
    assert record(machine).contribution == transaction(0)


def test_a_view_older_than_the_receipt_does_not_undo_the_contribution() -> None:
    machine = fed(TO_CONTRIBUTED)
    assert machine.handle(seen(task(), UNSET, block=CONTRIBUTION_MINED.block - 1)) == []
    assert record(machine).phase is Phase.CONTRIBUTED


def test_a_contribution_by_another_process_with_the_same_key_is_not_taken_for_ones_own() -> None:
    machine = fed(TO_SEALED)
    machine.handle(seen(task(), mine(ContributionStatus.CONTRIBUTED)))
    assert record(machine).phase is Phase.SEALED
