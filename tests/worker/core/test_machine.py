"""Events in, instructions out: a task from lease to upload, its slots, a restart and a stop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import (
    Contributed,
    LeaseFailed,
    Ready,
    Revealed,
    Seal,
    Uploaded,
)
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.held import Phase, Step
from fairgrid.worker.core.machine import WorkerMachine
from tests.worker.machine_kit import (
    ABORT,
    APPROVED,
    AUTHORISATION,
    COMPUTED,
    CONSENSUS,
    CONTRIBUTED,
    CONTRIBUTION_MINED,
    CONTRIBUTION_SIGNED,
    DIGEST,
    DONE,
    LEASE,
    OPENING_REQUEST,
    PROVED,
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
    UPLOAD_REQUEST,
    fed,
    kinds,
    only,
    record,
    seen,
    sent,
    task,
    transaction,
)


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
    assert only(machine.handle(CONSENSUS), to_do.Reveal) == [to_do.Reveal(TASK)]
    assert kinds(machine.handle(REVEAL_SIGNED)) == ["Save", "Send", "Broadcast"]
    assert sent(machine.handle(REVEAL_MINED)) == [Revealed("l1", TASK, transaction(1).hash)]
    assert kinds(machine.handle(UPLOAD_REQUEST)) == ["Save", "LookAtChain"]
    after_reveal = seen(task(TaskStatus.REVEALING), PROVED, block=14)
    assert to_do.Upload(TASK) in machine.handle(after_reveal)
    assert sent(machine.handle(ev.Uploaded(TASK, "bafy"))) == [Uploaded("l1", TASK, cid="bafy", callback_data="0x")]
    assert kinds(machine.handle(DONE)) == ["Save", "LookAtChain"]
    assert kinds(machine.handle(seen(task(TaskStatus.COMPLETED), PROVED, block=15))) == ["Retire"]
    assert machine.held == ()


def test_what_is_signed_is_saved_before_it_is_sent_or_told() -> None:
    machine = fed(TO_SEALED)
    assert only(machine.handle(AUTHORISATION), to_do.Save)[0].held.authorisation == AUTHORISATION.signature
    instructions = machine.handle(CONTRIBUTION_SIGNED)
    saved = only(instructions, to_do.Save)[0].held
    assert saved.contribution == transaction(0) and saved.phase is Phase.CONTRIBUTING
    assert kinds(instructions).index("Save") < kinds(instructions).index("Broadcast")


def test_no_message_before_consensus_carries_the_digest_or_the_salt() -> None:
    machine = WorkerMachine()
    messages: list[Any] = []
    for event in (ev.PoolConnected(), *TO_CONTRIBUTED, OPENING_REQUEST, seen(task(), CONTRIBUTED), ev.PoolConnected()):
        messages += sent(machine.handle(event))
    assert len(messages) > 6
    assert not any(DIGEST in str(message) or SALT in str(message) for message in messages)


def test_a_lease_beyond_the_slots_is_handed_back_and_sealing_frees_the_slot() -> None:
    machine = fed((LEASE,), slots=1)
    second = replace(LEASE, lease_id="l2", task_id="0x" + "7b" * 32)
    assert isinstance(sent(machine.handle(second))[0], LeaseFailed)
    assert len(machine.held) == 1
    for event in TO_SEALED[1:]:
        machine.handle(event)
    assert machine.free_slots == 1
    assert "Examine" in kinds(machine.handle(second))


def another(number: int, **change: Any) -> Any:
    return replace(LEASE, lease_id=f"l{number}", task_id="0x" + f"{number:02x}" * 32, **change)


def test_with_a_number_of_tasks_no_more_are_taken_and_the_pool_is_told_when_they_are_sealed() -> None:
    machine = fed((LEASE,), slots=3, tasks=2)
    assert machine.free_slots == 1, "two slots are free, and one task is left"
    machine.handle(another(2))
    assert machine.free_slots == 0
    assert isinstance(sent(machine.handle(another(3)))[0], LeaseFailed)
    for event in TO_SEALED[1:-1]:
        machine.handle(event)
    seal, heartbeat = sent(machine.handle(SEAL_SIGNED))
    assert isinstance(seal, Seal) and (heartbeat.free_slots, machine.has_done_all) == (0, False)
    assert kinds(machine.handle(ev.WorkFailed("0x" + "02" * 32, "no disk"))) != []
    assert machine.free_slots == 1, "what is handed back does not count"


def test_the_last_task_that_is_sealed_ends_the_taking_and_sealing_it_again_does_not_count_twice() -> None:
    machine = fed(TO_SEALED, tasks=2)
    machine.handle(replace(LEASE, lease_id="l9", round=1))
    machine.handle(SEAL_SIGNED)
    assert (machine.free_slots, machine.has_done_all) == (1, False)
    machine = fed(TO_SEALED, tasks=1)
    assert machine.has_done_all
    (refused,) = sent(machine.handle(another(2)))
    assert isinstance(refused, LeaseFailed) and "has done the tasks" in refused.reason


def test_a_run_counts_as_all_of_its_tasks() -> None:
    machine = fed((another(2, count=5),), slots=3, tasks=6)
    assert machine.free_slots == 1
    machine = fed((another(2, count=5),), slots=3, tasks=3)
    assert (machine.free_slots, len(machine.held)) == (0, 1), "it is taken whole"


def test_without_a_number_of_tasks_sealing_says_nothing_more() -> None:
    machine = fed(TO_SEALED[:-1])
    assert [type(message) for message in sent(machine.handle(SEAL_SIGNED))] == [Seal]
    assert not machine.has_done_all


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
    assert to_do.SignSeal(TASK) in machine.handle(replace(LEASE, lease_id="l2", round=1))
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
    assert machine.handle(CONSENSUS) == [to_do.Reveal(TASK)]


@pytest.mark.parametrize(
    ("events", "instruction"),
    [
        (TO_SEALED[:1], to_do.Examine(TASK)),
        (TO_SEALED[:2], to_do.Examine(TASK)),
        (TO_SEALED[:3], to_do.Examine(TASK)),
        (TO_SEALED[:4], to_do.Examine(TASK)),
        (TO_SEALED, to_do.LookAtChain(TASK)),
        ((*TO_SEALED, AUTHORISATION), to_do.LookAtChain(TASK)),
        (TO_CONTRIBUTING, to_do.Broadcast(TASK, Step.CONTRIBUTE)),
        (TO_CONTRIBUTED, to_do.LookAtChain(TASK)),
        (TO_REVEALING, to_do.Broadcast(TASK, Step.REVEAL)),
        (TO_REVEALED, to_do.LookAtChain(TASK)),
        (
            (*TO_REVEALED, UPLOAD_REQUEST, seen(task(TaskStatus.REVEALING), PROVED, block=14)),
            to_do.LookAtChain(TASK),
        ),
    ],
)
def test_a_restart_goes_on_where_the_stored_record_was(
    events: tuple[ev.Event, ...], instruction: to_do.Instruction
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
    assert machine.handle(seen(task())) == [to_do.Contribute(TASK)]
    uploading = fed((*TO_REVEALED, UPLOAD_REQUEST, seen(task(TaskStatus.REVEALING), PROVED, block=14)))
    machine = WorkerMachine()
    machine.handle(ev.Restored((record(uploading),)))
    assert to_do.Upload(TASK) in machine.handle(seen(task(TaskStatus.REVEALING), PROVED, block=14))


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
