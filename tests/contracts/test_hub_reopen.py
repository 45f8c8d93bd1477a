"""`reopen`: a consensus that nobody revealed is discarded."""

from __future__ import annotations

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Person, World, bytes32

DIGEST, OTHER = bytes32(1), bytes32(2)


@pytest.fixture
def task(world: World) -> str:
    """One dissenter, three that agree and do not reveal; the reveal deadline is reached."""
    opened = world.task(request={"trust": 3})
    for number, digest in ((0, OTHER), (1, DIGEST), (2, DIGEST), (3, DIGEST)):
        world.contribute(opened, world.worker(number), digest)
    world.now = world.view_task(opened).revealDeadline
    return opened


def _reopen(world: World, task: str, sender: Person | None = None) -> list[object]:
    return list(world.hub.transact("reopen", task, sender=(sender or world.scheduler).address)[1])


def test_the_silent_group_is_rejected_and_the_task_takes_contributions_again(world: World, task: str) -> None:
    logs = world.hub.transact("reopen", task, sender=world.scheduler.address)[1]
    assert [(log.name, log.arguments) for log in logs] == [("TaskReopen", {"taskid": task})]
    view = world.view_task(task)
    assert (view.status, view.consensusValue, view.revealDeadline, view.winnerCounter) == (1, ZERO32, 0, 0)
    assert [world.view_contribution(task, world.worker(n)).status for n in range(4)] == [1, 3, 3, 3]
    assert world.view_contribution(task, world.worker(1)).resultHash == ids.result_hash(task, DIGEST)
    assert world.frozen(world.worker(1)) == 3_000


def test_the_rejected_are_slashed_when_the_task_is_finalized(world: World, task: str) -> None:
    _reopen(world, task)
    world.contribute(task, world.worker(4), OTHER)
    assert world.view_task(task).winnerCounter == 2
    for number in (0, 4):
        world.reveal(task, world.worker(number), OTHER)
    world.finalize(task)
    assert [world.view_contribution(task, world.worker(n)).status for n in range(5)] == [2, 3, 3, 3, 2]
    for number in (1, 2, 3):
        assert world.frozen(world.worker(number)) == 0
        assert world.score(world.worker(number)) == 0
    assert world.score(world.worker(0)) == world.score(world.worker(4)) == 1
    assert world.balance(world.hub.address) == 0


def test_a_second_round_can_be_reopened_too(world: World, task: str) -> None:
    _reopen(world, task)
    for number in (4, 5, 6):
        world.contribute(task, world.worker(number), bytes32(3))
    assert world.view_task(task).winnerCounter == 3
    world.now = world.view_task(task).revealDeadline
    _reopen(world, task)
    assert [world.view_contribution(task, world.worker(n)).status for n in range(7)] == [1, 3, 3, 3, 3, 3, 3]


def test_the_rejected_get_their_stake_back_when_the_task_is_claimed(world: World, task: str) -> None:
    _reopen(world, task)
    world.now = world.view_task(task).finalDeadline
    world.hub.call("claim", task, sender=world.stranger.address)
    assert [world.frozen(world.worker(n)) for n in range(4)] == [0, 0, 0, 0]


def test_only_the_scheduler_reopens(world: World, task: str) -> None:
    for somebody in (world.stranger, world.requester, world.worker(0), world.owner):
        with reverts(NO_DATA):
            _reopen(world, task, somebody)


def test_not_before_the_reveal_deadline(world: World, task: str) -> None:
    world.now -= 1
    with reverts(NO_DATA):
        _reopen(world, task)


def test_not_once_somebody_revealed(world: World, task: str) -> None:
    world.now -= 1
    world.reveal(task, world.worker(1), DIGEST)
    world.now += 1
    with reverts(NO_DATA):
        _reopen(world, task)


def test_not_from_the_final_deadline_on(world: World, task: str) -> None:
    world.now = world.view_task(task).finalDeadline
    with reverts(NO_DATA):
        _reopen(world, task)
    world.now -= 1
    _reopen(world, task)


def test_not_a_task_without_consensus(world: World) -> None:
    task = world.task(request={"trust": 3})
    with reverts(NO_DATA):
        _reopen(world, task)
    with reverts(NO_DATA):
        _reopen(world, bytes32(77))
