"""A task that is over is kept for a while: a reorganisation may take its end back."""

from __future__ import annotations

import pytest

from fairgrid.protocol.pool_messages import Abort, OpeningRequest, TaskDone, UploadRequest
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import Opening, Ready
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.held import Phase, Step
from fairgrid.worker.core.machine import KEEP_BLOCKS, WorkerMachine
from tests.worker.machine_kit import (
    CONTRIBUTED,
    DIGEST,
    LEASE,
    PROVED,
    REVEAL_DEADLINE,
    SALT,
    TASK,
    TO_CONTRIBUTED,
    TO_CONTRIBUTING,
    TO_REVEALED,
    TO_REVEALING,
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

ENDED = 15
UPLOAD_REQUEST = UploadRequest("l1", TASK)
OVER = seen(task(TaskStatus.COMPLETED), PROVED, block=ENDED)
UPLOADED: tuple[ev.Event, ...] = (
    *TO_REVEALED,
    UPLOAD_REQUEST,
    seen(task(TaskStatus.REVEALING), PROVED, block=14),
    ev.Uploaded(TASK, "bafy"),
)


def kept(*more: ev.Event, before: tuple[ev.Event, ...] = UPLOADED) -> WorkerMachine:
    machine = fed((*before, TaskDone(TASK), OVER, *more))
    assert machine.held == () and len(machine.kept) == 1
    return machine


def test_it_is_let_go_after_64_blocks_and_not_before() -> None:
    assert KEEP_BLOCKS == 64
    machine = kept()
    assert machine.handle(ev.HeadSeen(ENDED + 63, rewritten=False)) == []
    assert kinds(machine.handle(ev.HeadSeen(ENDED + 64, rewritten=False))) == ["Drop"]
    assert machine.kept == ()


def test_without_a_depth_it_is_forgotten_at_once() -> None:
    machine = fed((*UPLOADED, TaskDone(TASK)), keep_blocks=0)
    assert kinds(machine.handle(OVER)) == ["Forget"]


def test_it_takes_no_slot_no_stake_and_is_not_in_heartbeats() -> None:
    machine = kept()
    assert (machine.free_slots, machine.leases(), machine.reserved_stake("")) == (1, (), 0)
    assert sent(machine.handle(ev.PoolConnected())) == [Ready(held=(), free_slots=1)]


def test_a_rewritten_chain_is_looked_at_even_when_the_depth_is_reached() -> None:
    assert machine_kinds(kept(), ev.HeadSeen(ENDED + 64, rewritten=True)) == ["Save", "LookAtChain"]


def machine_kinds(machine: WorkerMachine, event: ev.Event) -> list[str]:
    return kinds(machine.handle(event))


def test_it_is_kept_for_as_long_again_when_its_end_may_be_in_another_block() -> None:
    machine = kept(ev.HeadSeen(ENDED + 10, rewritten=True), seen(task(TaskStatus.COMPLETED), PROVED, block=ENDED + 10))
    assert machine_kinds(machine, ev.HeadSeen(ENDED + 73, rewritten=False)) == []
    assert machine_kinds(machine, ev.HeadSeen(ENDED + 74, rewritten=False)) == ["Drop"]


@pytest.mark.parametrize("before", [TO_REVEALED, UPLOADED], ids=["revealed", "uploaded"])
def test_a_reveal_that_the_chain_undid_is_sent_again(before: tuple[ev.Event, ...]) -> None:
    machine = kept(before=before)
    instructions = machine.handle(seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=ENDED))
    assert only(instructions, to_do.TakeUp) and only(instructions, to_do.Broadcast) == [
        to_do.Broadcast(TASK, Step.REVEAL)
    ]
    assert record(machine).phase is Phase.REVEALING and machine.kept == ()


def test_a_contribution_that_the_chain_undid_is_sent_again_and_then_revealed_anew() -> None:
    machine = kept()
    machine.handle(seen(task(), UNSET, block=ENDED))
    assert record(machine).phase is Phase.CONTRIBUTED
    instructions = machine.handle(seen(task(), UNSET, block=ENDED))
    assert only(instructions, to_do.Broadcast) == [to_do.Broadcast(TASK, Step.CONTRIBUTE)]
    machine.handle(ev.TransactionMined(TASK, Step.CONTRIBUTE, transaction(0).hash, ENDED + 1, True))
    instructions = machine.handle(seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=ENDED + 2))
    assert only(instructions, to_do.Reveal) == [to_do.Reveal(TASK)]


UNDER_WAY = pytest.mark.parametrize(
    ("before", "step", "back"),
    [
        (TO_CONTRIBUTING, Step.CONTRIBUTE, seen(task(), UNSET, block=ENDED)),
        (TO_REVEALING, Step.REVEAL, seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=ENDED)),
    ],
    ids=["contribute", "reveal"],
)
"""A task that was over before its transaction was seen mined, and the chain when it is over no more."""


@UNDER_WAY
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_transaction_that_was_under_way_at_the_end_is_sent_again(
    before: tuple[ev.Event, ...], step: Step, back: ev.ChainSeen, restarted: bool
) -> None:
    machine = kept(ev.TransactionMined(TASK, step, transaction().hash, ENDED, True), before=before)
    if restarted:
        (stored,) = machine.kept
        machine = fed((ev.Restored((stored,)),))
    assert kinds(machine.handle(back)) == ["TakeUp", "Save", "Broadcast"]
    assert machine.handle(back) == [], "it is under way again"
    mined = machine.handle(ev.TransactionMined(TASK, step, transaction().hash, ENDED + 1, True))
    assert to_do.LookAtChain(TASK) in mined
    assert record(machine).phase is (Phase.CONTRIBUTED if step is Step.CONTRIBUTE else Phase.REVEALED)


