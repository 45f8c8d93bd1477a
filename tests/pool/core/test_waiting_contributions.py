"""Contributions that are mined and not deep enough to be believed yet."""

from __future__ import annotations

from fairgrid.pool.core.events import (
    ContributionsAhead,
)
from fairgrid.pool.core.instructions import (
    SendAuthorisation,
    SendLease,
)
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_facts import SeenContribution
from fairgrid.protocol.ids import result_hash
from tests.pool.fakes import Fake, digest_of, honest
from tests.pool.support import TIMEREF, World, phase_of


def _mine(world: World, task: str, *fakes: Fake, answer: str = "right") -> None:
    """Contributions that the newest block has, and that are not deep enough to be facts."""
    value = result_hash(task, digest_of(answer))
    world.feed(ContributionsAhead(task, tuple(SeenContribution(fake.address, value, 2) for fake in fakes)))


def _cautious(*, trust: int, workers: int) -> tuple[World, str, list[Fake]]:
    """A task whose workers are all sealed, the first of them authorised, on a chain where depth takes long."""
    fakes = honest(workers)
    for fake in fakes:
        fake.obeys_authorisation = False
    order = tuple(fake.address for fake in fakes)
    world = World(fakes, Policy(confirmations=12, authorisation_order=order))
    task = world.deal(trust)
    world.run()
    return world, task, fakes


def test_a_worker_whose_contribution_waits_for_its_confirmations_is_not_given_up() -> None:
    world, task, (first,) = _cautious(trust=1, workers=1)
    _mine(world, task, first)
    for _ in range(5):
        world.tick(60)
        world.run()
    assert phase_of(world, task, first) is ReplicaPhase.AUTHORISED
    world.contribute(first, task)
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert len(world.given(SendLease)) == 1


def test_the_next_is_authorised_when_the_contribution_before_is_mined_not_when_it_is_deep() -> None:
    world, task, fakes = _cautious(trust=8, workers=3)
    for count in range(1, len(fakes) + 1):
        assert [given.worker for given in world.given(SendAuthorisation)] == [each.address for each in fakes[:count]]
        _mine(world, task, *fakes[:count])
    for fake in fakes:
        world.contribute(fake, task)
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_nobody_is_leased_or_authorised_while_mined_contributions_that_reach_consensus_get_deep() -> None:
    world, task, (first, second) = _cautious(trust=2, workers=2)
    _mine(world, task, first)
    for _ in range(5):
        world.tick(30)
        world.run()
    assert not world.given(SendAuthorisation, second)
    assert len(world.given(SendLease)) == 1


def test_mined_contributions_that_disagree_lead_to_the_next_round_before_they_are_deep() -> None:
    world, task, _ = _cautious(trust=4, workers=5)
    first = world.fakes[world.given(SendAuthorisation)[0].worker]
    _mine(world, task, first)
    second = world.fakes[world.given(SendAuthorisation)[1].worker]
    value = result_hash(task, digest_of("wrong"))
    ahead = world.machine.tasks[task].ahead
    world.feed(ContributionsAhead(task, (*ahead, SeenContribution(second.address, value, 2))))
    world.run()
    assert world.machine.tasks[task].round == 1
    assert len(world.given(SendLease)) > 2
    assert world.given(SendAuthorisation)[-1].worker not in (first.address, second.address)


def test_a_worker_whose_contribution_a_reorganisation_took_back_has_its_time_to_send_it_again() -> None:
    world, task, (first,) = _cautious(trust=1, workers=1)
    _mine(world, task, first)
    world.tick(4 * TIMEREF)
    _mine(world, task)
    world.tick(59)
    assert phase_of(world, task, first) is ReplicaPhase.AUTHORISED
    world.tick(1)
    assert world.machine.tasks[task].replicas[0].phase is ReplicaPhase.GIVEN_UP
