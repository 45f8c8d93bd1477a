"""A pool that was started or restored reads the chain's past first: until then nothing is given out or judged."""

from __future__ import annotations

from fairgrid.pool.administration.task_why import why_task
from fairgrid.pool.core.events import (
    ChainRead,
    ChainReconciled,
    Held,
    RunOpened,
    TaskInitialized,
    TaskSettledAtOnce,
)
from fairgrid.pool.core.instructions import Claim, Initialize, OpenRun, SendAbort, SendDone, SendLease
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.task_facts import ChainFacts, SeenContribution
from fairgrid.pool.core.why import why
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import digest_of, honest
from tests.pool.support import TIMEREF, World


def reading(behind: int = 5_000) -> World:
    world = World(honest(1))
    world.feed(ChainRead(behind))
    return world


def test_until_the_past_is_read_no_task_begins_and_no_run_is_opened() -> None:
    world = reading()
    world.deal(1)
    world.deal(4, bot_size=9, lane=True, name="bag")
    world.run()
    world.tick(40)
    world.feed(ChainRead(10))
    world.tick(40)
    assert not world.given(Initialize) and not world.given(OpenRun) and not world.given(SendLease)
    world.feed(ChainRead(0))
    world.tick(1)
    assert len(world.given(Initialize)) == 1 and len(world.given(OpenRun)) == 1
    world.run()
    assert world.given(SendLease)


def test_a_task_of_the_past_that_turns_out_to_be_over_is_never_given_out() -> None:
    world = reading()
    task = world.deal(1)
    world.tick(20 * TIMEREF)  # Its deadlines are long past, too.
    world.feed(TaskInitialized(task))
    value, digest = result_hash(task, digest_of("right")), digest_of("right")
    world.feed(TaskSettledAtOnce(task, "0x" + "99" * 20, value, digest))
    assert world.machine.tasks[task].phase is Phase.COMPLETED
    world.feed(ChainRead(0))
    world.tick(1)
    world.run()
    assert not world.given(Initialize) and not world.given(SendLease) and not world.given(Claim)


def test_a_run_of_the_past_is_known_by_its_opening_and_the_next_begins_behind_it() -> None:
    world = reading()
    deal = world.deals[world.deal(4, bot_size=20, lane=True)].deal_id
    world.feed(RunOpened(run_id(deal, 0, 7), deal, 0, 7))
    world.cursors[deal] = 7
    world.feed(ChainRead(0))
    world.tick(1)
    assert [(opening.index) for opening in world.given(OpenRun)] in ([], [7])
    assert {task.index for task in world.machine.tasks.values()} <= {0, 7}
    assert world.machine.tasks[run_id(deal, 0, 7)].phase is Phase.SEALING


def test_a_task_that_is_active_waits_for_its_lease_and_gets_it_when_the_past_is_read() -> None:
    world = World([])
    task = world.deal(1)
    world.run()
    world.feed(ChainRead(7))
    (worker,) = honest(1)
    world.fakes[worker.address] = worker
    world.join(worker)
    world.tick(1)
    assert not world.given(SendLease)
    state = world.machine.tasks[task]
    told = why(world.machine.workers[worker.address], world.machine.tasks.values(), behind=world.machine.book.behind)
    assert (told.reasons[0].rule, told.reasons[0].allowed) == ("chain_read", False)
    assert "7 block(s)" in told.reasons[0].text
    answer = why_task(world.machine.book, state, begun=True, chain_silence_s=0, transactions_left=None)
    assert answer.waits_for == "the pool to have read the chain's past"
    assert [rule.rule for rule in answer.rules if not rule.allowed][:1] == ["chain_read"]
    world.feed(ChainRead(0))
    assert [sent.task_id for sent in world.given(SendLease)] == [task]
    answer = why_task(world.machine.book, state, begun=True, chain_silence_s=0, transactions_left=None)
    assert "chain_read" not in [rule.rule for rule in answer.rules]


def test_a_lease_that_a_worker_holds_is_judged_only_when_the_past_is_read() -> None:
    world = reading()
    (worker,) = world.fakes.values()
    task = world.deal(4)
    world.join(worker, held=(Held("old", task, "contributing"), Held("older", "0x" + "77" * 32, "sealed")))
    world.run()
    assert not world.given(SendAbort) and not world.given(SendDone)
    world.feed(ChainRead(1))
    world.feed(ChainRead(0))
    assert [abort.lease_id for abort in world.given(SendAbort)] == ["old", "older"]


def test_a_contributor_whose_task_is_read_meanwhile_keeps_its_lease() -> None:
    world = World([])
    task = world.deal(4)
    world.run()
    world.feed(ChainRead(3))
    (worker,) = honest(1)
    world.fakes[worker.address] = worker
    world.join(worker, held=(Held("old", task, "contributing"),))
    value = result_hash(task, digest_of("right"))
    facts = ChainFacts(TaskStatus.ACTIVE, contributions=(SeenContribution(worker.address, value, 2),))
    world.chain[task] = facts
    world.feed(ChainReconciled(task, facts))
    world.feed(ChainRead(0))
    assert not world.given(SendAbort)
    (replica,) = world.machine.tasks[task].replicas
    assert (replica.lease_id, replica.phase) == ("old", ReplicaPhase.CONTRIBUTED)


def test_what_is_overdue_is_claimed_after_the_past_is_read() -> None:
    world = World([])
    world.deal(1)
    world.run()
    world.feed(ChainRead(3))
    late = world.deals[world.deal(4, bot_size=3, lane=True, name="bag")]
    world.tick(10 * TIMEREF + 1)
    assert run_id(late.deal_id, 0, 3) not in world.machine.tasks
    world.feed(ChainRead(0))
    for _ in range(5):
        world.run()
        world.tick(1)
    assert len(world.given(Claim)) == 1
