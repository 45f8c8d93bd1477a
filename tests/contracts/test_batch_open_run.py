"""`openRun`: who opens how many of a deal's next tasks as a run, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO32
from tests.contracts.batch import BATCH_LANE, batch_deal, open_run, view_lane, view_run
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import World, bytes32


def test_a_run_opens_at_the_frontier_and_moves_it(world: World) -> None:
    deal = batch_deal(world, 10)
    made = world.now
    world.now += 500
    run, logs = world.hub.transact("openRun", deal, 4, sender=world.scheduler.address)
    assert run == runs.run_id(deal, 0, 4)
    assert [(log.name, log.arguments) for log in logs] == [
        ("RunOpen", {"runid": run, "dealid": deal, "first": 0, "count": 4})
    ]
    shown = view_run(world, run)
    assert (shown.dealid, shown.first, shown.count, shown.status) == (deal, 0, 4, 1)
    task = world.view_task(run)
    assert (task.status, task.dealid, task.idx, task.timeref) == (1, deal, 0, 300)
    assert (task.contributionDeadline, task.finalDeadline) == (made + 7 * 300, made + 10 * 300)
    assert (task.revealDeadline, task.contributors, task.consensusValue, task.resultDigest) == (0, (), ZERO32, ZERO32)
    assert view_lane(world, deal).cursor == 4
    second = open_run(world, deal, 6)
    assert second == runs.run_id(deal, 4, 6)
    assert view_run(world, second).first == 4


def test_indexes_count_within_the_request(world: World) -> None:
    """The second deal of a request starts where the first ended."""
    world.fund(world.requester)
    world.fund(world.scheduler)
    orders = world.orders(request={"volume": 10, "tag": BATCH_LANE}, workerpool={"volume": 4, "tag": BATCH_LANE})
    world.match(orders)
    pool = world.sign(replace(orders.workerpool, salt=bytes32(2**202)), world.scheduler)
    second = world.match(replace(orders, workerpool=pool))
    assert view_lane(world, second).cursor == 4
    run = open_run(world, second, 3)
    assert run == runs.run_id(second, 4, 3)
    assert (view_run(world, run).first, world.view_task(run).idx) == (4, 4)
    assert view_lane(world, second).cursor == 7


def test_no_money_moves(world: World) -> None:
    deal = batch_deal(world, 10)
    people = (world.requester, world.scheduler)
    before = [(world.balance(person), world.frozen(person)) for person in people]
    open_run(world, deal, 10)
    assert [(world.balance(person), world.frozen(person)) for person in people] == before


def test_only_the_scheduler_opens(world: World) -> None:
    deal = batch_deal(world, 10)
    for person in (world.stranger, world.requester, world.owner, world.worker(), world.app_owner):
        with reverts(NO_DATA):
            open_run(world, deal, 1, person)
    open_run(world, deal, 1)


@pytest.mark.parametrize(("request_bit", "pool_bit"), [(False, False), (False, True)])
def test_a_deal_of_the_classic_lane_has_no_runs(world: World, request_bit: bool, pool_bit: bool) -> None:
    deal = world.deal(
        request={"volume": 10, "tag": BATCH_LANE if request_bit else ZERO32},
        workerpool={"tag": BATCH_LANE if pool_bit else ZERO32},
    )
    with reverts(NO_DATA):
        open_run(world, deal, 1)
    open_run(world, batch_deal(world, 10), 1)


def test_an_unknown_deal_has_no_runs(world: World) -> None:
    deal = batch_deal(world, 10)
    for unknown in (bytes32(5), bytes32(int(deal, 16) ^ 1), bytes32(int(deal, 16) ^ (1 << 127))):
        with reverts(NO_DATA):
            open_run(world, unknown, 1)


def test_at_least_one_task_and_no_more_than_the_deal_has(world: World) -> None:
    deal = batch_deal(world, 10)
    for count in (0, 11, 2**20, 2**256 - 1):
        with reverts(NO_DATA):
            open_run(world, deal, count)
    open_run(world, deal, 3)
    for count in (0, 8):
        with reverts(NO_DATA):
            open_run(world, deal, count)
    open_run(world, deal, 7)
    with reverts(NO_DATA):
        open_run(world, deal, 1)


def test_a_run_has_less_than_two_to_the_twenty_tasks(world: World) -> None:
    many = {"volume": 2**21}
    free = {"workerpoolprice": 0}
    deal = batch_deal(
        world,
        2**21,
        app={**many, "appprice": 0},
        workerpool={**many, **free},
    )
    for count in (2**20, 2**20 + 1):
        with reverts(NO_DATA):
            open_run(world, deal, count)
    run = open_run(world, deal, 2**20 - 1)
    assert view_run(world, run).count == 2**20 - 1
    assert view_run(world, open_run(world, deal, 2**20 - 1)).first == 2**20 - 1


def test_runs_open_while_contributions_are_taken(world: World) -> None:
    deal = batch_deal(world, 10)
    world.now += 7 * 300
    with reverts(NO_DATA):
        open_run(world, deal, 1)
    world.now -= 1
    open_run(world, deal, 1)


def test_a_run_follows_a_task_and_a_task_a_run(world: World) -> None:
    deal = batch_deal(world, 10)
    world.initialize(deal, 0, world.scheduler)
    assert view_run(world, open_run(world, deal, 5)).first == 1
    world.initialize(deal, 6, world.scheduler)
    assert view_run(world, open_run(world, deal, 3)).first == 7


def test_a_run_of_one_is_no_task(world: World) -> None:
    deal = batch_deal(world, 2)
    run = open_run(world, deal, 1)
    assert run != ids.task_id(deal, 0)
    assert world.view_task(ids.task_id(deal, 0)).status == 0
    assert view_run(world, run).count == 1
