from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from fairgrid.pool.core.events import (
    Held,
    LeaseFailed,
    SealReceived,
    Tick,
    WorkerBeat,
)
from fairgrid.pool.core.instructions import (
    BanWorker,
    SendAbort,
    SendAuthorisation,
    SendDone,
    SendLease,
)
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from tests.pool.support import TIMEREF, Fake, World, address, digest_of, honest


def _part(world: World, task: str, fake: Fake) -> ReplicaPhase:
    replica = world.machine.tasks[task].replica_of(fake.address)
    assert replica is not None
    return replica.phase


def _liar(name: str = "liar") -> Fake:
    return Fake(name, owner=name, answer="wrong")


# --- seals before authorisations ----------------------------------------------------------------------------------


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
    assert _part(world, task, silent) is ReplicaPhase.LATE


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
    assert _part(world, task, worker) is ReplicaPhase.SEALED
    worker.answer = "changed my mind"
    world.seal(worker, lease)
    assert _part(world, task, worker) is ReplicaPhase.DECLINED


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
    assert _part(world, task, victim) is ReplicaPhase.LEASED


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
    assert _part(world, task, idle) is ReplicaPhase.GIVEN_UP
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_an_authorised_worker_is_not_given_up_for_the_time_in_which_the_pool_saw_no_chain() -> None:
    idle = Fake("idle", owner="idle", obeys_authorisation=False)
    world = World([idle])
    task = world.deal(1)
    world.run()
    world.now += 90
    world.feed(Tick(world.chain_time, silence_s=90.0))
    assert _part(world, task, idle) is ReplicaPhase.AUTHORISED
    world.tick(59)
    assert _part(world, task, idle) is ReplicaPhase.AUTHORISED
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


# --- liars --------------------------------------------------------------------------------------------------------


def _authorised_at(place: str, liars: list[Fake], good: list[Fake]) -> tuple[str, ...]:
    order = [*liars, *good] if place == "first" else [*good, *liars]
    return tuple(fake.address for fake in order)


@pytest.mark.parametrize("place", ["first", "last"])
def test_one_liar_among_six_never_wins_and_the_task_completes(place: str) -> None:
    good, liar = honest(5), _liar()
    policy = Policy(first_round_replicas=6, authorisation_order=_authorised_at(place, [liar], good))
    world = World([liar, *good], policy)
    task = world.deal(10)
    state = world.run_until_final(task)
    assert state.phase is Phase.COMPLETED
    assert state.facts.result_digest == digest_of("right")
    contributed = liar.address in {seen.worker for seen in state.facts.contributions}
    assert contributed == (place == "first")
    # Sealed, but no longer needed after consensus.
    assert bool(world.given(SendAbort, liar)) == (place == "last")
    assert not world.given(BanWorker)


def test_two_colluders_who_come_first_lose_in_a_second_round() -> None:
    good, colluders = honest(4), [_liar("liar a"), _liar("liar b")]
    order = _authorised_at("first", colluders, good)
    world = World([*colluders, *good], Policy(first_round_replicas=6, authorisation_order=order))
    task = world.deal(10)
    world.run()
    for fake in honest(3, "later"):
        world.fakes[fake.address] = fake
        world.join(fake)
    state = world.run_until_final(task)
    assert state.phase is Phase.COMPLETED
    assert state.facts.result_digest == digest_of("right")
    assert state.round >= 1
    owners = [replica.owner for replica in state.replicas]
    assert len(owners) == len(set(owners))


def test_a_second_round_seals_anew_before_anybody_of_it_is_authorised() -> None:
    liar = _liar("a liar")
    good = honest(3)
    world = World([liar, good[0]])
    task = world.deal(3)
    world.run()
    for fake in good[1:]:
        fake.seals = False
        world.fakes[fake.address] = fake
        world.join(fake)
    world.tick(1)
    world.run()
    second = [lease for lease in world.given(SendLease) if lease.round == 1]
    assert len(second) == 2
    before = len(world.given(SendAuthorisation))
    world.seal(world.fakes[second[0].worker], second[0])
    assert len(world.given(SendAuthorisation)) == before
    world.seal(world.fakes[second[1].worker], second[1])
    assert len(world.given(SendAuthorisation)) == before + 1
    assert world.run_until_final(task).facts.result_digest == digest_of("right")


def test_who_contributes_another_result_than_it_sealed_is_banned_on_its_opening_with_the_evidence() -> None:
    cheat = Fake("cheat", owner="cheat", contributes="copied")
    world = World([cheat, *honest(5)], Policy(first_round_replicas=6, authorisation_order=(address("cheat"),)))
    task = world.deal(10)
    world.run_until_final(task)
    (ban,) = world.given(BanWorker)
    assert ban.worker == cheat.address
    assert "another result than it sealed" in ban.reason
    evidence = json.loads(ban.evidence)
    assert evidence["opening"]["digest"] == digest_of("right")
    assert evidence["seal"] and evidence["contributedHash"] and evidence["taskId"] == task


def test_who_opens_with_another_digest_than_it_sealed_is_banned() -> None:
    cheat = Fake("cheat", owner="cheat", contributes="copied", opens_as="copied")
    world = World([cheat, *honest(5)], Policy(first_round_replicas=6, authorisation_order=(address("cheat"),)))
    world.run_until_final(world.deal(10))
    (ban,) = world.given(BanWorker)
    assert "does not match its seal" in ban.reason


