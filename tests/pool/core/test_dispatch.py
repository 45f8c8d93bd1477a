from __future__ import annotations

import pytest

from fairgrid.pool.core.events import (
    LeaseFailed,
    WorkerBeat,
    WorkerFacts,
)
from fairgrid.pool.core.instructions import (
    SendAbort,
    SendAuthorisation,
    SendLease,
)
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from tests.pool.fakes import Fake, address, honest
from tests.pool.support import World


@pytest.mark.parametrize(("trust", "replicas"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (10, 4), (100, 7)])
def test_as_many_fresh_workers_are_leased_as_the_trust_needs(trust: int, replicas: int) -> None:
    world = World(honest(8))
    task = world.deal(trust)
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert len(world.given(SendLease)) == replicas
    assert len(world.given(SendAuthorisation)) == replicas


def test_experienced_workers_count_with_their_exact_weight() -> None:
    veteran = Fake("veteran", owner="veteran", score=30)
    world = World([*honest(4), veteran])
    task = world.deal(18)
    world.run_until_final(task)
    assert len(world.given(SendLease)) == 2
    assert world.given(SendLease, veteran)


def test_at_trust_above_one_the_lightest_is_authorised_first_so_that_no_veteran_decides_alone() -> None:
    veteran = Fake("veteran", owner="veteran", score=30)
    (fresh,) = honest(1)
    world = World([veteran, fresh], Policy(first_round_replicas=2))
    task = world.deal(3)
    world.run_until_final(task)
    assert [instruction.worker for instruction in world.given(SendAuthorisation)] == [fresh.address, veteran.address]


def test_two_workers_of_one_owner_never_get_the_same_task() -> None:
    fakes = [Fake(f"w{number}", owner="one owner") for number in range(3)]
    world = World([*fakes, Fake("other", owner="other owner")])
    task = world.deal(4)
    world.run()
    owners = [replica.owner for replica in world.machine.tasks[task].replicas]
    assert sorted(owners) == sorted({address("one owner"), address("other owner")})


def test_an_owner_whose_replica_failed_gets_the_task_again_only_after_a_minute() -> None:
    first, second = Fake("w1", owner="owner", seals=False), Fake("w2", owner="owner", seals=False)
    world = World([first, second])
    task = world.deal(1)
    world.run()
    (lease,) = world.given(SendLease)
    world.feed(LeaseFailed(lease.worker, lease.lease_id, task, "disk full"))
    world.tick(59)
    assert len(world.given(SendLease)) == 1
    world.tick(31)
    assert [given.worker for given in world.given(SendLease)] == [lease.worker, lease.worker]


def test_a_worker_that_was_away_is_asked_again_after_those_that_did_not_try_yet() -> None:
    away, fresh = Fake("away", owner="away", seals=False), Fake("fresh", owner="another")
    world = World([away], Policy(lease_ttl_s=500))
    task = world.deal(1)
    world.run()
    world.lose(away)
    world.tick(30)
    world.join(away, held=())
    world.join(fresh)
    world.tick(40)
    assert [lease.worker for lease in world.given(SendLease)] == [away.address, fresh.address]
    assert len(world.machine.tasks[task].replicas) == 2


def test_a_worker_that_fails_again_and_again_is_asked_ever_more_rarely() -> None:
    broken = Fake("broken", owner="broken", seals=False)
    world = World([broken])
    task = world.deal(1)
    world.run()
    for attempts, pause in ((1, 60), (2, 120)):
        leased_at = world.now
        world.feed(LeaseFailed(broken.address, world.given(SendLease)[-1].lease_id, task, "disk full"))
        world.join(broken, held=())
        while len({lease.lease_id for lease in world.given(SendLease)}) == attempts:
            assert world.now < leased_at + pause + 40
            world.tick(10)
            world.join(broken, held=())
        assert world.now >= leased_at + pause
    assert len({lease.lease_id for lease in world.given(SendLease)}) == 3


def test_the_first_round_leases_the_policys_minimum_even_if_fewer_would_do() -> None:
    world = World(honest(6), Policy(first_round_replicas=6))
    task = world.deal(10)
    world.run_until_final(task)
    assert len(world.given(SendLease)) == 6
    assert len(world.given(SendAuthorisation)) == 4


def test_the_first_round_waits_for_its_minimum_and_then_goes_on_without() -> None:
    world = World(honest(2), Policy(first_round_replicas=4, fill_wait_s=30))
    world.deal(4)
    world.run()
    world.tick(29)
    world.run()
    assert not world.given(SendAuthorisation)
    world.tick(2)
    assert len(world.given(SendAuthorisation)) == 1


def test_a_worker_whose_deposit_does_not_cover_the_stake_gets_no_lease_until_it_does() -> None:
    (poor,) = fakes = [Fake("poor", owner="poor", stake=9)]
    world = World(fakes)
    world.deal(1, worker_stake=10)
    world.run()
    assert not world.given(SendLease)
    world.feed(WorkerFacts(poor.address, 0, 10))
    world.tick(1)
    assert world.given(SendLease, poor)


def test_one_deposit_is_not_promised_to_two_tasks() -> None:
    world = World([Fake("w", owner="w", stake=10, slots=2, seals=False)])
    world.deal(1, bot_size=2, worker_stake=10)
    world.run()
    assert len(world.given(SendLease)) == 1


def test_a_worker_gets_no_more_leases_than_it_has_slots() -> None:
    world = World([Fake("w", owner="w", slots=2, seals=False)])
    world.deal(1, bot_size=5)
    world.run()
    world.tick(1)
    assert len(world.given(SendLease)) == 2


