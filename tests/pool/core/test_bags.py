from __future__ import annotations

import time

from msgspec.structs import replace

from fairgrid.pool.core.events import ChainReconciled, DealMatched, DealUndone
from fairgrid.pool.core.instructions import Claim, Initialize, SendLease
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import Fake, honest
from tests.pool.support import IDENTITY, TIMEREF, World


def _finish_all(world: World, rounds: int = 200) -> None:
    for _ in range(rounds):
        world.run()
        if all(facts.status in (TaskStatus.COMPLETED, TaskStatus.FAILED) for facts in world.chain.values()):
            return
        world.tick(1)


def test_a_bag_begins_as_many_tasks_as_there_is_room_for_and_the_next_when_one_ends() -> None:
    world = World(honest(2), Policy(max_active_tasks=3))
    most = 0

    def count(_: object) -> bool:
        nonlocal most
        most = max(most, sum(1 for task in world.machine.tasks.values() if not task.is_final))
        return False

    world.on_send = count
    first = world.deal(1, bot_size=20)
    assert len(world.machine.tasks) == 3
    _finish_all(world)
    assert {facts.status for facts in world.chain.values()} == {TaskStatus.COMPLETED}
    assert [instruction.index for instruction in world.given(Initialize)] == list(range(20))
    assert most == 3
    bag = world.machine.bags[world.deals[first].deal_id]
    assert (bag.begun, bag.left) == (20, 0)


def test_a_large_bag_costs_no_more_to_take_than_a_small_one() -> None:
    world = World(honest(1), Policy(max_active_tasks=10))
    deal = world.deals[world.deal(1)]
    big = replace(deal, deal_id="0x" + "12" * 32)
    began = time.perf_counter()
    given = world.feed(DealMatched(big, 0, 1_000_000))
    assert time.perf_counter() - began < 1
    assert len(given) == 9
    assert len(world.machine.tasks) == 10


def test_a_deal_is_forgotten_when_its_last_task_left_the_memory_and_not_before() -> None:
    world = World(honest(2), Policy(max_active_tasks=1, keep_finished_s=10))
    deal = world.deals[world.deal(1, bot_size=2)].deal_id
    _finish_all(world)
    assert deal in world.machine.bags
    world.tick(10)
    assert deal not in world.machine.bags
    assert not world.machine.tasks


def test_finished_tasks_beyond_the_policys_number_leave_the_memory_early() -> None:
    world = World(honest(2), Policy(keep_finished_tasks=3))
    world.deal(1, bot_size=10)
    _finish_all(world)
    world.tick(1)
    assert len(world.machine.tasks) == 3


def test_tasks_that_never_began_are_refunded_after_the_final_deadline_a_bounded_number_at_a_time() -> None:
    world = World([], Policy(max_active_tasks=2, max_claims=3))
    world.deal(1, bot_size=12)
    world.run()
    world.tick(9 * TIMEREF)
    assert len(world.given(Initialize)) == 2
    most = 0

    def count(_: object) -> bool:
        nonlocal most
        most = max(most, sum(1 for task in world.machine.tasks.values() if task.phase is Phase.CLAIMING))
        return False

    world.on_send = count
    world.tick(TIMEREF)
    _finish_all(world)
    assert {facts.status for facts in world.chain.values()} == {TaskStatus.FAILED}
    assert len(world.given(Claim)) == 12
    assert len(world.given(Initialize)) == 12
    assert most <= 2 + 3


def test_a_refused_bag_begins_one_task_whose_story_says_why_and_refunds_all_in_the_end() -> None:
    world = World(honest(1))
    task = world.deal(1, bot_size=5, refusal="It asks for what we do not have.")
    assert list(world.machine.tasks) == [task]
    assert "what we do not have" in world.machine.story(task)[-1].text
    world.tick(10 * TIMEREF)
    _finish_all(world)
    assert {facts.status for facts in world.chain.values()} == {TaskStatus.FAILED}
    assert not world.given(SendLease)


def test_abandoned_tasks_take_no_room_from_the_next_deal() -> None:
    world = World([], Policy(max_active_tasks=2))
    world.deal(1, bot_size=2)
    world.run()
    world.tick(7 * TIMEREF)
    world.deal(1, name="next", bot_size=2)
    assert len(world.given(Initialize)) == 4


def test_a_deal_that_is_undone_before_all_began_begins_no_more_and_ends_without_a_transaction() -> None:
    world = World([Fake("w", owner="w", seals=False)], Policy(max_active_tasks=2))
    task = world.deal(1, bot_size=5)
    deal = world.deals[task].deal_id
    world.run()
    world.feed(DealUndone(deal))
    assert {state.phase for state in world.machine.tasks.values()} == {Phase.ABANDONED}
    world.tick(1)
    assert len(world.given(Initialize)) == 2
    world.tick(10 * TIMEREF)
    assert not world.given(Claim)
    assert {state.phase for state in world.machine.tasks.values()} == {Phase.FAILED}
    world.tick(300)
    assert deal not in world.machine.bags


def test_a_deal_that_comes_back_after_a_reorganisation_goes_on_with_its_tasks_that_never_began() -> None:
    world = World(honest(1), Policy(max_active_tasks=2))
    task = world.deal(1, bot_size=5)
    terms = world.deals[task]
    world.pending.clear()
    world.feed(DealUndone(terms.deal_id))
    again = replace(terms, start_time=terms.start_time + 3)
    for index in range(5):
        world.deals[task_id(terms.deal_id, index)] = again
    world.feed(DealMatched(again, 0, 5))
    for state in list(world.machine.tasks.values()):
        world.feed(ChainReconciled(state.task_id, world.chain[state.task_id]))
    _finish_all(world)
    assert {facts.status for facts in world.chain.values()} == {TaskStatus.COMPLETED}
    assert {state.deal for state in world.machine.tasks.values()} == {again}


def test_a_restored_bag_goes_on_where_it_was() -> None:
    world = World([], Policy(max_active_tasks=2))
    first = world.deal(1, bot_size=4)
    again = PoolMachine(IDENTITY, Policy(max_active_tasks=3))
    again.restore(world.machine.tasks.values(), [], bags=world.machine.bags.values(), in_flight=set(), now=world.now)
    following = World([], Policy(max_active_tasks=3))
    following.machine = again
    following.tick(0)
    assert sorted(instruction.index for instruction in following.given(Initialize)) == [0, 1, 2]
    assert again.bags[world.deals[first].deal_id].begun == 3


def test_the_same_events_at_the_same_times_give_the_same_instructions() -> None:
    logs = []
    for _ in range(2):
        world = World(honest(7), Policy(max_active_tasks=4))
        world.deal(4, bot_size=9)
        world.deal(1, bot_size=3, name="other")
        _finish_all(world)
        logs.append(world.log)
    assert logs[0] == logs[1]
