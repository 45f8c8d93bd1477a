"""`initialize`: which tasks open, once, with which deadlines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32
from tests.contracts.batch import BATCH_LANE, batch_deal, open_run, view_lane
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import World, bytes32, names


def test_a_task_opens_with_deadlines_that_count_from_the_deal(world: World) -> None:
    deal = world.deal(request={"category": 2}, workerpool={"category": 2})
    made = world.now
    world.now += 500
    task, logs = world.hub.transact("initialize", deal, 0, sender=world.stranger.address)
    assert task == ids.task_id(deal, 0)
    assert names(logs) == ["TaskInitialize"]
    assert logs[0].arguments == {"taskid": task, "workerpool": world.pool}
    view = world.view_task(task)
    assert (view.status, view.dealid, view.idx, view.timeref) == (1, deal, 0, 3_600)
    assert (view.contributionDeadline, view.finalDeadline) == (made + 7 * 3_600, made + 10 * 3_600)
    assert (view.revealDeadline, view.consensusValue, view.revealCounter, view.winnerCounter) == (0, ZERO32, 0, 0)
    assert (view.contributors, view.resultDigest, view.results, view.resultsCallback) == ((), ZERO32, b"", b"")
    assert view.resultsTimestamp == 0


def test_a_task_opens_once(world: World) -> None:
    deal = world.deal()
    world.initialize(deal)
    with reverts(NO_DATA):
        world.initialize(deal)


def test_indexes_outside_the_bag_do_not_open(world: World) -> None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    orders = world.orders(request={"volume": 10}, workerpool={"volume": 4})
    world.match(orders)
    pool = world.sign(replace(orders.workerpool, salt=bytes32(2**202)), world.scheduler)
    second = world.match(replace(orders, workerpool=pool))
    for index in (0, 3, 8, 2**32 + 4, 2**256 - 1):
        with reverts(NO_DATA):
            world.initialize(second, index)
    for index in (4, 7):
        task = world.initialize(second, index)
        assert task == ids.task_id(second, index)
        assert world.view_task(task).idx == index


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_finished_task_does_not_open_again(world: World, status: str) -> None:
    deal = world.deal()
    task = world.initialize(deal)
    if status == "completed":
        world.complete(task)
    else:
        world.now += 3_000
        world.hub.call("claim", task, sender=world.stranger.address)
    with reverts(NO_DATA):
        world.initialize(deal)


def test_a_task_opens_even_after_all_deadlines(world: World) -> None:
    deal = world.deal()
    world.now += 10**6
    assert world.view_task(world.initialize(deal)).status == 1


def test_an_unknown_deal_reverts_without_data(world: World) -> None:
    with reverts(NO_DATA):
        world.initialize(bytes32(12345))


def test_a_deal_id_that_shares_only_the_upper_half_is_unknown(world: World) -> None:
    """The record is found by the upper 128 bits; the lower ones must agree too, or a deal could be opened twice."""
    deal = int(world.deal(), 16)
    for bit in (0, 31, 32, 127):
        with reverts(NO_DATA):
            world.initialize(bytes32(deal ^ (1 << bit)))
        assert world.view_deal(bytes32(deal ^ (1 << bit))).botSize == 0


def test_in_the_batch_lane_only_the_next_task_opens(world: World) -> None:
    deal = batch_deal(world, 4)
    for index in (1, 3):
        with reverts(NO_DATA):
            world.initialize(deal, index, world.scheduler)
    for index in (0, 1):
        assert world.view_task(world.initialize(deal, index, world.scheduler)).idx == index
        assert view_lane(world, deal).cursor == index + 1
    for index in (0, 1, 3):
        with reverts(NO_DATA):
            world.initialize(deal, index, world.scheduler)
    for index in (2, 3):
        world.initialize(deal, index, world.scheduler)
    with reverts(NO_DATA):
        world.initialize(deal, 4, world.scheduler)


def test_in_the_batch_lane_the_scheduler_opens_until_the_final_deadline_then_anybody(world: World) -> None:
    deal = batch_deal(world, 4)
    world.now += 3_000 - 1
    for person in (world.stranger, world.requester, world.app_owner, world.worker()):
        with reverts(NO_DATA):
            world.initialize(deal, 0, person)
    world.initialize(deal, 0, world.scheduler)
    world.now += 1
    for index, person in ((1, world.stranger), (2, world.requester), (3, world.scheduler)):
        world.initialize(deal, index, person)


def test_what_a_run_took_does_not_open(world: World) -> None:
    deal = batch_deal(world, 4)
    open_run(world, deal, 2)
    for index in (0, 1):
        with reverts(NO_DATA):
            world.initialize(deal, index, world.scheduler)
    assert world.view_task(world.initialize(deal, 2, world.scheduler)).status == 1


def test_what_the_batch_lane_refunded_does_not_open(world: World) -> None:
    deal = batch_deal(world, 4)
    world.initialize(deal, 0, world.scheduler)
    world.now += 3_000
    world.hub.call("refundRest", deal, sender=world.stranger.address)
    for index in (1, 3):
        with reverts(NO_DATA):
            world.initialize(deal, index, world.scheduler)


def test_the_frontier_is_no_matter_of_the_classic_lane(world: World) -> None:
    deal = world.deal(request={"volume": 4})
    for index in (3, 0):
        assert world.view_task(world.initialize(deal, index)).status == 1
    assert (view_lane(world, deal).inBatchLane, view_lane(world, deal).cursor) == (False, 0)


def test_a_matcher_cannot_inject_the_batch_lane(world: World) -> None:
    """The lane bit counts only where requester and scheduler both signed it."""
    deal = world.deal(app={"tag": BATCH_LANE}, workerpool={"tag": BATCH_LANE}, request={"volume": 4})
    assert world.view_deal(deal).tag == BATCH_LANE
    assert not view_lane(world, deal).inBatchLane
    with reverts(NO_DATA):
        open_run(world, deal, 4)
    assert world.view_task(world.initialize(deal, 3)).status == 1
