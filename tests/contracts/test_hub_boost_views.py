"""`viewDealBoost`, and what the classic views answer for deals and tasks of boost."""

from __future__ import annotations

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.contracts.boosting import TIMEREF, boost_deal, claim, push
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Person, World, bytes32

UNKNOWN = "0x" + "77" * 32
NO_DEAL_BOOST = (
    *(ZERO_ADDRESS, 0) * 3,
    ZERO_ADDRESS,
    0,
    ZERO_ADDRESS,
    0,
    0,
    0,
    "0x000000",
    ZERO_ADDRESS,
)


def test_a_deal_shows_every_term(world: World) -> None:
    world.set_policy(world.pool, 35, 7)
    callback = Person("callback").address
    tag = bytes32(2**255 + 0xABCDEE)
    deal = boost_deal(
        world,
        with_dataset=True,
        request={"volume": 5, "category": 3, "callback": callback, "tag": tag, "trust": 0},
        workerpool={"category": 3, "tag": tag},
    )
    assert world.hub.call("viewDealBoost", deal) == (
        world.app_owner.address,
        1_000,
        world.dataset_owner.address,
        300,
        world.scheduler.address,
        10_001,
        world.requester.address,
        10_001 * 93 // 100,
        callback,
        world.now + 7 * 10_800,
        0,
        5,
        "0xabcdee",
        world.requester.address,
    )


def test_a_deal_without_dataset_and_callback_shows_none(world: World) -> None:
    view = world.view("viewDealBoost", boost_deal(world))
    assert (view.datasetOwner, view.datasetPrice, view.callback) == (ZERO_ADDRESS, 0, ZERO_ADDRESS)


def test_an_unknown_deal_and_a_classic_one_are_all_zero(world: World) -> None:
    boost, classic = boost_deal(world), world.deal()
    assert world.hub.call("viewDealBoost", boost) != NO_DEAL_BOOST
    near = boost[:34] + ("0" if boost[34] != "0" else "1") + boost[35:]
    for deal in (UNKNOWN, classic, near):
        assert world.hub.call("viewDealBoost", deal) == NO_DEAL_BOOST


def test_the_classic_view_shows_nothing_of_a_deal_of_boost(world: World) -> None:
    boost, classic = boost_deal(world), world.deal()
    assert world.hub.call("viewDeal", boost) == world.hub.call("viewDeal", UNKNOWN)
    assert world.hub.call("viewDeal", classic) != world.hub.call("viewDeal", UNKNOWN)


def test_of_a_task_only_the_status_is_shown(world: World) -> None:
    deal = boost_deal(world, request={"volume": 3})
    nothing = world.hub.call("viewTask", UNKNOWN)
    tasks = [ids.task_id(deal, index) for index in range(3)]
    push(world, deal, index=0, callback=b"data")
    world.now += 7 * TIMEREF
    claim(world, deal, 1)
    shown = [world.hub.call("viewTask", task) for task in tasks]
    assert [view[0] for view in shown] == [3, 4, 0]
    assert [view[1:] for view in shown] == [nothing[1:]] * 3


def test_a_pushed_result_is_pulled_as_nothing_and_a_failed_one_not_at_all(world: World) -> None:
    deal = boost_deal(world, request={"volume": 2})
    push(world, deal, index=0, results=b"r", callback=b"data")
    world.now += 7 * TIMEREF
    claim(world, deal, 1)
    assert world.hub.call("resultFor", ids.task_id(deal, 0)) == b""
    with reverts("task-pending"):
        world.hub.call("resultFor", ids.task_id(deal, 1))


def test_a_push_is_no_contribution(world: World) -> None:
    deal = boost_deal(world)
    push(world, deal)
    assert world.view_contribution(ids.task_id(deal, 0), world.worker()).status == 0


@pytest.mark.parametrize("index", [0, 1])
def test_a_deal_of_boost_has_no_task_to_open(world: World, index: int) -> None:
    deal = boost_deal(world, request={"volume": 2})
    with reverts(NO_DATA):
        world.initialize(deal, index)
    push(world, deal, index=index)
    with reverts(NO_DATA):
        world.initialize(deal, index)
