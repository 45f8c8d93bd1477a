"""Events in, instructions out: after the consensus, the reveal, the opening of the seal, the upload and the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.pool_messages import OpeningRequest, RevealNotice
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import (
    Opening,
    Revealed,
)
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.held import Phase, Step
from tests.worker.machine_kit import (
    ABORT,
    AUTHORISATION,
    CONSENSUS,
    CONTRIBUTED,
    DIGEST,
    DONE,
    FINAL,
    NOW,
    OPENING_REQUEST,
    PROVED,
    REJECTED,
    REVEAL_DEADLINE,
    REVEAL_MINED,
    REVEAL_SIGNED,
    SALT,
    TASK,
    TO_CONTRIBUTED,
    TO_CONTRIBUTING,
    TO_REVEALED,
    TO_REVEALING,
    TO_SEALED,
    UNSET,
    UPLOAD_REQUEST,
    fed,
    kinds,
    record,
    seen,
    sent,
    task,
    transaction,
)


def test_a_reveal_notice_alone_reveals_nothing() -> None:
    machine = fed(TO_CONTRIBUTED)
    assert machine.handle(RevealNotice(TASK)) == [to_do.LookAtChain(TASK)]
    assert "Reveal" not in kinds(machine.handle(seen(task(), CONTRIBUTED, block=12)))


def test_the_worker_reveals_by_its_own_look_at_the_chain_without_a_notice() -> None:
    assert fed(TO_CONTRIBUTED).handle(CONSENSUS) == [to_do.Reveal(TASK)]


@pytest.mark.parametrize(
    ("view", "contribution", "time"),
    [
        (task(TaskStatus.REVEALING, consensus_value="0x" + "99" * 32), CONTRIBUTED, NOW),
        (task(TaskStatus.REVEALING), CONTRIBUTED, REVEAL_DEADLINE),
        (task(TaskStatus.REVEALING), REJECTED, NOW),
        (task(TaskStatus.COMPLETED), CONTRIBUTED, NOW),
        (task(TaskStatus.FAILED), CONTRIBUTED, NOW),
        (task(TaskStatus.ACTIVE), CONTRIBUTED, NOW),
    ],
    ids=["outvoted", "deadline passed", "rejected by a reopening", "finalized", "claimed", "no consensus"],
)
def test_the_worker_does_not_reveal_when_it_must_not(view: Any, contribution: Any, time: int) -> None:
    machine = fed(TO_CONTRIBUTED)
    assert "Reveal" not in kinds(machine.handle(seen(view, contribution, block=12, time=time)))


def test_a_reveal_waits_for_the_configured_confirmations_of_one_and_the_same_consensus() -> None:
    machine = fed(TO_CONTRIBUTED, confirmations=3)
    view = task(TaskStatus.REVEALING)
    assert machine.handle(seen(view, CONTRIBUTED, block=12)) == []
    assert machine.handle(seen(view, CONTRIBUTED, block=14)) == []
    other = replace(view, reveal_deadline=REVEAL_DEADLINE + 1)
    assert machine.handle(seen(other, CONTRIBUTED, block=15)) == [], "mined again in another block: counted anew"
    assert machine.handle(seen(task(), CONTRIBUTED, block=16)) == [], "undone"
    assert machine.handle(seen(other, CONTRIBUTED, block=17)) == []
    assert machine.handle(seen(other, CONTRIBUTED, block=20)) == [to_do.Reveal(TASK)]


def test_a_reveal_that_could_not_be_signed_is_tried_again() -> None:
    machine = fed((*TO_CONTRIBUTED, CONSENSUS))
    assert machine.handle(CONSENSUS) == []
    machine.handle(ev.RevealRefused(TASK, "chain down"))
    assert machine.handle(CONSENSUS) == [to_do.Reveal(TASK)]


def test_a_lost_reveal_is_signed_again_however_often() -> None:
    machine = fed((*TO_CONTRIBUTED, CONSENSUS))
    for nonce in range(6):
        machine.handle(ev.TransactionSigned(TASK, Step.REVEAL, transaction(nonce, "reveal")))
        machine.handle(ev.TransactionLost(TASK, Step.REVEAL, "nonce too low"))
        assert machine.handle(CONSENSUS) == [to_do.Reveal(TASK)]


def test_a_reveal_that_the_hub_refuses_is_repeated_three_times_at_most() -> None:
    machine = fed((*TO_CONTRIBUTED, CONSENSUS))
    for attempt in range(3):
        machine.handle(REVEAL_SIGNED)
        machine.handle(replace(REVEAL_MINED, succeeded=False, block=12))
        assert kinds(machine.handle(CONSENSUS)) == (["Reveal"] if attempt < 2 else [])


def test_a_reveal_seen_on_chain_counts_without_a_receipt() -> None:
    machine = fed(TO_REVEALING)
    assert isinstance(sent(machine.handle(seen(task(TaskStatus.REVEALING), PROVED, block=13)))[0], Revealed)


def test_a_reveal_that_a_reorganisation_undid_is_sent_again() -> None:
    machine = fed(TO_REVEALED)
    instructions = machine.handle(seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=14))
    assert to_do.Broadcast(TASK, Step.REVEAL) in instructions


def test_a_reveal_overtaken_by_a_reopening_goes_back_to_waiting() -> None:
    machine = fed(TO_REVEALING)
    machine.handle(seen(task(TaskStatus.ACTIVE), CONTRIBUTED, block=13))
    assert record(machine).phase is Phase.CONTRIBUTED


@pytest.mark.parametrize("events", [TO_SEALED, TO_CONTRIBUTED])
def test_an_opening_waits_until_the_chain_says_revealing(events: tuple[ev.Event, ...]) -> None:
    machine = fed((*events, OPENING_REQUEST))
    contribution = UNSET if events is TO_SEALED else CONTRIBUTED
    assert sent(machine.handle(seen(task(), contribution, block=12))) == []
    view = seen(task(TaskStatus.REVEALING, consensus_value="0x" + "99" * 32), contribution, block=13)
    assert sent(machine.handle(view)) == [Opening("l1", TASK, digest=DIGEST, salt=SALT)]
    assert sent(machine.handle(view)) == [], "once a request"


def test_an_opening_waits_for_the_confirmations_too() -> None:
    machine = fed((*TO_SEALED, OPENING_REQUEST), confirmations=2)
    view = task(TaskStatus.REVEALING)
    assert sent(machine.handle(seen(view, block=12))) == []
    assert [type(message) for message in sent(machine.handle(seen(view, block=14)))] == [Opening]


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_an_opening_of_an_unsealed_task_is_ignored(length: int) -> None:
    machine = fed(TO_SEALED[:length])
    assert kinds(machine.handle(OPENING_REQUEST)) == ["Note"]
    assert sent(machine.handle(seen(task(TaskStatus.REVEALING)))) == []


def test_an_opening_of_another_lease_is_ignored() -> None:
    machine = fed(TO_SEALED)
    assert kinds(machine.handle(OpeningRequest("other", TASK))) == ["Note"]


@pytest.mark.parametrize("events", [TO_SEALED[:3], TO_SEALED, TO_CONTRIBUTING])
def test_an_upload_request_before_the_contribution_is_ignored(events: tuple[ev.Event, ...]) -> None:
    machine = fed(events)
    assert kinds(machine.handle(UPLOAD_REQUEST)) == ["Note"]
    assert not record(machine).upload_requested


def test_an_upload_waits_for_the_own_reveal_on_chain() -> None:
    machine = fed((*TO_CONTRIBUTED, UPLOAD_REQUEST))
    assert "Upload" not in kinds(machine.handle(CONSENSUS))
    machine.handle(REVEAL_SIGNED)
    assert "Upload" not in kinds(machine.handle(seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=12)))
    machine.handle(REVEAL_MINED)
    assert "Upload" in kinds(machine.handle(seen(task(TaskStatus.REVEALING), PROVED, block=13)))


def test_a_failed_upload_is_tried_again_and_an_asked_for_repeat_is_done() -> None:
    machine = fed((*TO_REVEALED, UPLOAD_REQUEST))
    view = seen(task(TaskStatus.REVEALING), PROVED, block=14)
    assert to_do.Upload(TASK) in machine.handle(view)
    assert "Upload" not in kinds(machine.handle(view))
    machine.handle(ev.UploadFailed(TASK, "storage down"))
    assert to_do.Upload(TASK) in machine.handle(view)
    machine.handle(ev.Uploaded(TASK, "bafy"))
    assert "Upload" not in kinds(machine.handle(view))
    machine.handle(UPLOAD_REQUEST)
    assert to_do.Upload(TASK) in machine.handle(seen(task(TaskStatus.COMPLETED), PROVED, block=15))


@pytest.mark.parametrize("events", [TO_SEALED[:1], TO_SEALED[:3], TO_SEALED[:4], TO_SEALED])
def test_an_abort_before_the_contribution_drops_the_task(events: tuple[ev.Event, ...]) -> None:
    machine = fed(events)
    assert "Forget" in kinds(machine.handle(ABORT))
    assert machine.held == ()


@pytest.mark.parametrize("events", [(*TO_SEALED, AUTHORISATION), TO_CONTRIBUTING, TO_CONTRIBUTED, TO_REVEALING])
def test_an_abort_never_drops_what_a_stake_hangs_on(events: tuple[ev.Event, ...]) -> None:
    machine = fed(events)
    before = record(machine)
    assert kinds(machine.handle(ABORT)) == ["Save"]
    assert replace(record(machine), story=before.story) == replace(before, done_requested=True)


@pytest.mark.parametrize("events", [TO_SEALED, TO_CONTRIBUTED, TO_REVEALED])
def test_a_false_done_drops_nothing_until_the_chain_says_so(events: tuple[ev.Event, ...]) -> None:
    machine = fed((*events, DONE))
    contribution = {TO_SEALED: UNSET, TO_CONTRIBUTED: CONTRIBUTED, TO_REVEALED: PROVED}[events]
    assert "Retire" not in kinds(machine.handle(seen(task(TaskStatus.REVEALING), contribution, block=14)))
    assert machine.held
    assert "Retire" in kinds(machine.handle(seen(task(TaskStatus.FAILED), contribution, block=15)))
    assert machine.held == ()


def test_a_task_that_is_over_is_kept_for_a_while_when_the_pool_is_silent() -> None:
    machine = fed(TO_REVEALED, keep_s=500)
    over = task(TaskStatus.COMPLETED)
    assert machine.handle(seen(over, PROVED, block=14, time=FINAL + 499)) == []
    assert kinds(machine.handle(seen(over, PROVED, block=15, time=FINAL + 500))) == ["Retire"]


def test_a_task_that_is_over_before_it_was_computed_is_handed_back() -> None:
    machine = fed(TO_SEALED[:3])
    assert kinds(machine.handle(seen(task(TaskStatus.COMPLETED))))[:2] == ["Cancel", "Forget"]
