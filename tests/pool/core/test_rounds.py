from __future__ import annotations

from msgspec.structs import replace

from fairgrid.pool.core.events import (
    Held,
    LeaseFailed,
    SealReceived,
    Tick,
    WorkerBeat,
)
from fairgrid.pool.core.instructions import (
    SendAbort,
    SendAuthorisation,
    SendLease,
)
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from tests.pool.fakes import Fake, digest_of, honest
from tests.pool.support import TIMEREF, World, phase_of


def test_nobody_is_authorised_before_the_last_seal_of_the_round_is_in() -> None:
    slow = Fake("slow", owner="slow", seals=False)
    world = World([*honest(3), slow])
    world.deal(10)
    world.run()
    assert len(world.given(SendLease)) == 4
    assert not world.given(SendAuthorisation)
    world.seal(slow, world.given(SendLease, slow)[0])
    assert len(world.given(SendAuthorisation)) == 1


def test_authorisations_go_out_one_at_a_time_each_after_the_contribution_before() -> None:
    fakes = honest(4)
    for fake in fakes:
        fake.obeys_authorisation = False
    world = World(fakes)
    task = world.deal(10)
    for count in range(1, 5):
        world.run()
        authorised = world.given(SendAuthorisation)
        assert len(authorised) == count
        world.contribute(world.fakes[authorised[-1].worker], task)
    assert world.machine.tasks[task].phase is Phase.REVEALING


def test_the_configured_order_goes_first_and_the_others_follow_by_seal_time() -> None:
    fakes = honest(4)
    for fake in fakes:
        fake.seals = False
    order = (fakes[2].address, fakes[0].address)
    world = World(fakes, Policy(authorisation_order=order))
    task = world.deal(10)
    world.run()
    for fake in (fakes[3], fakes[1], fakes[0], fakes[2]):
        world.now += 1
        world.seal(fake, world.given(SendLease, fake)[0])
    world.run_until_final(task)
    expected = [fakes[2], fakes[0], fakes[3], fakes[1]]
    assert [instruction.worker for instruction in world.given(SendAuthorisation)] == [fake.address for fake in expected]


def test_a_worker_that_never_seals_is_replaced_after_its_window() -> None:
    silent = Fake("aaa", owner="aaa", seals=False)
    world = World([silent])
    task = world.deal(1)
    world.run()
    for fake in honest(1):
        world.fakes[fake.address] = fake
        world.join(fake)
    for _ in range(TIMEREF - 1):
        world.tick(1)
        world.feed(WorkerBeat(silent.address, (_held(world, silent),), 0))
    world.run()
    assert len(world.given(SendLease)) == 1
    world.tick(1)
    world.run()
    assert world.given(SendAbort, silent)
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert phase_of(world, task, silent) is ReplicaPhase.LATE


def _held(world: World, fake: Fake) -> Held:
    lease = world.given(SendLease, fake)[-1]
    return Held(lease.lease_id, lease.task_id, "computing")


def test_a_seal_after_the_window_is_refused_and_its_worker_never_authorised() -> None:
    late = Fake("late", owner="late", seals=False)
    world = World([late, *honest(2)], Policy(seal_window_min_s=30))
    task = world.deal(8)
    world.run()
    world.tick(TIMEREF + 1)
    world.run()
    world.seal(late, world.given(SendLease, late)[0])
    assert len(world.given(SendAbort, late)) == 2
    assert not world.given(SendAuthorisation, late)
    assert world.machine.tasks[task].phase is Phase.SEALING


def test_a_majority_of_quick_seals_shortens_the_window_but_not_below_the_minimum() -> None:
    slow = Fake("slow", owner="slow", seals=False)
    world = World([slow, *honest(3)], Policy(seal_window_min_s=30, lease_ttl_s=1_000))
    world.deal(10)
    world.run()
    world.tick(29)
    assert not world.given(SendAbort, slow)
    world.tick(1)
    assert world.given(SendAbort, slow)


def test_a_minority_of_quick_seals_does_not_shut_the_slow_out() -> None:
    slow = [Fake(f"slow{number}", owner=f"slow{number}", seals=False) for number in range(3)]
    world = World([*slow, *honest(1)], Policy(seal_window_min_s=30, lease_ttl_s=1_000))
    world.deal(10)
    world.run()
    world.tick(TIMEREF - 1)
    assert not world.given(SendAbort)


