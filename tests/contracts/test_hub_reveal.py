"""`reveal`: who shows which digest, until when."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Person, World, bytes32

DIGEST, OTHER = bytes32(1), bytes32(2)


@pytest.fixture
def task(world: World) -> str:
    """Two workers agree, one dissents, one has not contributed."""
    opened = world.task(request={"trust": 3})
    world.contribute(opened, world.worker(0), DIGEST)
    world.contribute(opened, world.worker(1), OTHER)
    world.contribute(opened, world.worker(2), DIGEST)
    world.contribute(opened, world.worker(3), DIGEST)
    assert world.view_task(opened).status == 2
    return opened


def _state(world: World, task: str, worker: Person) -> tuple[Any, ...]:
    view = world.view_contribution(task, worker)
    return (view.status, view.resultHash, view.resultSeal)


def test_a_winner_reveals_and_its_contribution_is_proved(world: World, task: str) -> None:
    winner = world.worker(2)
    logs = world.reveal(task, winner, DIGEST)
    assert [(log.name, log.arguments) for log in logs] == [
        ("TaskReveal", {"taskid": task, "worker": winner.address, "digest": DIGEST})
    ]
    view = world.view_task(task)
    assert (view.status, view.revealCounter, view.winnerCounter, view.resultDigest) == (2, 1, 3, DIGEST)
    assert view.consensusValue == ids.result_hash(task, DIGEST)


def test_what_the_views_show_of_hash_and_seal_never_changes(world: World, task: str) -> None:
    """The chain forgets hash and seal at the reveal and computes them from the digest again."""
    expected = {
        number: (ids.result_hash(task, digest), ids.result_seal(world.worker(number).address, task, digest))
        for number, digest in ((0, DIGEST), (1, OTHER), (2, DIGEST), (3, DIGEST))
    }

    def shown() -> dict[int, tuple[Any, ...]]:
        return {number: _state(world, task, world.worker(number))[1:] for number in range(4)}

    assert shown() == expected
    for number in (3, 0, 2):
        world.reveal(task, world.worker(number), DIGEST)
        assert shown() == expected
        assert _state(world, task, world.worker(number))[0] == 2
    assert _state(world, task, world.worker(1))[0] == 1


def test_a_worker_reveals_once(world: World, task: str) -> None:
    world.reveal(task, world.worker(0), DIGEST)
    with reverts(NO_DATA):
        world.reveal(task, world.worker(0), DIGEST)


def test_a_wrong_digest_is_refused_first_and_later(world: World, task: str) -> None:
    with reverts(NO_DATA):
        world.reveal(task, world.worker(0), OTHER)
    world.reveal(task, world.worker(0), DIGEST)
    with reverts(NO_DATA):
        world.reveal(task, world.worker(2), OTHER)


def test_a_dissenter_has_nothing_to_reveal(world: World, task: str) -> None:
    for digest in (OTHER, DIGEST):
        with reverts(NO_DATA):
            world.reveal(task, world.worker(1), digest)


def test_who_did_not_contribute_cannot_reveal(world: World, task: str) -> None:
    with reverts(NO_DATA):
        world.reveal(task, world.worker(4), DIGEST)


def test_who_copied_a_hash_without_its_digest_cannot_reveal(world: World) -> None:
    """A seal for another worker's address does not hold, although hash and digest are right."""
    task = world.task(request={"trust": 3})
    world.contribute(task, world.worker(0), DIGEST)
    thief = world.worker(1)
    world.fund(thief)
    copied = ids.result_seal(world.worker(0).address, task, DIGEST)
    world.hub.call(
        "contribute",
        task,
        ids.result_hash(task, DIGEST),
        copied,
        "0x" + "00" * 20,
        b"",
        world.authorisation(task, thief),
        sender=thief.address,
    )
    with reverts(NO_DATA):
        world.reveal(task, thief, DIGEST)
    world.reveal(task, world.worker(0), DIGEST)


def test_reveals_end_at_their_deadline(world: World, task: str) -> None:
    deadline = world.view_task(task).revealDeadline
    world.now = deadline
    with reverts(NO_DATA):
        world.reveal(task, world.worker(0), DIGEST)
    world.now = deadline - 1
    world.reveal(task, world.worker(0), DIGEST)


def test_nothing_is_revealed_before_consensus(world: World) -> None:
    task = world.task(request={"trust": 3})
    world.contribute(task, world.worker(0), DIGEST)
    with reverts(NO_DATA):
        world.reveal(task, world.worker(0), DIGEST)


def test_nothing_is_revealed_after_the_end(world: World, task: str) -> None:
    world.reveal(task, world.worker(0), DIGEST)
    world.now = world.view_task(task).revealDeadline
    world.finalize(task)
    world.now -= 10
    with reverts(NO_DATA):
        world.reveal(task, world.worker(2), DIGEST)
