from __future__ import annotations

from fairgrid.pool.core.events import (
    ContributionMined,
    Held,
    LeaseFailed,
    OpeningReceived,
    PhaseReported,
    SealReceived,
    TaskInitialized,
    UploadReported,
    WorkerBeat,
)
from fairgrid.pool.core.instructions import (
    BanWorker,
    Instruction,
    RequestOpening,
    SendAbort,
    SendAuthorisation,
    SendDone,
    SendLease,
    SendRevealNotice,
)
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from tests.pool.fakes import Fake, digest_of, honest
from tests.pool.support import World, phase_of


def test_a_lost_worker_is_replaced_after_the_grace_and_not_before() -> None:
    gone = Fake("a", owner="a", seals=False)
    world = World([gone])
    task = world.deal(1)
    world.run()
    world.lose(gone)
    for fake in honest(1):
        world.fakes[fake.address] = fake
        world.join(fake)
    world.tick(9)
    assert len(world.given(SendLease)) == 1
    world.tick(1)
    assert len(world.given(SendLease)) == 2
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_a_worker_that_comes_back_in_time_keeps_its_lease() -> None:
    (worker,) = fakes = [Fake("w", owner="w", seals=False)]
    world = World(fakes)
    task = world.deal(1)
    world.run()
    world.lose(worker)
    world.tick(5)
    world.join(worker)
    world.seal(worker, world.given(SendLease)[0])
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert len(world.given(SendLease)) == 1


def test_a_worker_that_comes_back_without_its_lease_is_told_again() -> None:
    (worker,) = fakes = [Fake("w", owner="w", seals=False)]
    world = World(fakes)
    world.deal(1)
    world.run()
    world.lose(worker)
    world.join(worker, held=())
    first, again = world.given(SendLease)
    assert first == again


def test_a_sealed_worker_that_forgot_its_seal_is_replaced() -> None:
    forgetful, silent = Fake("a", owner="a"), Fake("b", owner="b", seals=False)
    world = World([forgetful, silent])
    task = world.deal(4)
    world.run()
    world.lose(forgetful)
    world.join(forgetful, held=())
    assert phase_of(world, task, forgetful) is ReplicaPhase.LOST


def test_an_authorised_worker_that_comes_back_gets_its_authorisation_again() -> None:
    (worker,) = fakes = [Fake("w", owner="w", obeys_authorisation=False)]
    world = World(fakes)
    world.deal(1)
    world.run()
    world.lose(worker)
    world.join(worker)
    assert len(world.given(SendAuthorisation)) == 2


def test_a_contributor_that_comes_back_hears_what_it_missed() -> None:
    fakes = honest(2)
    world = World(fakes, Policy(authorisation_order=tuple(fake.address for fake in fakes), opening_timeout_s=1_000))
    lost = fakes[0]

    def lose_after_contribution(instruction: Instruction) -> bool:
        if isinstance(instruction, SendAuthorisation) and instruction.worker == fakes[1].address:
            world.lose(lost)
        return False

    world.on_send = lose_after_contribution
    task = world.deal(4)
    world.run()
    assert not world.given(SendRevealNotice, lost)
    world.join(lost)
    assert world.given(SendRevealNotice, lost)
    assert world.given(RequestOpening, lost)
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert world.given(SendDone, lost)


def test_a_worker_that_gives_its_lease_back_is_replaced_at_once() -> None:
    first = Fake("a", owner="a", seals=False)
    world = World([first])
    task = world.deal(1)
    world.run()
    for fake in honest(1):
        world.fakes[fake.address] = fake
        world.join(fake)
    lease = world.given(SendLease)[0]
    given = world.feed(LeaseFailed(first.address, lease.lease_id, task, "disk full"))
    assert [type(instruction) for instruction in given] == [SendAbort, SendLease]


def test_a_lease_that_two_heartbeats_do_not_name_is_lost_and_replaced_at_once() -> None:
    (worker,) = fakes = [Fake("w", owner="w", seals=False)]
    world = World(fakes, Policy(lease_ttl_s=1_000))
    task = world.deal(1)
    world.run()
    for fake in honest(1, "other"):
        world.fakes[fake.address] = fake
        world.join(fake)
    world.tick(world.policy.heartbeat_s)
    world.feed(WorkerBeat(worker.address, (), 0))
    assert world.machine.tasks[task].replicas[0].phase is ReplicaPhase.LEASED
    world.tick(world.policy.heartbeat_s)
    given = world.feed(WorkerBeat(worker.address, (), 0))
    assert world.machine.tasks[task].replicas[0].phase is ReplicaPhase.LOST
    assert [type(instruction) for instruction in given] == [SendAbort, SendLease]


def test_a_heartbeat_that_names_the_lease_again_makes_up_for_one_that_did_not() -> None:
    (worker,) = fakes = [Fake("w", owner="w", seals=False)]
    world = World(fakes, Policy(lease_ttl_s=1_000))
    task = world.deal(1)
    world.run()
    lease = world.given(SendLease)[0]
    named = (Held(lease.lease_id, task, "computing"),)
    for held in ((), named, (), named):
        world.tick(world.policy.heartbeat_s)
        world.feed(WorkerBeat(worker.address, held, 0))
    assert world.machine.tasks[task].replicas[0].phase is ReplicaPhase.LEASED