def test_a_repeated_seal_changes_nothing_and_a_second_different_one_ends_the_part() -> None:
    (worker,) = fakes = honest(1)
    world = World([*fakes, Fake("silent", owner="silent", seals=False)])
    task = world.deal(4)
    world.run()
    lease = world.given(SendLease, worker)[0]
    world.seal(worker, lease)
    assert phase_of(world, task, worker) is ReplicaPhase.SEALED
    worker.answer = "changed my mind"
    world.seal(worker, lease)
    assert phase_of(world, task, worker) is ReplicaPhase.DECLINED


def test_what_a_worker_says_when_it_declines_is_told_without_escapes_or_anything_like_a_digest() -> None:
    (worker,) = fakes = [Fake("w", owner="w", seals=False)]
    world = World(fakes)
    task = world.deal(1)
    world.run()
    words = f"no disk \x1b[31m {digest_of('right')} {digest_of('right')[2:]}"
    world.feed(LeaseFailed(worker.address, world.given(SendLease)[0].lease_id, task, words))
    told = world.machine.story(task)[-1].text
    assert "no disk" in told and "\x1b" not in told and digest_of("right")[2:] not in told


def test_a_seal_of_another_round_is_refused() -> None:
    (worker,) = fakes = [Fake("w", owner="w", seals=False)]
    world = World(fakes)
    world.deal(1)
    world.run()
    lease = world.given(SendLease)[0]
    world.seal(worker, replace(lease, round=7))
    assert world.given(SendAbort, worker)
    assert not world.given(SendAuthorisation)


def test_a_worker_cannot_speak_for_another_workers_lease() -> None:
    victim, thief = Fake("victim", owner="victim", seals=False), Fake("thief", owner="thief")
    world = World([victim])
    task = world.deal(1)
    world.run()
    world.fakes[thief.address] = thief
    world.join(thief)
    lease = world.given(SendLease, victim)[0]
    world.feed(SealReceived(thief.address, lease.lease_id, task, 0, digest_of("x"), "0x"))
    world.feed(LeaseFailed(thief.address, lease.lease_id, task, "sabotage"))
    assert len(world.given(SendAbort, thief)) == 2
    assert phase_of(world, task, victim) is ReplicaPhase.LEASED


def test_an_authorised_worker_that_does_not_contribute_is_given_up_and_the_next_one_authorised() -> None:
    idle = Fake("idle", owner="idle", obeys_authorisation=False)
    fakes = [idle, *honest(2)]
    world = World(fakes, Policy(authorisation_order=(idle.address,), first_round_replicas=3))
    task = world.deal(4)
    world.run()
    assert [instruction.worker for instruction in world.given(SendAuthorisation)] == [idle.address]
    world.tick(59)
    assert len(world.given(SendAuthorisation)) == 1
    world.tick(1)
    world.run()
    assert phase_of(world, task, idle) is ReplicaPhase.GIVEN_UP
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_an_authorised_worker_is_not_given_up_for_the_time_in_which_the_pool_saw_no_chain() -> None:
    idle = Fake("idle", owner="idle", obeys_authorisation=False)
    world = World([idle])
    task = world.deal(1)
    world.run()
    world.now += 90
    world.feed(Tick(world.chain_time, silence_s=90.0))
    assert phase_of(world, task, idle) is ReplicaPhase.AUTHORISED
    world.tick(59)
    assert phase_of(world, task, idle) is ReplicaPhase.AUTHORISED
    world.tick(1)
    assert world.machine.tasks[task].replicas[0].phase is ReplicaPhase.GIVEN_UP


def test_a_contribution_of_a_worker_that_was_given_up_still_counts() -> None:
    idle = Fake("idle", owner="idle", obeys_authorisation=False)
    world = World([idle])
    task = world.deal(1)
    world.run()
    world.tick(60)
    world.contribute(idle, task)
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_a_worker_that_was_given_up_is_asked_again_when_nobody_else_is_left_and_contributes_once() -> None:
    crashed, other = Fake("crashed", owner="crashed", obeys_authorisation=False), honest(1)[0]
    world = World([crashed, other], Policy(authorisation_order=(crashed.address,)))
    task = world.deal(4)
    world.run()
    world.tick(60)
    crashed.obeys_authorisation = True
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert len(world.given(SendLease, crashed)) > 1
    assert len([seen for seen in world.chain[task].contributions if seen.worker == crashed.address]) == 1


def test_a_worker_that_was_given_up_is_not_asked_again_while_somebody_else_is_there() -> None:
    idle = Fake("idle", owner="idle", obeys_authorisation=False)
    world = World([idle, *honest(2)], Policy(authorisation_order=(idle.address,)))
    task = world.deal(4)
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert len(world.given(SendLease, idle)) == 1