def until_reveal_deadline(world: World, task: str) -> int:
    """Seconds until nobody may reveal any more."""
    return world.machine.tasks[task].facts.reveal_deadline - world.chain_time


def test_who_does_not_open_before_the_reveal_deadline_is_banned_even_after_the_task_is_over() -> None:
    mute = Fake("mute", owner="mute", opens=False)
    world = World([mute])
    task = world.deal(1)
    assert world.run_until_final(task, seconds=0.1).phase is Phase.COMPLETED
    assert not world.given(SendDone, mute)
    world.tick(until_reveal_deadline(world, task) - 1)
    assert not world.given(BanWorker)
    world.tick(1)
    assert [ban.worker for ban in world.given(BanWorker)] == [mute.address]
    assert world.machine.is_banned(address("someone else"), address("mute"))


def test_who_is_asked_to_open_just_before_the_reveal_deadline_still_has_a_minute() -> None:
    mute = Fake("mute", owner="mute", opens=False)
    world = World([mute])
    task = world.deal(1)
    world.run_until_final(task, seconds=0.1)
    world.lose(mute)
    world.tick(until_reveal_deadline(world, task))
    world.join(mute, held=())
    world.tick(59)
    assert not world.given(BanWorker)
    world.tick(1)
    assert [ban.worker for ban in world.given(BanWorker)] == [mute.address]


def test_who_is_away_may_open_its_seal_until_the_final_deadline() -> None:
    away = Fake("away", owner="away", opens=False)
    world = World([away])
    task = world.deal(1)
    world.run_until_final(task, seconds=0.1)
    world.lose(away)
    final = world.machine.tasks[task].deal.final_deadline
    world.tick(final - world.chain_time - 1)
    assert not world.given(BanWorker)
    world.tick(31)
    assert [ban.worker for ban in world.given(BanWorker)] == [away.address]


def test_honest_contributors_are_not_banned_however_long_the_task_goes_on() -> None:
    fakes = honest(5)
    for fake in fakes:
        fake.uploads = False
    world = World(fakes)
    task = world.deal(10)
    assert world.run_until_final(task).phase is Phase.FAILED
    assert not world.given(BanWorker)


def test_a_banned_worker_and_its_owners_others_get_nothing_more() -> None:
    mute = Fake("mute", owner="owner", opens=False)
    second = Fake("second", owner="owner")
    world = World([mute])
    task = world.deal(1)
    world.run_until_final(task, seconds=0.1)
    world.tick(until_reveal_deadline(world, task))
    world.run()
    for fake in (mute, second):
        world.fakes[fake.address] = fake
        world.join(fake, ())
    world.deal(1, name="another deal")
    world.tick(1)
    world.run()
    assert len(world.given(SendLease)) == 1


def test_a_ban_ends_what_the_worker_holds_elsewhere_and_it_is_replaced_there() -> None:
    mute = Fake("a mute", owner="a mute", opens=False, slots=2, obeys_authorisation=False)
    world = World([mute], Policy(seal_window_min_s=500, lease_ttl_s=500))
    first = world.deal(1)
    world.run()
    mute.seals = False
    second = world.deal(1, name="second deal")
    world.run()
    assert world.machine.tasks[second].replicas[0].phase is ReplicaPhase.LEASED
    world.contribute(mute, first)
    world.run()
    for fake in honest(1):
        world.fakes[fake.address] = fake
        world.join(fake)
    world.tick(until_reveal_deadline(world, first))
    assert world.machine.tasks[second].replicas[0].phase is ReplicaPhase.BANNED
    assert world.run_until_final(second).phase is Phase.COMPLETED


def test_a_worker_that_owes_an_opening_gets_no_new_lease() -> None:
    mute = Fake("mute", owner="mute", opens=False, slots=2)
    world = World([mute])
    first = world.deal(1)
    world.run_until_final(first, seconds=0.1)
    world.deal(1, name="second deal")
    world.run()
    assert len(world.given(SendLease)) == 1
    world.open(mute, first, world.given(SendLease)[0].lease_id)
    world.tick(1)
    assert len(world.given(SendLease)) == 2


def test_a_lost_lease_does_not_come_back_beside_a_new_one_of_the_same_worker() -> None:
    worker = Fake("only", owner="only", seals=False, slots=2)
    world = World([worker], Policy(seal_window_min_s=600))
    task = world.deal(1)
    world.run()
    (old,) = world.given(SendLease)
    world.lose(worker)
    world.tick(world.policy.reconnect_grace_s + 1)
    world.join(worker, held=())
    world.tick(61)
    new = world.given(SendLease)[-1]
    assert new.lease_id != old.lease_id
    world.lose(worker)
    world.join(worker, held=tuple(Held(lease.lease_id, task, "computing") for lease in (old, new)))
    state = world.machine.tasks[task]
    assert [(part.lease_id, part.phase) for part in state.replicas if not part.ended] == [
        (new.lease_id, ReplicaPhase.LEASED)
    ]
    assert [abort.lease_id for abort in world.given(SendAbort)][-1] == old.lease_id
    world.seal(worker, old)
    assert [part.lease_id for part in state.replicas if not part.ended] == [new.lease_id]
