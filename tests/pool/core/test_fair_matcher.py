"""The pool's own matcher in its scheduler: shares, random draws, newcomers, and inputs that need not be moved."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.fair_matcher import FairMatcher
from fairgrid.pool.core.instructions import Initialize, SendLease
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.matching import Requirements
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.needs import Needs
from tests.pool.fakes import Fake, honest
from tests.pool.support import IDENTITY, START, World


def world_of(fakes: list[Fake], policy: Policy | None = None, secret: bytes = b"secret") -> World:
    world = World([], policy)

    def is_newcomer(worker: str, owner: str) -> bool:
        return world.machine.is_newcomer(worker, owner)

    world.machine = PoolMachine(IDENTITY, world.policy, FairMatcher(secret, is_newcomer), secret=secret)
    world.tick()
    world.fakes = {fake.address: fake for fake in fakes}
    for fake in fakes:
        world.join(fake)
    return world


def deal(requester: str, *, price: int = 0, name: str = "", priority: int = 0, trust: int = 1) -> DealTerms:
    return DealTerms(
        deal_id=name or requester,
        trust=trust,
        timeref=60,
        start_time=START,
        worker_stake=0,
        requester=requester,
        price=price,
        requirements=Requirements(needs=Needs(priority=priority)),
    )


def test_tasks_of_deals_begin_in_turn_whoever_has_more_of_them() -> None:
    matcher = FairMatcher(b"", lambda worker, owner: True)
    left = {"bulk": 1_000, "other": 20}
    begun = dict.fromkeys(left, 0)
    deals = {name: deal(name) for name in left}
    keys = {name: matcher.bag_urgency(deals[name], 0, now=START) for name in left}
    order = []
    for _ in range(40):
        name = min(keys, key=keys.__getitem__)
        order.append(name)
        begun[name] += 1
        keys[name] = matcher.bag_urgency(deals[name], begun[name], now=START)
    assert Counter(order)["other"] >= 19


def test_many_small_deals_of_one_requester_get_no_more_than_one_large_deal_of_another() -> None:
    matcher = FairMatcher(b"", lambda worker, owner: True)
    small = [matcher.bag_urgency(deal("splitter", name=f"s{number}"), 0, now=START) for number in range(100)]
    other = matcher.bag_urgency(deal("other"), 0, now=START)
    assert sum(key < other for key in small) <= 1


def test_who_is_asked_twice_about_the_same_answers_the_same() -> None:
    matcher = FairMatcher(b"", lambda worker, owner: True)
    first = matcher.bag_urgency(deal("a"), 0, now=START)
    assert matcher.bag_urgency(deal("a"), 0, now=START) == first
    task = TaskState("0x1", 0, deal("a"), START)
    assert matcher.task_urgency(task, now=START) == matcher.task_urgency(task, now=START)


def test_a_task_about_to_miss_its_deadline_goes_first() -> None:
    matcher = FairMatcher(b"", lambda worker, owner: True)
    calm = TaskState("0x1", 0, replace(deal("a"), timeref=10_000), START)
    late = TaskState("0x2", 0, deal("a", name="later"), START)
    before = matcher.task_urgency(calm, now=START), matcher.task_urgency(late, now=START)
    assert before[0] < before[1]
    soon = late.deal.contribution_deadline - 100
    assert matcher.task_urgency(late, now=soon) < matcher.task_urgency(calm, now=soon)


def test_a_bulk_requester_cannot_keep_the_pool_from_another() -> None:
    world = world_of(honest(1), Policy(max_active_tasks=2))
    world.deal(1, bot_size=30, name="bulk")
    other = world.deal(1, name="other", requester="other")
    world.run_until_final(other)
    assert [begun.task_id for begun in world.given(Initialize)].index(other) <= 4


def test_workers_are_drawn_at_random_and_the_draw_hangs_on_the_secret() -> None:
    def chosen(secret: bytes) -> list[str]:
        world = world_of(honest(8), secret=secret)
        for number in range(12):
            world.run_until_final(world.deal(1, name=f"deal{number}"))
        return [lease.worker for lease in world.given(SendLease)]

    assert chosen(b"one") == chosen(b"one")
    assert chosen(b"one") != chosen(b"two")
    assert len(set(chosen(b"one"))) >= 4


def test_above_trust_1_a_worker_that_proved_itself_takes_part() -> None:
    fakes = honest(10)
    world = world_of(fakes[:1], Policy(proven_after=1))
    world.run_until_final(world.deal(1, name="alone"))
    veteran = fakes[0]
    for fake in fakes[1:]:
        world.fakes[fake.address] = fake
        world.join(fake)
    for number in range(6):
        state = world.run_until_final(world.deal(8, name=f"deal{number}"))
        if number == 0:
            assert veteran.address in {replica.worker for replica in state.replicas}
        workers = {replica.worker for replica in state.replicas}
        assert any(world.machine.standings[worker].valid > 1 for worker in workers)


def test_large_inputs_stay_where_they_are() -> None:
    fakes = honest(6)
    world = world_of(fakes)
    big = Requirements(inputs=(("cid of much", 1 << 30),))
    for number in range(10):
        world.run_until_final(world.deal(1, name=f"big{number}", requirements=big))
    assert len({lease.worker for lease in world.given(SendLease)}) == 1
    small = Requirements(inputs=(("cid of little", 1 << 10),))
    for number in range(10):
        world.run_until_final(world.deal(1, name=f"small{number}", requirements=small))
    assert len({lease.worker for lease in world.given(SendLease)}) > 1


def test_nobody_is_picked_when_nobody_may_have_the_task() -> None:
    matcher = FairMatcher(b"", lambda worker, owner: True)
    assert matcher.pick(TaskState("0x1", 0, deal("a"), START), iter(()), now=START) is None
