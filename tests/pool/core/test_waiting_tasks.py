"""The scheduler and tasks that read the results of others: they begin when these are there, or are refunded."""

from __future__ import annotations

from msgspec.structs import replace

from fairgrid.pool.core.events import DealMatched, DealUndone, DependenciesMet, DependencyFailed
from fairgrid.pool.core.instructions import AwaitDependencies, Claim, Initialize, OpenRun, RefundRest, SendLease
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol.ids import task_id
from tests.pool.fakes import Fake
from tests.pool.support import IDENTITY, TIMEREF, World

OTHER = "0x" + "12" * 32


def ids(world: World, first: str, count: int) -> list[str]:
    deal_id = world.deals[first].deal_id
    return [task_id(deal_id, index) for index in range(count)]


def test_waiting_task_costs_no_gas_and_no_worker_until_the_results_are_there() -> None:
    world = World([Fake("ann", "owner")])
    task = world.deal(1, waits=True)
    world.run()
    world.tick(30)
    assert world.given(Initialize) == []
    assert [awaited.task_id for awaited in world.awaited] == [task]
    world.feed(DependenciesMet(task))
    world.run()
    assert world.machine.tasks[task].phase is Phase.COMPLETED
    world.feed(DependenciesMet(task))
    assert len(world.given(Initialize)) == 1


def test_task_that_waits_for_nothing_is_not_asked_after() -> None:
    world = World([Fake("ann", "owner")])
    world.deal(1)
    world.run()
    assert world.awaited == []


def test_task_whose_dependency_was_refunded_is_abandoned_with_the_reason_and_refunded_itself() -> None:
    world = World([Fake("ann", "owner")])
    task = world.deal(1, waits=True)
    world.feed(DependencyFailed(task, OTHER))
    world.run()
    assert world.machine.tasks[task].phase is Phase.ABANDONED
    assert any(f"Task {OTHER}, whose result it reads, was refunded." in line.text for line in world.machine.story(task))
    world.tick(10 * TIMEREF + 1)
    world.run()
    assert world.machine.tasks[task].phase is Phase.FAILED
    assert len(world.given(Claim)) == 1


def test_task_whose_deal_a_reorganisation_took_back_waits_again_when_the_deal_is_back() -> None:
    world = World([Fake("ann", "owner")])
    task = world.deal(1, waits=True)
    deal = world.deals[task]
    world.feed(DealUndone(deal.deal_id))
    world.run()
    assert world.machine.tasks[task].phase is Phase.ABANDONED
    world.feed(DealMatched(replace(deal, start_time=deal.start_time + 7), 0, 1))
    world.run()
    assert world.given(Initialize) == []
    assert [awaited.task_id for awaited in world.awaited] == [task, task]
    world.feed(DependenciesMet(task))
    world.run()
    assert world.machine.tasks[task].phase is Phase.COMPLETED


def test_task_that_waits_past_its_deadline_is_refunded() -> None:
    world = World([Fake("ann", "owner")])
    task = world.deal(1, waits=True)
    world.tick(10 * TIMEREF + 1)
    world.run()
    assert world.machine.tasks[task].phase is Phase.FAILED
    assert not world.machine.tasks[task].waiting


def test_so_many_wait_at_once_and_the_next_begin_when_these_go_on() -> None:
    world = World([Fake("ann", "owner")], Policy(max_waiting_tasks=3))
    first = world.deal(1, bot_size=5, waits=True)
    tasks = ids(world, first, 5)
    other = world.deal(1, name="other")
    world.run()
    assert world.machine.tasks[other].phase is Phase.COMPLETED
    assert [awaited.task_id for awaited in world.awaited] == tasks[:3]
    world.feed(DependenciesMet(tasks[0]))
    world.run()
    assert [awaited.task_id for awaited in world.awaited] == tasks[:4]
    world.feed(DependencyFailed(tasks[1], OTHER))
    world.run()
    assert [awaited.task_id for awaited in world.awaited] == tasks
    for task in tasks[2:]:
        world.feed(DependenciesMet(task))
    world.run()
    assert [world.machine.tasks[task].phase.value for task in tasks] == [
        "completed", "abandoned", "completed", "completed", "completed"
    ]  # fmt: skip


def test_after_a_restart_it_is_asked_again_for_each_waiting_task() -> None:
    world = World([Fake("ann", "owner")])
    task = world.deal(1, waits=True)
    machine = PoolMachine(IDENTITY, world.policy)
    outcome = machine.restore(world.machine.tasks.values(), (), in_flight=(), now=world.now)
    assert AwaitDependencies(task, world.deals[task].deal_id, 0) in outcome.instructions


def test_a_run_waits_as_well_and_is_opened_when_the_results_of_all_its_tasks_are_there() -> None:
    world = World([Fake("ann", "owner")])
    world.deal(1, bot_size=3, lane=True, waits=True)
    world.run()
    world.tick(30)
    (awaited,) = world.awaited
    assert (awaited.index, awaited.count) == (0, 3)
    assert world.given(OpenRun) == [] and world.given(SendLease) == []
    world.feed(DependenciesMet(awaited.task_id))
    world.run()
    assert world.machine.tasks[awaited.task_id].phase is Phase.COMPLETED


def test_a_run_whose_results_never_come_is_refunded_with_the_rest_of_its_deal() -> None:
    world = World([Fake("ann", "owner")])
    first = world.deal(1, bot_size=3, lane=True, waits=True)
    world.run()
    world.feed(DependencyFailed(world.awaited[0].task_id, OTHER))
    world.run()
    assert world.given(OpenRun) == []
    world.tick(11 * TIMEREF)
    world.run()
    world.tick(1)
    world.run()
    assert [sent.task_id for sent in world.given(RefundRest)] == [world.deals[first].deal_id]
