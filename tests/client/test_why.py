"""Why a task has no result: sentences from facts, and the facts from a chain and a pool."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairgrid.client.journal import DealRecord
from fairgrid.client.ledger import Bag, SettledRun
from fairgrid.client.why import Facts, PoolState, Why, explain
from fairgrid.pool.client import OwnerWeight, PoolRoom, ReplicaView, StoryEntry, TaskView, TrustListing
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.views import Deal, Resource, Task, TaskStatus

DEAL_ID, TASK_ID = "0x" + "ab" * 32, "0x" + "cd" * 32
START, TIMEREF = 1_000_000, 300
CONTRIBUTIONS, FINAL = START + 7 * TIMEREF, START + 10 * TIMEREF
RECORD = DealRecord(DEAL_ID, (TASK_ID,), "bafy", "job.py", trust=8, price=500, match_tx="0x", match_raw="0x")
DEAL = Deal(
    app=Resource(ZERO_ADDRESS, ZERO_ADDRESS, 1),
    dataset=Resource(ZERO_ADDRESS, ZERO_ADDRESS, 0),
    workerpool=Resource(ZERO_ADDRESS, ZERO_ADDRESS, 499),
    trust=8,
    category=0,
    tag=ZERO32,
    requester=ZERO_ADDRESS,
    beneficiary=ZERO_ADDRESS,
    callback=ZERO_ADDRESS,
    params="",
    start_time=START,
    bot_first=0,
    bot_size=1,
    worker_stake=0,
    scheduler_reward_ratio=0,
    sponsor=ZERO_ADDRESS,
)
TASK = Task(
    TaskStatus.ACTIVE, DEAL_ID, 0, TIMEREF, CONTRIBUTIONS, START + 900, FINAL, ZERO32, 0, 0, (), ZERO32, b"", 0, b""
)
VIEW = TaskView(TASK_ID, DEAL_ID, 0, "sealing", 0, 8, CONTRIBUTIONS, FINAL, 0.0, 0.0, (), "", "")
OWNERS = tuple(OwnerWeight(f"0x{number:040x}", 2, 0) for number in range(3))
ROOM = PoolRoom(True, "", 0, 4, 61.7)
FACTS = Facts(
    record=RECORD,
    index=0,
    task_id=TASK_ID,
    now=START + 100,
    deal=DEAL,
    task=TASK,
    timeref=TIMEREF,
    pool=PoolState.ANSWERS,
    view=VIEW,
    story=(StoryEntry(1, 0.0, "a round\x1b[31m was opened", ""),),
    trust=TrustListing(OWNERS, 16),
    room=ROOM,
)


def told(**change: object) -> Why:
    return explain(replace(FACTS, **change))  # type: ignore[arg-type]


def test_deal_that_is_not_on_chain_costs_nothing_and_can_be_sent_again() -> None:
    why = told(deal=None, task=None)
    assert (why.state, why.locked_nrlc, why.command) == ("signed", 0, f"fairgrid result {DEAL_ID[:12]}")
    assert "Nothing is locked" in why.money and "cannot be paid twice" in why.next[0].text


def test_task_that_nobody_took_yet_waits_and_tells_the_queue_and_both_deadlines() -> None:
    why = told(task=replace(TASK, status=TaskStatus.UNSET), view=replace(VIEW, phase="received"))
    assert (why.state, why.locked_nrlc) == ("waiting", 500)
    assert "The pool is full for this trust: 4 task(s) wait, the oldest for 62 s." in " ".join(why.reasons)
    assert [step.at for step in why.next] == [CONTRIBUTIONS, FINAL]
    assert "come back to your account" in why.money


def test_pool_with_room_begins_soon() -> None:
    assert "room for 3 task(s)" in " ".join(told(room=replace(ROOM, room=3)).reasons)


@pytest.mark.parametrize(
    "phase", ["accepted", "downloading", "computing", "leased", "sealed", "contributing", "contributed", "auditing"]
)
def test_task_with_a_worker_at_it_runs(phase: str) -> None:
    why = told(view=replace(VIEW, replicas=(ReplicaView("1", phase),)))
    assert why.state == "running" and "being computed" in why.summary
    assert not any("full for this trust" in reason for reason in why.reasons)


def test_what_workers_do_before_their_seals_is_said_and_what_one_says_of_its_progress() -> None:
    replicas = (ReplicaView("1", "downloading"), ReplicaView("2", "computing"), ReplicaView("3", "downloading"))
    reasons = told(view=replace(VIEW, replicas=replicas), said="[...]   0 %  compiling its \x1b[31mprogram").reasons
    assert "2 worker(s): fetches what the task needs, and compiles a program that is new to it." in reasons
    assert "1 worker(s): computes." in reasons
    (said,) = (reason for reason in reasons if reason.startswith("Its worker says: "))
    assert "compiling its" in said and "\x1b" not in said


@pytest.mark.parametrize("phase", ["lost", "declined", "late", "given_up", "banned"])
def test_task_whose_workers_are_gone_waits(phase: str) -> None:
    assert told(view=replace(VIEW, replicas=(ReplicaView("1", phase),))).state == "waiting"


def test_owners_that_do_not_reach_the_trust_are_said_with_their_number() -> None:
    reasons = " ".join(told(trust=TrustListing(OWNERS[:2], 4)).reasons)
    assert "The 2 owner(s) that are connected to the pool reach trust 4 if all agree; the task wants 8." in reasons
    assert "No worker is connected" in " ".join(
        told(record=replace(RECORD, trust=1), trust=TrustListing((), 0)).reasons
    )
    assert not any("reach trust" in reason for reason in told(trust=TrustListing(OWNERS, 8)).reasons)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pool": PoolState.SILENT, "view": None, "pool_error": "refused"}, "The pool does not answer (refused)."),
        ({"pool": PoolState.UNKNOWN, "view": None}, "The pool has not seen the deal yet."),
        ({"room": PoolRoom(False, "you are not in its group", 0, 0, 0.0)}, "does not serve you: you are not in its"),
    ],
)
def test_trouble_with_the_pool_is_said_first_and_the_money_is_safe(change: dict[str, object], said: str) -> None:
    why = told(**change)
    assert said in why.reasons[0] and why.locked_nrlc == 500


def test_what_the_pool_told_last_is_shown_without_its_terminal_escapes() -> None:
    assert "The last thing that happened: a round" in told().reasons[-1] and "\x1b" not in told().reasons[-1]


def test_consensus_is_brought_in_until_the_reveal_deadline() -> None:
    why = told(task=replace(TASK, status=TaskStatus.REVEALING), view=replace(VIEW, phase="revealing"))
    assert why.state == "running" and [step.at for step in why.next] == [START + 900, FINAL]


def test_after_the_contribution_deadline_only_the_refund_is_left() -> None:
    assert "too late" not in told(now=CONTRIBUTIONS - 1).summary
    why = told(now=CONTRIBUTIONS)
    assert "too late for results" in why.summary and [step.at for step in why.next] == [FINAL]


def test_after_the_final_deadline_the_refund_can_be_claimed() -> None:
    assert told(now=FINAL - 1).state != "overdue"
    why = told(now=FINAL)
    assert (why.state, why.locked_nrlc, why.command) == ("overdue", 500, f"fairgrid claim {DEAL_ID[:12]}")


def test_task_that_has_ended_locks_nothing() -> None:
    done = told(task=replace(TASK, status=TaskStatus.COMPLETED), now=FINAL + 1)
    assert (done.state, done.locked_nrlc) == ("done", 0) and "500 nRLC was paid" in done.money
    failed = told(task=replace(TASK, status=TaskStatus.FAILED), now=FINAL + 1)
    assert (failed.state, failed.locked_nrlc) == ("refunded", 0) and "500 nRLC are back" in failed.money


@pytest.mark.parametrize(("index", "state"), [(0, "done"), (2, "refunded"), (3, "running"), (4, "done")])
def test_task_of_a_run_is_what_its_run_is(index: int, state: str) -> None:
    run = SettledRun(ZERO32, 0, 2, ZERO32, b"", ())
    bag = Bag(5, (run,), (4,), (2,), ((ZERO32, 3, 1),))
    record = replace(RECORD, batch=True, tasks=5, price=2_500)
    why = told(record=record, index=index, bag=bag, task=replace(TASK, status=TaskStatus.UNSET))
    assert (why.state, why.locked_nrlc) == (state, 500 if state == "running" else 0)


def test_trust_1_is_told_how_to_watch_and_more_how_to_wait() -> None:
    assert told(record=replace(RECORD, trust=1)).command.startswith("fairgrid task logs -f")
    assert told().command.startswith("fairgrid result")
