"""When contributions agree enough: thresholds by number of workers, dissent, history, reopened groups."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.protocol.consensus import ConsensusState
from fairgrid.protocol.trust import log2_weight, worker_weight
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import World, bytes32

DIGEST, OTHER = bytes32(1), bytes32(2)


def _reached(world: World, task: str) -> bool:
    return bool(world.view_task(task).status == 2)


@pytest.mark.parametrize(("workers", "trust"), [(1, 2), (2, 4), (3, 8), (5, 32)])
def test_agreeing_newcomers_reach_two_to_their_number(world: World, workers: int, trust: int) -> None:
    enough, too_much = world.task(request={"trust": trust}), world.task(request={"trust": trust + 1})
    for number in range(workers):
        assert not _reached(world, enough)
        world.contribute(enough, world.worker(number), DIGEST)
        world.contribute(too_much, world.worker(number), DIGEST)
    assert _reached(world, enough)
    assert world.view_task(enough).winnerCounter == workers
    assert not _reached(world, too_much)
    world.contribute(too_much, world.worker(workers), DIGEST)
    assert _reached(world, too_much)


@pytest.mark.parametrize("trust", [0, 1])
def test_at_trust_one_the_first_contribution_wins(world: World, trust: int) -> None:
    task = world.task(request={"trust": trust})
    world.contribute(task, world.worker(), DIGEST)
    assert _reached(world, task)


@pytest.mark.parametrize(("workers", "trust"), [(3, 3), (4, 6), (5, 11), (6, 22)])
def test_one_dissenter_raises_the_number_that_is_needed(world: World, workers: int, trust: int) -> None:
    """t < (2ⁿ + 3) / 3 for n that agree and one that does not (decision 1)."""
    enough, too_much = world.task(request={"trust": trust}), world.task(request={"trust": trust + 1})
    for task in (enough, too_much):
        world.contribute(task, world.worker(99), OTHER)
        for number in range(workers):
            assert not _reached(world, task)
            world.contribute(task, world.worker(number), DIGEST)
    assert _reached(world, enough)
    assert world.view_task(enough).winnerCounter == workers
    assert not _reached(world, too_much)


def test_only_the_group_that_just_grew_can_win(world: World) -> None:
    task = world.task(request={"trust": 3})
    world.contribute(task, world.worker(0), DIGEST)
    world.contribute(task, world.worker(1), OTHER)
    world.contribute(task, world.worker(2), bytes32(3))
    world.contribute(task, world.worker(3), OTHER)
    assert not _reached(world, task)
    world.contribute(task, world.worker(4), OTHER)
    assert not _reached(world, task)
    world.contribute(task, world.worker(5), OTHER)
    assert _reached(world, task)
    assert world.view_task(task).winnerCounter == 4


@pytest.mark.parametrize(("score", "weight"), [(0, 2), (11, 2), (12, 3), (14, 3), (15, 4), (300, 99)])
def test_weight_grows_with_the_score(world: World, score: int, weight: int) -> None:
    """Alone, a worker of weight w reaches every trust t with w·t > (1 + w)(t - 1), that is t ≤ w."""
    world.fund(world.worker(0))
    world.set_score(world.worker(0), score)
    enough, too_much = world.task(request={"trust": weight}), world.task(request={"trust": weight + 1})
    world.contribute(enough, world.worker(0), DIGEST)
    world.contribute(too_much, world.worker(0), DIGEST)
    assert _reached(world, enough)
    assert not _reached(world, too_much)
    assert world.view_contribution(enough, world.worker(0)).weight == log2_weight(weight)


def test_a_reopened_group_starts_again_from_nothing(world: World) -> None:
    task = world.task(request={"trust": 4})
    world.contribute(task, world.worker(0), DIGEST)
    world.contribute(task, world.worker(1), DIGEST)
    world.now += 600
    world.hub.call("reopen", task, sender=world.scheduler.address)
    with reverts(NO_DATA):
        world.contribute(task, world.worker(0), DIGEST)
    world.contribute(task, world.worker(2), DIGEST)
    assert not _reached(world, task)
    world.contribute(task, world.worker(3), DIGEST)
    assert _reached(world, task)
    assert world.view_task(task).winnerCounter == 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    trust=st.integers(0, 200),
    votes=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 12, 40, 3_000])), min_size=1, max_size=7),
)
def test_consensus_is_that_of_the_model(world: World, trust: int, votes: list[tuple[int, int]]) -> None:
    with world.anchor():
        task = world.task(request={"trust": trust})
        state = ConsensusState()
        for number, (vote, score) in enumerate(votes):
            world.fund(world.worker(number))
            world.set_score(world.worker(number), score)
            world.contribute(task, world.worker(number), bytes32(vote))
            state = state.add(str(vote), worker_weight(score))
            assert _reached(world, task) == state.reached(str(vote), trust)
            if state.reached(str(vote), trust):
                assert world.view_task(task).winnerCounter == sum(v == vote for v, _ in votes[: number + 1])
                break
