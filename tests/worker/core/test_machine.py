"""Events in, instructions out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.pool_messages import Abort, OpeningRequest, RevealNotice, TaskDone, UploadRequest
from fairgrid.protocol.views import ContributionStatus, TaskStatus
from fairgrid.protocol.worker_messages import (
    Contributed,
    LeaseFailed,
    Opening,
    PhaseReport,
    Ready,
    Revealed,
    Seal,
    Uploaded,
)
from fairgrid.worker.core import events as ev
from fairgrid.worker.core.held import TRANSITIONS, WORKING, HeldTask, InvalidTransition, Phase, Step
from fairgrid.worker.core.machine import WorkerMachine
from tests.worker.machine_kit import (
    APPROVED,
    AUTHORISATION,
    COMPUTED,
    CONSENSUS,
    CONTRIBUTED,
    CONTRIBUTION_MINED,
    CONTRIBUTION_SIGNED,
    DEADLINE,
    DIGEST,
    FINAL,
    LEASE,
    NOW,
    PROVED,
    REJECTED,
    REVEAL_DEADLINE,
    REVEAL_MINED,
    REVEAL_SIGNED,
    SALT,
    SEAL_SIGNED,
    TASK,
    TO_CONTRIBUTED,
    TO_CONTRIBUTING,
    TO_REVEALED,
    TO_REVEALING,
    TO_SEALED,
    UNSET,
    fed,
    kinds,
    mine,
    only,
    record,
    seen,
    sent,
    task,
    transaction,
)

ABORT = Abort("l1", TASK, "no longer needed")
OPENING_REQUEST = OpeningRequest("l1", TASK)
UPLOAD_REQUEST = UploadRequest("l1", TASK)
DONE = TaskDone(TASK)


def test_a_task_goes_from_lease_to_upload_step_by_step() -> None:
    machine = fed(())
    assert kinds(machine.handle(LEASE)) == ["Save", "Send", "Examine"]
    assert kinds(machine.handle(APPROVED)) == ["Save", "Send", "Download"]
    assert kinds(machine.handle(ev.Downloaded(TASK))) == ["Save", "Send", "Compute"]
    assert kinds(machine.handle(COMPUTED)) == ["Save", "SignSeal"]
    sealed = machine.handle(SEAL_SIGNED)
    assert kinds(sealed) == ["Save", "Send"]
    assert isinstance(sent(sealed)[0], Seal)
    assert kinds(machine.handle(AUTHORISATION)) == ["Save", "Contribute"]
    assert kinds(machine.handle(CONTRIBUTION_SIGNED)) == ["Save", "Send", "Broadcast"]
    contributed = machine.handle(CONTRIBUTION_MINED)
    assert sent(contributed) == [Contributed("l1", TASK, transaction(0).hash)]
    assert only(machine.handle(CONSENSUS), ev.Reveal) == [ev.Reveal(TASK)]
    assert kinds(machine.handle(REVEAL_SIGNED)) == ["Save", "Send", "Broadcast"]
    assert sent(machine.handle(REVEAL_MINED)) == [Revealed("l1", TASK, transaction(1).hash)]
    assert kinds(machine.handle(UPLOAD_REQUEST)) == ["Save", "LookAtChain"]
    after_reveal = seen(task(TaskStatus.REVEALING), PROVED, block=14)
    assert ev.Upload(TASK) in machine.handle(after_reveal)
    assert sent(machine.handle(ev.Uploaded(TASK, "bafy"))) == [Uploaded("l1", TASK, cid="bafy", callback_data="0x")]
    assert kinds(machine.handle(DONE)) == ["Save", "LookAtChain"]
    assert kinds(machine.handle(seen(task(TaskStatus.COMPLETED), PROVED, block=15))) == ["Retire"]
    assert machine.held == ()


def test_what_is_signed_is_saved_before_it_is_sent_or_told() -> None:
    machine = fed(TO_SEALED)
    assert only(machine.handle(AUTHORISATION), ev.Save)[0].held.authorisation == AUTHORISATION.signature
    instructions = machine.handle(CONTRIBUTION_SIGNED)
    saved = only(instructions, ev.Save)[0].held
    assert saved.contribution == transaction(0) and saved.phase is Phase.CONTRIBUTING
    assert kinds(instructions).index("Save") < kinds(instructions).index("Broadcast")


def test_no_message_before_consensus_carries_the_digest_or_the_salt() -> None:
    machine = WorkerMachine()
    messages: list[Any] = []
    for event in (ev.PoolConnected(), *TO_CONTRIBUTED, OPENING_REQUEST, seen(task(), CONTRIBUTED), ev.PoolConnected()):
        messages += sent(machine.handle(event))
    assert len(messages) > 6
    assert not any(DIGEST in str(message) or SALT in str(message) for message in messages)


# --- slots and leases -------------------------------------------------------------------------------------------


def test_a_lease_beyond_the_slots_is_handed_back_and_sealing_frees_the_slot() -> None:
    machine = fed((LEASE,), slots=1)
    second = replace(LEASE, lease_id="l2", task_id="0x" + "7b" * 32)
    assert isinstance(sent(machine.handle(second))[0], LeaseFailed)
    assert len(machine.held) == 1
    for event in TO_SEALED[1:]:
        machine.handle(event)
    assert machine.free_slots == 1
    assert "Examine" in kinds(machine.handle(second))


def test_the_same_lease_again_is_answered_and_not_begun_again() -> None:
    machine = fed((LEASE,))
    assert kinds(machine.handle(LEASE)) == ["Send"]
    for event in TO_SEALED[1:]:
        machine.handle(event)
    assert isinstance(sent(machine.handle(LEASE))[0], Seal)


@pytest.mark.parametrize(("index", "round_"), [(-1, 0), (2**256, 0), (0, -1), (0, 2**31)])
def test_a_lease_with_numbers_that_cannot_be_is_refused_and_not_stored(index: int, round_: int) -> None:
    machine = fed(())
    assert kinds(machine.handle(replace(LEASE, index=index, round=round_))) == ["Send"]
    assert machine.held == ()


def test_a_new_lease_of_a_task_being_computed_takes_over_its_name_and_round() -> None:
    machine = fed((LEASE, APPROVED))
    assert "Examine" not in kinds(machine.handle(replace(LEASE, lease_id="l2", round=3)))
    assert (record(machine).lease_id, record(machine).round) == ("l2", 3)


def test_a_new_lease_of_a_sealed_task_seals_the_same_digest_for_the_new_round() -> None:
    machine = fed(TO_SEALED)
    assert ev.SignSeal(TASK) in machine.handle(replace(LEASE, lease_id="l2", round=1))
    message = sent(machine.handle(replace(SEAL_SIGNED, seal="0x" + "99" * 32)))[0]
    assert (message.lease_id, message.round, message.seal) == ("l2", 1, "0x" + "99" * 32)
    assert record(machine).digest == DIGEST


def test_a_new_lease_of_a_contributed_task_is_refused() -> None:
    machine = fed(TO_CONTRIBUTED)
    before = record(machine)
    assert isinstance(sent(machine.handle(replace(LEASE, lease_id="l2", round=1)))[0], LeaseFailed)
    assert record(machine) == before


def test_a_lease_that_names_another_deal_for_a_held_task_is_refused() -> None:
    machine = fed((LEASE,))
    assert isinstance(sent(machine.handle(replace(LEASE, deal_id="0x" + "00" * 32)))[0], LeaseFailed)
    assert record(machine).deal_id == LEASE.deal_id


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_host_failure_hands_the_lease_back_and_keeps_nothing(length: int) -> None:
    machine = fed(TO_SEALED[:length])
    instructions = machine.handle(ev.WorkFailed(TASK, "disk full " + "x" * 900))
    assert kinds(instructions)[:2] == ["Cancel", "Forget"]
    assert sent(instructions)[0].reason.startswith("disk full") and len(sent(instructions)[0].reason) == 500
    assert machine.held == () and machine.free_slots == 1


def test_work_that_ends_after_it_was_handed_back_changes_nothing() -> None:
    machine = fed((LEASE, APPROVED, ABORT))
    assert kinds(machine.handle(COMPUTED)) == ["Note"]
    assert machine.held == ()


# --- authorisation and contribution -----------------------------------------------------------------------------


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
    assert machine.handle(seen(task())) == [ev.Contribute(TASK)]
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
        assert machine.handle(seen(task())) == [ev.Contribute(TASK)]
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
    assert ev.Broadcast(TASK, Step.CONTRIBUTE) in instructions
    assert record(machine).contribution == transaction(0)


def test_a_view_older_than_the_receipt_does_not_undo_the_contribution() -> None:
    machine = fed(TO_CONTRIBUTED)
    assert machine.handle(seen(task(), UNSET, block=CONTRIBUTION_MINED.block - 1)) == []
    assert record(machine).phase is Phase.CONTRIBUTED


# --- reveal and opening -----------------------------------------------------------------------------------------


def test_a_reveal_notice_alone_reveals_nothing() -> None:
    machine = fed(TO_CONTRIBUTED)
    assert machine.handle(RevealNotice(TASK)) == [ev.LookAtChain(TASK)]
    assert "Reveal" not in kinds(machine.handle(seen(task(), CONTRIBUTED, block=12)))


def test_the_worker_reveals_by_its_own_look_at_the_chain_without_a_notice() -> None:
    assert fed(TO_CONTRIBUTED).handle(CONSENSUS) == [ev.Reveal(TASK)]


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
    assert machine.handle(seen(other, CONTRIBUTED, block=20)) == [ev.Reveal(TASK)]


def test_a_reveal_that_could_not_be_signed_is_tried_again() -> None:
    machine = fed((*TO_CONTRIBUTED, CONSENSUS))
    assert machine.handle(CONSENSUS) == []
    machine.handle(ev.RevealRefused(TASK, "chain down"))
    assert machine.handle(CONSENSUS) == [ev.Reveal(TASK)]


def test_a_lost_reveal_is_signed_again_however_often() -> None:
    machine = fed((*TO_CONTRIBUTED, CONSENSUS))
    for nonce in range(6):
        machine.handle(ev.TransactionSigned(TASK, Step.REVEAL, transaction(nonce, "reveal")))
        machine.handle(ev.TransactionLost(TASK, Step.REVEAL, "nonce too low"))
        assert machine.handle(CONSENSUS) == [ev.Reveal(TASK)]


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
    assert ev.Broadcast(TASK, Step.REVEAL) in instructions


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


# --- upload, end ------------------------------------------------------------------------------------------------


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
    assert ev.Upload(TASK) in machine.handle(view)
    assert "Upload" not in kinds(machine.handle(view))
    machine.handle(ev.UploadFailed(TASK, "storage down"))
    assert ev.Upload(TASK) in machine.handle(view)
    machine.handle(ev.Uploaded(TASK, "bafy"))
    assert "Upload" not in kinds(machine.handle(view))
    machine.handle(UPLOAD_REQUEST)
    assert ev.Upload(TASK) in machine.handle(seen(task(TaskStatus.COMPLETED), PROVED, block=15))


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


# --- connection, restart, stop ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "message"),
    [(TO_SEALED, Seal), (TO_CONTRIBUTED, Contributed), (TO_REVEALED, Revealed), (TO_SEALED[:2], None)],
)
def test_a_new_connection_tells_what_is_held_and_what_may_have_been_missed(
    events: tuple[ev.Event, ...], message: type[Any] | None
) -> None:
    machine = fed((*events, ev.PoolDisconnected()))
    ready, *rest = sent(machine.handle(ev.PoolConnected()))
    assert isinstance(ready, Ready)
    assert [(held.lease_id, held.task_id) for held in ready.held] == [("l1", TASK)]
    assert [type(one) for one in rest] == ([message] if message else [])


def test_the_chain_is_served_while_the_pool_is_away() -> None:
    machine = fed((*TO_CONTRIBUTED, ev.PoolDisconnected()))
    assert machine.handle(CONSENSUS) == [ev.Reveal(TASK)]


@pytest.mark.parametrize(
    ("events", "instruction"),
    [
        (TO_SEALED[:1], ev.Examine(TASK)),
        (TO_SEALED[:2], ev.Examine(TASK)),
        (TO_SEALED[:3], ev.Examine(TASK)),
        (TO_SEALED[:4], ev.Examine(TASK)),
        (TO_SEALED, ev.LookAtChain(TASK)),
        ((*TO_SEALED, AUTHORISATION), ev.LookAtChain(TASK)),
        (TO_CONTRIBUTING, ev.Broadcast(TASK, Step.CONTRIBUTE)),
        (TO_CONTRIBUTED, ev.LookAtChain(TASK)),
        (TO_REVEALING, ev.Broadcast(TASK, Step.REVEAL)),
        (TO_REVEALED, ev.LookAtChain(TASK)),
        (
            (*TO_REVEALED, UPLOAD_REQUEST, seen(task(TaskStatus.REVEALING), PROVED, block=14)),
            ev.LookAtChain(TASK),
        ),
    ],
)
def test_a_restart_goes_on_where_the_stored_record_was(
    events: tuple[ev.Event, ...], instruction: ev.Instruction
) -> None:
    stored = record(fed(events))
    machine = WorkerMachine()
    assert instruction in machine.handle(ev.Restored((stored,)))
    kept = record(machine)
    assert (kept.digest, kept.salt, kept.contribution, kept.reveal) == (
        stored.digest,
        stored.salt,
        stored.contribution,
        stored.reveal,
    )


def test_after_a_restart_an_authorised_task_contributes_and_an_interrupted_upload_is_repeated() -> None:
    machine = WorkerMachine()
    machine.handle(ev.Restored((record(fed((*TO_SEALED, AUTHORISATION))),)))
    assert machine.handle(seen(task())) == [ev.Contribute(TASK)]
    uploading = fed((*TO_REVEALED, UPLOAD_REQUEST, seen(task(TaskStatus.REVEALING), PROVED, block=14)))
    machine = WorkerMachine()
    machine.handle(ev.Restored((record(uploading),)))
    assert ev.Upload(TASK) in machine.handle(seen(task(TaskStatus.REVEALING), PROVED, block=14))


def test_stopping_hands_back_what_is_not_sealed_and_keeps_the_rest() -> None:
    other = replace(LEASE, lease_id="l2", task_id="0x" + "7b" * 32)
    machine = fed((*TO_SEALED, other))
    instructions = machine.handle(ev.Stopping())
    assert [(message.lease_id, type(message)) for message in sent(instructions)] == [("l2", LeaseFailed)]
    assert [held.lease_id for held in machine.held] == ["l1"]
    assert machine.free_slots == 0
    third = replace(LEASE, lease_id="l3", task_id="0x" + "7c" * 32)
    assert isinstance(sent(machine.handle(third))[0], LeaseFailed)


def test_stakes_of_tasks_not_yet_contributed_are_reserved() -> None:
    assert fed(TO_SEALED).reserved_stake("0x") == APPROVED.worker_stake
    assert fed(TO_SEALED).reserved_stake(TASK) == 0
    assert fed(TO_CONTRIBUTED).reserved_stake("0x") == 0


# --- the table --------------------------------------------------------------------------------------------------


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


def test_a_contribution_by_another_process_with_the_same_key_is_not_taken_for_ones_own() -> None:
    machine = fed(TO_SEALED)
    machine.handle(seen(task(), mine(ContributionStatus.CONTRIBUTED)))
    assert record(machine).phase is Phase.SEALED