def test_a_worker_that_falls_silent_is_replaced_two_heartbeats_after_its_last_word() -> None:
    (worker,) = fakes = [Fake("a", owner="a", seals=False)]
    world = World(fakes)
    task = world.deal(1)
    world.run()
    for fake in honest(1, "other"):
        world.fakes[fake.address] = fake
        world.join(fake)
    world.tick(world.policy.heartbeat_s)
    lease = world.given(SendLease)[0]
    world.feed(WorkerBeat(worker.address, (Held(lease.lease_id, task, "computing"),), 0))
    world.tick(2 * world.policy.heartbeat_s - 1)
    assert len(world.given(SendLease)) == 1
    world.tick(1)
    assert len(world.given(SendLease)) == 2


def _computing_beside_an_idle_one(policy: Policy) -> World:
    """A worker named the lease that it computes a moment ago; another is there that could have it."""
    (worker,) = fakes = [Fake("a", owner="a", seals=False)]
    world = World(fakes, policy)
    task = world.deal(1)
    world.run()
    for fake in honest(1, "other"):
        world.fakes[fake.address] = fake
        world.join(fake)
    world.tick(1)
    lease = world.given(SendLease)[0]
    world.feed(WorkerBeat(worker.address, (Held(lease.lease_id, task, "computing"),), 0))
    return world


def test_the_end_of_a_connection_gives_a_worker_that_was_silent_no_more_time() -> None:
    world = _computing_beside_an_idle_one(Policy())
    silent = next(fake for fake in world.fakes.values() if fake.owner == "a")
    world.tick(2 * world.policy.heartbeat_s - 1)
    world.lose(silent)
    assert len(world.given(SendLease)) == 1
    world.tick(1)
    assert len(world.given(SendLease)) == 2


def test_a_longer_grace_of_the_policy_counts_from_the_last_word_about_the_lease() -> None:
    world = _computing_beside_an_idle_one(Policy(reconnect_grace_s=60.0, seal_window_min_s=600.0))
    away = next(fake for fake in world.fakes.values() if fake.owner == "a")
    world.tick(5)
    world.lose(away)
    world.tick(54)
    assert len(world.given(SendLease)) == 1
    world.tick(1)
    assert len(world.given(SendLease)) == 2


def test_words_about_tasks_that_are_not_here_harm_nobody() -> None:
    (worker,) = fakes = honest(1)
    world = World(fakes)
    unknown = digest_of("no such task")
    world.feed(SealReceived(worker.address, "lease", unknown, 0, unknown, "0x"))
    world.feed(PhaseReported(worker.address, "lease", unknown, "computing"))
    world.feed(OpeningReceived(worker.address, "lease", unknown, unknown, unknown))
    world.feed(UploadReported(worker.address, "lease", unknown, "cid"))
    world.feed(TaskInitialized(unknown))
    world.feed(ContributionMined(unknown, worker.address, unknown, 2))
    assert {type(instruction) for instruction in world.log} == {SendAbort}


def test_an_opening_before_consensus_is_not_looked_at() -> None:
    fakes = [*honest(1), Fake("silent", owner="silent", seals=False)]
    world = World(fakes)
    task = world.deal(4)
    world.run()
    lease = world.given(SendLease, fakes[0])[0]
    world.feed(OpeningReceived(fakes[0].address, lease.lease_id, task, digest_of("wrong"), fakes[0].salt))
    assert not world.given(BanWorker)
    assert digest_of("wrong") not in str(world.machine.story(task))


def test_a_failed_worker_comes_last_when_the_next_task_is_leased() -> None:
    bad, good = Fake("a bad", owner="a bad", seals=False), Fake("z good", owner="z good", seals=False)
    world = World([bad, good])
    task = world.deal(4)
    world.run()
    lease = world.given(SendLease, bad)[0]
    world.feed(LeaseFailed(bad.address, lease.lease_id, task, "broken"))
    other = world.given(SendLease, good)[0]
    world.feed(LeaseFailed(good.address, other.lease_id, task, "broken"))
    world.feed(ContributionMined(task, good.address, digest_of("x"), 2))
    world.deal(1, name="next")
    world.run()
    assert world.given(SendLease)[-1].worker == good.address


def test_a_contributor_that_came_before_its_contribution_was_read_is_known_again_at_its_next_heartbeat() -> None:
    """A pool that was restored from a backup knows neither the lease nor, for a while, what is on chain."""
    (winner,) = fakes = [Fake("w", owner="w")]
    world = World(fakes)
    task = world.deal(1)
    held = (Held("a lease of old", task, "contributing"),)
    other = Held("a lease of old", digest_of("no task"), "contributing")
    world.feed(WorkerBeat(winner.address, (other,), 1))
    world.feed(WorkerBeat(winner.address, held, 1))
    assert [
        replica.lease_id for replica in world.machine.tasks[task].replicas if replica.lease_id == held[0].lease_id
    ] == []
    world.feed(ContributionMined(task, winner.address, digest_of("hash"), 1))
    world.feed(WorkerBeat(winner.address, held, 1))
    known = world.machine.tasks[task].replica(held[0].lease_id)
    assert known is not None and known.phase is ReplicaPhase.CONTRIBUTED
