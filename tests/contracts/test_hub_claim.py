"""`claim`: what happens to the money of a task that was not finalized in time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.registries import NO_DATA, Log, reverts
from tests.contracts.world import RICH, World, bytes32

DIGEST, LIE = bytes32(1), bytes32(666)


def _claim(world: World, task: str) -> list[Log]:
    return world.hub.transact("claim", task, sender=world.stranger.address)[1]


def _expire(world: World, task: str) -> None:
    world.now = world.view_task(task).finalDeadline


def test_everybody_but_the_scheduler_gets_its_money_back(world: World) -> None:
    task = world.task(with_dataset=True, request={"trust": 3})
    world.contribute(task, world.worker(0), DIGEST)
    world.contribute(task, world.worker(1), LIE)
    _expire(world, task)
    logs = _claim(world, task)
    hub = world.hub.address
    assert [(log.name, log.arguments) for log in logs] == [
        ("Transfer", {"from": hub, "to": world.requester.address, "value": 11_301}),
        ("Unlock", {"owner": world.requester.address, "amount": 11_301}),
        ("Seize", {"owner": world.scheduler.address, "amount": 3_000, "ref": task}),
        ("Reward", {"owner": KITTY_ADDRESS, "amount": 3_000, "ref": task}),
        ("Lock", {"owner": KITTY_ADDRESS, "amount": 3_000}),
        ("Transfer", {"from": hub, "to": world.worker(0).address, "value": 3_000}),
        ("Unlock", {"owner": world.worker(0).address, "amount": 3_000}),
        ("Transfer", {"from": hub, "to": world.worker(1).address, "value": 3_000}),
        ("Unlock", {"owner": world.worker(1).address, "amount": 3_000}),
        ("TaskClaimed", {"taskid": task}),
    ]
    assert world.balance(world.requester) == RICH
    assert world.balance(world.scheduler) == RICH - 3_000
    assert (world.frozen(world.requester), world.frozen(world.scheduler), world.frozen(KITTY_ADDRESS)) == (0, 0, 3_000)
    assert world.balance(hub) == 3_000
    assert [world.score(world.worker(n)) for n in (0, 1)] == [0, 0]
    assert world.view_task(task).status == 4


def test_only_one_task_of_a_bag_is_refunded(world: World) -> None:
    deal = world.deal(request={"volume": 3})
    task = world.initialize(deal, 1)
    _expire(world, task)
    _claim(world, task)
    assert world.frozen(world.requester) == 2 * 11_001
    assert world.frozen(world.scheduler) == 2 * 3_000


def test_not_before_the_final_deadline(world: World) -> None:
    task = world.task()
    _expire(world, task)
    world.now -= 1
    with reverts(NO_DATA):
        _claim(world, task)
    world.now += 1
    _claim(world, task)


def test_a_task_is_claimed_once(world: World) -> None:
    task = world.task()
    _expire(world, task)
    _claim(world, task)
    with reverts(NO_DATA):
        _claim(world, task)


def test_a_finalized_task_cannot_be_claimed(world: World) -> None:
    task = world.task()
    world.complete(task)
    _expire(world, task)
    with reverts(NO_DATA):
        _claim(world, task)


def test_a_task_that_was_never_initialized_cannot_be_claimed(world: World) -> None:
    deal = world.deal()
    world.now += 10**6
    with reverts(NO_DATA):
        _claim(world, ids.task_id(deal, 0))
    _claim(world, world.initialize(deal))


def _nothing(world: World, task: str) -> None:
    assert world.view_task(task).contributors == ()


def _consensus(world: World, task: str) -> None:
    world.contribute(task, world.worker(0), DIGEST)


def _revealed(world: World, task: str) -> None:
    _consensus(world, task)
    world.reveal(task, world.worker(0), DIGEST)


def _reopened(world: World, task: str) -> None:
    _consensus(world, task)
    world.now = world.view_task(task).revealDeadline
    world.hub.call("reopen", task, sender=world.scheduler.address)


@pytest.mark.parametrize(
    ("prepare", "counters"),
    [(_nothing, (0, 0)), (_consensus, (1, 0)), (_revealed, (1, 1)), (_reopened, (0, 0))],
)
def test_a_claim_from_every_open_state(
    world: World, prepare: Callable[[World, str], None], counters: tuple[int, int]
) -> None:
    task = world.task()
    prepare(world, task)
    _expire(world, task)
    _claim(world, task)
    view = world.view_task(task)
    assert (view.status, view.winnerCounter, view.revealCounter) == (4, *counters)
    assert view.consensusValue == (ids.result_hash(task, DIGEST) if counters[0] else ZERO32)
    assert view.resultDigest == (DIGEST if counters[1] else ZERO32)
    assert world.frozen(world.worker(0)) == world.frozen(world.requester) == world.frozen(world.scheduler) == 0
    with reverts("task-pending"):
        world.hub.call("resultFor", task)