def test_a_heartbeat_written_before_a_lease_arrived_does_not_make_a_slot_free() -> None:
    (worker,) = fakes = [Fake("w", owner="w", seals=False)]
    world = World(fakes)
    world.deal(1, bot_size=2)
    world.run()
    world.feed(WorkerBeat(worker.address, (), 1))
    world.tick(1)
    assert len(world.given(SendLease)) == 1


# --- stragglers ---------------------------------------------------------------------------------------------------


def _world_with_a_straggler(policy: Policy, *, bot_size: int = 7) -> tuple[World, Fake, Fake]:
    """Six tasks of a bag took a second each; the seventh is with a worker that goes on for ever."""
    quick, slow = Fake("quick", owner="quick"), Fake("slow", owner="slow", seals=False)
    world = World([], policy)
    for fake in (quick, slow):
        world.fakes[fake.address] = fake
    world.on_send = lambda instruction: isinstance(instruction, SendLease)
    world.deal(1, bot_size=bot_size)
    world.join(slow)
    world.run()
    world.join(quick)
    for _ in range(bot_size - 1):
        world.run()
        lease = world.given(SendLease, quick)[-1]
        world.now += 1
        world.seal(quick, lease)
    world.run()
    return world, quick, slow


def test_a_straggler_gets_a_speculative_copy_and_whoever_is_second_is_sent_away() -> None:
    world, quick, slow = _world_with_a_straggler(Policy(speculation_min_s=20, lease_ttl_s=1_000))
    (lease,) = world.given(SendLease, slow)
    before = len(world.given(SendLease, quick))
    world.tick(13)
    assert len(world.given(SendLease, quick)) == before
    world.tick(1)
    copy = world.given(SendLease, quick)[-1]
    assert (copy.task_id, len(world.given(SendLease, quick))) == (lease.task_id, before + 1)
    world.seal(quick, copy)
    assert [abort.lease_id for abort in world.given(SendAbort, slow)] == [lease.lease_id]
    assert [authorised.lease_id for authorised in world.given(SendAuthorisation)][-1] == copy.lease_id
    assert world.machine.strikes_of(slow.address) == 0


def test_a_straggler_that_is_first_after_all_keeps_its_task_and_the_copy_is_sent_away() -> None:
    world, quick, slow = _world_with_a_straggler(Policy(speculation_min_s=20, lease_ttl_s=1_000))
    world.tick(14)
    copy = world.given(SendLease, quick)[-1]
    world.seal(slow, world.given(SendLease, slow)[0])
    assert world.given(SendAbort, quick)[-1].lease_id == copy.lease_id
    assert world.given(SendAuthorisation)[-1].worker == slow.address


def test_a_copy_takes_the_place_of_a_straggler_that_is_lost() -> None:
    world, quick, slow = _world_with_a_straggler(Policy(speculation_min_s=20, lease_ttl_s=1_000))
    world.tick(14)
    count = len(world.given(SendLease))
    world.lose(slow)
    world.tick(10)
    assert len(world.given(SendLease)) == count
    world.seal(quick, world.given(SendLease, quick)[-1])
    assert world.given(SendAuthorisation)[-1].worker == quick.address


@pytest.mark.parametrize(
    "policy",
    [
        Policy(speculation_factor=0, lease_ttl_s=1_000),
        Policy(speculation_samples=7, lease_ttl_s=1_000),
        Policy(speculation_factor=100, lease_ttl_s=1_000),
    ],
    ids=["switched off", "too few samples", "not slow enough"],
)
def test_there_is_no_copy_without_reason(policy: Policy) -> None:
    world, quick, _ = _world_with_a_straggler(policy)
    before = len(world.given(SendLease, quick))
    world.tick(40)
    assert len(world.given(SendLease, quick)) == before


def test_copies_are_a_bounded_share_of_a_deals_leases() -> None:
    quick = Fake("quick", owner="quick", slots=8)
    slow = [Fake(f"slow{number}", owner=f"slow{number}", seals=False) for number in range(6)]
    world = World([], Policy(lease_ttl_s=1_000, speculation_share=0.5, speculation_samples=1))
    for fake in (quick, *slow):
        world.fakes[fake.address] = fake
    world.deal(1, bot_size=7)
    for fake in slow:
        world.join(fake)
    world.run()
    world.join(quick)
    world.run()
    before = len(world.given(SendLease, quick))
    quick.seals = False
    world.tick(20)
    assert len(world.given(SendLease, quick)) == before + 3


def test_an_experienced_worker_that_reaches_the_trust_alone_gets_a_companion_of_another_owner() -> None:
    veteran = Fake("veteran", owner="veteran", score=30)
    world = World([veteran, *honest(2)])
    state = world.run_until_final(world.deal(3))
    assert state.phase is Phase.COMPLETED
    assert len(world.given(SendLease)) == 2
    authorised = [instruction.worker for instruction in world.given(SendAuthorisation)]
    assert len(authorised) == 2 and authorised[-1] == veteran.address, "it decides only with the other"


def test_an_experienced_worker_alone_in_its_pool_goes_on_after_the_fill_wait() -> None:
    world = World([Fake("veteran", owner="veteran", score=30)], Policy(fill_wait_s=30))
    task = world.deal(3)
    world.run()
    assert not world.given(SendAuthorisation)
    assert world.run_until_final(task).phase is Phase.COMPLETED
