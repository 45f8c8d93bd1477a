"""`viewRun`, `viewLane`, `computeRunId`, and what classic views answer for what is no classic task."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO32, checksum, from_hex, keccak, to_hex
from tests.contracts.batch import answers, batch_deal, finished_run, open_run, settle_run, view_run
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import World, bytes32

FLAG_BOOST = 128
FLAGS_BYTE = 1 + 64 + 20 + 5 + 4 + 1 + 1
"""Where the low byte of a deal's flags stands in its record (`contracts/lib/deals.vy`), after the STOP byte."""
RECORD_CODE = "0x631f2f216260e01b5f525f5f60045f335afa505f5f533d5f60013e3d6001015ff3"


def _make_boost(world: World, deal: str) -> None:
    """Set the flag of boost in the record of a deal, as the boost facet writes it."""
    salt = (int(deal, 16) >> 128).to_bytes(32, "big")
    preimage = b"\xff" + from_hex(world.hub.address.lower()) + salt + keccak(from_hex(RECORD_CODE))
    location = checksum(to_hex(keccak(preimage)[12:]))
    code = bytearray(boa.env.get_code(location))
    assert len(code) > 180
    code[FLAGS_BYTE] |= FLAG_BOOST
    boa.env.set_code(location, bytes(code))


# --- viewRun, viewLane, computeRunId --------------------------------------------------------------------------------


def test_what_is_no_run_is_all_zero(world: World) -> None:
    deal = batch_deal(world, 3)
    task = world.initialize(deal, 0, world.scheduler)
    for other in (bytes32(5), deal, task, runs.run_id(deal, 1, 2)):
        assert world.hub.call("viewRun", other) == (ZERO32, 0, 0, 0)
    run = open_run(world, deal, 2)
    assert world.hub.call("viewRun", run) == (deal, 1, 2, 1)


def test_the_lane_of_a_deal(world: World) -> None:
    classic, deal = world.deal(request={"volume": 3}), batch_deal(world, 3)
    for unknown in (bytes32(5), bytes32(int(deal, 16) ^ 1)):
        assert world.hub.call("viewLane", unknown) == (False, 0, False)
    assert world.hub.call("viewLane", classic) == (False, 0, False)
    assert world.hub.call("viewLane", deal) == (True, 0, False)
    open_run(world, deal, 2)
    assert world.hub.call("viewLane", deal) == (True, 2, False)
    world.now += 3_000
    world.hub.call("refundRest", deal, sender=world.stranger.address)
    assert world.hub.call("viewLane", deal) == (True, 2, True)


@pytest.mark.parametrize(("first", "count"), [(0, 1), (3, 4), (2**256 - 1, 2**256 - 1)])
def test_run_ids_are_those_of_the_definition(world: World, first: int, count: int) -> None:
    deal = bytes32(77)
    assert world.hub.call("computeRunId", deal, first, count) == runs.run_id(deal, first, count)


# --- classic views --------------------------------------------------------------------------------------------------


def test_a_task_in_a_run_is_unknown_until_it_is_materialised(world: World) -> None:
    run = finished_run(world, answers(3))
    task = ids.task_id(view_run(world, run).dealid, 1)
    assert world.view_task(task).status == 0
    assert world.view_task(task).contributors == ()
    assert world.view_contribution(task, world.worker()).status == 0
    with reverts("task-pending"):
        world.hub.call("resultFor", task)


def test_a_run_is_shown_like_a_task(world: World) -> None:
    deal = batch_deal(world, 9)
    world.initialize(deal, 0, world.scheduler)
    run, _ = settle_run(world, deal, answers(7))
    view = world.view_task(run)
    assert (view.status, view.dealid, view.idx) == (3, deal, 1)
    assert world.hub.call("resultFor", run) == b""
    pending = open_run(world, deal, 1)
    with reverts("task-pending"):
        world.hub.call("resultFor", pending)


def test_the_deal_and_what_its_orders_consumed_are_as_ever(world: World) -> None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    tag = bytes32(1 << 16)
    orders = world.orders(request={"volume": 7, "tag": tag}, workerpool={"tag": tag})
    deal = world.match(orders)
    before = world.hub.call("viewDeal", deal)
    settle_run(world, deal, answers(7))
    assert world.hub.call("viewDeal", deal) == before
    assert world.hub.call("viewConsumed", world.order_hash(orders.request)) == 7


# --- boost ----------------------------------------------------------------------------------------------------------


def test_a_deal_of_boost_is_none_of_the_classic_lane(world: World) -> None:
    deal = world.deal(request={"volume": 3})
    assert world.view_deal(deal).botSize == 3
    _make_boost(world, deal)
    assert world.view_deal(deal).botSize == 0
    assert world.hub.call("viewDeal", deal) == world.hub.call("viewDeal", bytes32(5))
    assert world.hub.call("viewLane", deal) == (False, 0, False)
    with reverts(NO_DATA):
        world.initialize(deal)
    with reverts(NO_DATA):
        world.hub.call("initializeArray", (deal,), (0,), sender=world.stranger.address)


def test_of_a_task_of_boost_only_the_status_is_shown(world: World) -> None:
    task = world.task()
    world.complete(task)
    _make_boost(world, world.view_task(task).dealid)
    nothing: tuple[Any, ...] = (ZERO32, 0, 0, 0, 0, 0, ZERO32, 0, 0, (), ZERO32, b"", 0, b"")
    assert world.hub.call("viewTask", task) == (3, *nothing)


def test_a_completed_task_of_boost_has_no_callback_data(world: World) -> None:
    """Its word has a status and a deal, and there is no record: what boost writes when a result is pushed."""
    deal = world.deal()
    _make_boost(world, deal)
    task = ids.task_id(deal, 0)
    tasks_slot = 6
    slot = int.from_bytes(keccak(tasks_slot.to_bytes(32, "big") + from_hex(task)), "big")
    boa.env.set_storage(world.hub.address, slot, 3 | (int(deal, 16) >> 128) << 128)
    assert world.view_task(task).status == 3
    assert world.hub.call("resultFor", task) == b""
    assert world.view_contribution(task, world.worker()).status == 0
