"""Workers that lie, open wrongly or not at all: they lose, they are banned, and the task completes."""

from __future__ import annotations

import json

import pytest

from fairgrid.pool.core.events import (
    Held,
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
from tests.pool.fakes import Fake, address, digest_of, honest
from tests.pool.support import World


def _liar(name: str = "liar") -> Fake:
    return Fake(name, owner=name, answer="wrong")


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