@UNDER_WAY
def test_it_is_sent_again_when_the_pool_asks_first(
    before: tuple[ev.Event, ...], step: Step, back: ev.ChainSeen
) -> None:
    machine = kept(before=before)
    assert not only(machine.handle(OpeningRequest("l1", TASK)), to_do.Broadcast), "the chain is looked at first"
    assert only(machine.handle(back), to_do.Broadcast) == [to_do.Broadcast(TASK, step)]


@pytest.mark.parametrize(
    "back",
    [
        seen(task(TaskStatus.REVEALING, consensus_value=DIGEST), CONTRIBUTED, block=ENDED),
        seen(task(TaskStatus.REVEALING), UNSET, block=ENDED),
        seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=ENDED, time=REVEAL_DEADLINE),
    ],
    ids=["another consensus", "no contribution", "too late"],
)
def test_a_reveal_that_the_hub_would_refuse_is_not_sent_again(back: ev.ChainSeen) -> None:
    assert not only(kept(before=TO_REVEALING).handle(back), to_do.Broadcast)


def test_a_contribution_that_the_hub_would_refuse_is_not_sent_again() -> None:
    back = seen(task(TaskStatus.REVEALING), UNSET, block=ENDED)
    assert not only(kept(before=TO_CONTRIBUTING).handle(back), to_do.Broadcast)


def test_a_consensus_that_came_back_is_awaited_as_deep_as_the_first() -> None:
    machine = fed((*TO_CONTRIBUTED,), confirmations=2)
    for block in (12, 14):
        machine.handle(seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=block))
    machine.handle(TaskDone(TASK))
    for block in (ENDED, ENDED + 2):
        machine.handle(seen(task(TaskStatus.COMPLETED), CONTRIBUTED, block=block))
    assert len(machine.kept) == 1
    back = [machine.handle(seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=ENDED + block)) for block in range(3, 6)]
    assert [bool(only(instructions, to_do.Reveal)) for instructions in back] == [False, False, True]


def test_an_upload_is_asked_for_again_and_done_again() -> None:
    machine = kept()
    assert kinds(machine.handle(UPLOAD_REQUEST)) == ["TakeUp", "Save", "LookAtChain"]
    assert only(machine.handle(seen(task(TaskStatus.REVEALING), PROVED, block=ENDED)), to_do.Upload) == [
        to_do.Upload(TASK)
    ]


def test_a_seal_is_opened_again() -> None:
    machine = kept()
    machine.handle(OpeningRequest("l1", TASK))
    opened = sent(machine.handle(seen(task(TaskStatus.REVEALING), PROVED, block=ENDED)))
    assert opened == [Opening("l1", TASK, digest=DIGEST, salt=SALT)]


def test_it_is_over_again_without_another_word_of_the_pool() -> None:
    machine = kept()
    machine.handle(seen(task(TaskStatus.REVEALING), PROVED, block=ENDED))
    assert machine.held
    assert kinds(machine.handle(seen(task(TaskStatus.COMPLETED), PROVED, block=ENDED + 3))) == ["Retire"]


@pytest.mark.parametrize("message", [TaskDone(TASK), Abort("l1", TASK, "late")])
def test_a_late_word_that_it_is_done_changes_nothing(message: TaskDone | Abort) -> None:
    machine = kept()
    assert kinds(machine.handle(message)) == ["Note"]
    assert len(machine.kept) == 1


def test_it_is_leased_again_with_what_it_knows() -> None:
    machine = kept()
    instructions = machine.handle(LEASE)
    assert kinds(instructions)[0] == "TakeUp" and record(machine).digest == DIGEST
    assert not only(instructions, to_do.Examine), "nothing is computed again"


def test_another_end_than_the_first_is_stored_as_the_end() -> None:
    machine = kept()
    machine.handle(seen(task(TaskStatus.FAILED), mine(), block=ENDED + 1))
    assert [record.outcome for record in machine.kept] == ["failed"]


def test_a_task_that_the_chain_does_not_know_any_more_is_forgotten_64_blocks_later() -> None:
    machine = fed((*UPLOADED, TaskDone(TASK)))
    unknown = task(TaskStatus.UNSET)
    assert machine.handle(seen(unknown, UNSET, block=ENDED)) == []
    assert machine.handle(seen(unknown, UNSET, block=ENDED + 63)) == []
    assert kinds(machine.handle(seen(unknown, UNSET, block=ENDED + 64))) == ["Forget"]


def test_a_restart_keeps_what_was_kept_and_takes_it_up_as_before() -> None:
    (stored,) = kept().kept
    machine = fed(())
    assert machine.handle(ev.Restored((stored,))) == [to_do.LookAtChain(TASK)], "nobody watched while it was away"
    assert machine.held == () and machine.kept == (stored,)
    assert kinds(machine.handle(ev.HeadSeen(ENDED + 1, rewritten=True))) == ["Save", "LookAtChain"]
    back = machine.handle(seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=ENDED))
    assert to_do.Broadcast(TASK, Step.REVEAL) in back
