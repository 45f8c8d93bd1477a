"""`splitRun`: who may split which runs, what happens to who contributed, and that the halves are the whole."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import runs
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.batch import (
    agree,
    answers,
    batch_deal,
    finalize_run,
    open_run,
    reopen,
    split_run,
    view_lane,
    view_run,
)
from tests.contracts.registries import NO_DATA, Log, reverts
from tests.contracts.world import RICH, World, bytes32, names

LIE = bytes32(666)


def _run(world: World, count: int = 7, trust: int = 8, **changes: Any) -> str:
    return open_run(world, batch_deal(world, count, request={"trust": trust}, **changes), count)


def _split(world: World, run: str, left: int) -> list[Log]:
    return world.hub.transact("splitRun", run, left, sender=world.scheduler.address)[1]


def _disagree(world: World, run: str) -> None:
    world.contribute(run, world.worker(0), bytes32(1))
    world.contribute(run, world.worker(1), LIE)


# --- what comes of it -----------------------------------------------------------------------------------------------


def test_a_run_without_contributions_becomes_two(world: World) -> None:
    run = _run(world)
    deal = view_run(world, run).dealid
    answer, logs = world.hub.transact("splitRun", run, 3, sender=world.scheduler.address)
    left, right = runs.run_id(deal, 0, 3), runs.run_id(deal, 3, 4)
    assert answer == (left, right)
    assert [(log.name, log.arguments) for log in logs] == [
        ("RunSplit", {"runid": run, "leftid": left, "rightid": right}),
        ("RunOpen", {"runid": left, "dealid": deal, "first": 0, "count": 3}),
        ("RunOpen", {"runid": right, "dealid": deal, "first": 3, "count": 4}),
    ]
    assert (view_run(world, run).status, world.view_task(run).status) == (5, 5)
    for half, first, count in ((left, 0, 3), (right, 3, 4)):
        shown = view_run(world, half)
        assert (shown.dealid, shown.first, shown.count, shown.status) == (deal, first, count, 1)
    assert view_lane(world, deal).cursor == 7


def test_who_disagreed_gets_its_stake_back_and_keeps_its_score(world: World) -> None:
    run = _run(world)
    for number in (0, 1):
        world.set_score(world.worker(number), 9)
    _disagree(world, run)
    assert world.frozen(world.worker(0)) == 7 * 3_000
    logs = _split(world, run, 3)
    hub = world.hub.address
    assert [(log.name, log.arguments) for log in logs[:4]] == [
        ("Transfer", {"from": hub, "to": world.worker(0).address, "value": 21_000}),
        ("Unlock", {"owner": world.worker(0).address, "amount": 21_000}),
        ("Transfer", {"from": hub, "to": world.worker(1).address, "value": 21_000}),
        ("Unlock", {"owner": world.worker(1).address, "amount": 21_000}),
    ]
    assert names(logs)[4:] == ["RunSplit", "RunOpen", "RunOpen"]
    for number in (0, 1):
        worker = world.worker(number)
        assert (world.balance(worker), world.frozen(worker), world.score(worker)) == (RICH, 0, 9)
    assert world.frozen(KITTY_ADDRESS) == 0


def test_who_did_not_reveal_loses_its_stake_to_the_kitty_at_once(world: World) -> None:
    run = _run(world, trust=3)
    world.set_score(world.worker(1), 21)
    world.contribute(run, world.worker(0), bytes32(1))
    world.contribute(run, world.worker(1), LIE)
    world.contribute(run, world.worker(2), LIE)
    assert world.view_task(run).status == 2
    reopen(world, run)
    logs = _split(world, run, 6)
    hub, slashed = world.hub.address, world.worker(1).address
    assert [(log.name, log.arguments) for log in logs[:6]] == [
        ("Transfer", {"from": hub, "to": world.worker(0).address, "value": 21_000}),
        ("Unlock", {"owner": world.worker(0).address, "amount": 21_000}),
        ("Seize", {"owner": slashed, "amount": 21_000, "ref": run}),
        ("Reward", {"owner": KITTY_ADDRESS, "amount": 21_000, "ref": run}),
        ("Lock", {"owner": KITTY_ADDRESS, "amount": 21_000}),
        ("FaultyContribution", {"worker": slashed, "taskid": run}),
    ]
    assert names(logs)[6:] == ["Seize", "Reward", "Lock", "FaultyContribution", "RunSplit", "RunOpen", "RunOpen"]
    assert [world.balance(world.worker(n)) for n in range(3)] == [RICH, RICH - 21_000, RICH - 21_000]
    assert [world.score(world.worker(n)) for n in range(3)] == [0, 14, 0]
    assert world.frozen(KITTY_ADDRESS) == 42_000
    assert [world.frozen(world.worker(n)) for n in range(3)] == [0, 0, 0]


def test_a_consensus_that_its_only_worker_did_not_reveal_is_reason_enough(world: World) -> None:
    run = _run(world, trust=1)
    world.contribute(run, world.worker(), LIE)
    reopen(world, run)
    _split(world, run, 1)
    assert world.frozen(KITTY_ADDRESS) == 21_000


def test_the_halves_live_on_their_own(world: World) -> None:
    """Who lied about one half is slashed there; the whole deal pays what its tasks cost."""
    run = _run(world, trust=3)
    _disagree(world, run)
    left, right = split_run(world, run, 3)
    first, second = answers(3), answers(4, seed=1)
    world.contribute(left, world.worker(1), LIE)
    agree(world, left, first, world.worker(0), world.worker(2), world.worker(3))
    finalize_run(world, left, first)
    agree(world, right, second, world.worker(0), world.worker(1))
    finalize_run(world, right, second)
    assert world.balance(world.requester) == RICH - 7 * 11_001
    assert (world.frozen(world.requester), world.frozen(world.scheduler)) == (0, 0)
    # It is funded again for each contribution: three times, less what it lost of the left, with its share of the right.
    assert world.balance(world.worker(1)) == 3 * RICH - 3 * 3_000 + 4 * 10_001 * 99 // 100 // 2
    assert world.balance(world.hub.address) == 0


def test_a_half_is_split_again_down_to_single_tasks(world: World) -> None:
    run = _run(world, count=4)
    left, right = split_run(world, run, 2)
    deal = view_run(world, run).dealid
    singles = (*split_run(world, left, 1), *split_run(world, right, 1))
    assert singles == tuple(runs.run_id(deal, first, 1) for first in range(4))
    for single in singles:
        with reverts(NO_DATA):
            _split(world, single, 1)


# --- conditions -----------------------------------------------------------------------------------------------------


def test_only_the_scheduler_splits(world: World) -> None:
    run = _run(world)
    for person in (world.stranger, world.requester, world.owner, world.worker()):
        with reverts(NO_DATA):
            split_run(world, run, 3, person)
    split_run(world, run, 3)


@pytest.mark.parametrize("left", [0, 7, 8, 2**256 - 1])
def test_each_half_has_a_task(world: World, left: int) -> None:
    run = _run(world)
    with reverts(NO_DATA):
        _split(world, run, left)
    for good in (1, 6):
        with world.anchor():
            _split(world, run, good)


def test_who_agree_so_far_are_not_split(world: World) -> None:
    run = _run(world)
    for number in (0, 1):
        world.contribute(run, world.worker(number), bytes32(1))
        with reverts(NO_DATA):
            _split(world, run, 3)
    world.contribute(run, world.worker(2), LIE)
    _split(world, run, 3)


def test_a_run_is_split_while_contributions_are_taken(world: World) -> None:
    run = _run(world)
    world.now = world.view_task(run).contributionDeadline
    with reverts(NO_DATA):
        _split(world, run, 3)
    world.now -= 1
    _split(world, run, 3)


def test_a_run_that_reveals_or_is_over_is_not_split(world: World) -> None:
    result = answers(7)
    run = _run(world, trust=1)
    world.contribute(run, world.worker(), result.digest)
    with reverts(NO_DATA):
        _split(world, run, 3)
    world.reveal(run, world.worker(), result.digest)
    with reverts(NO_DATA):
        _split(world, run, 3)
    finalize_run(world, run, result)
    with reverts(NO_DATA):
        _split(world, run, 3)


def test_a_split_run_is_over(world: World) -> None:
    run = _run(world, trust=1)
    _split(world, run, 3)
    with reverts(NO_DATA):
        _split(world, run, 3)
    with reverts(NO_DATA):
        world.contribute(run, world.worker(), bytes32(1))
    world.now = world.view_task(run).finalDeadline
    with reverts(NO_DATA):
        world.hub.call("claim", run, sender=world.stranger.address)


def test_a_task_and_an_unknown_id_are_not_split(world: World) -> None:
    deal = batch_deal(world, 3)
    task = world.initialize(deal, 0, world.scheduler)
    for other in (task, bytes32(5), deal):
        for left in (0, 1):
            with reverts(NO_DATA):
                _split(world, other, left)
