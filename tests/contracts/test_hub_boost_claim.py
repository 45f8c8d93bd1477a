"""`claimBoost`: from the deadline on, by anybody, once; who gets what back."""

from __future__ import annotations

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.boosting import TIMEREF, boost_deal, boost_orders, claim, push
from tests.contracts.registries import reverts
from tests.contracts.world import RICH, Person, World


def test_not_before_the_deadline(world: World) -> None:
    deal = boost_deal(world)
    world.now += 7 * TIMEREF - 1
    with reverts("PocoBoost: Deadline not reached"):
        claim(world, deal)
    world.now += 1
    claim(world, deal)
    assert world.view_task(ids.task_id(deal, 0)).status == 4


def test_a_task_is_claimed_once(world: World) -> None:
    deal = boost_deal(world)
    world.now += 7 * TIMEREF
    claim(world, deal)
    with reverts("PocoBoost: Task status not unset"):
        claim(world, deal)


def test_a_pushed_task_is_not_claimed_and_a_claimed_task_is_not_pushed(world: World) -> None:
    deal = boost_deal(world, request={"volume": 2})
    push(world, deal)
    world.now += 7 * TIMEREF
    with reverts("PocoBoost: Task status not unset"):
        claim(world, deal, 0)
    claim(world, deal, 1)
    with reverts("PocoBoost: Task status not unset"):
        push(world, deal, index=1)


@pytest.mark.parametrize("index", [2, 2**256 - 1])
def test_a_task_outside_of_the_deal_is_unknown(world: World, index: int) -> None:
    deal = boost_deal(world, request={"volume": 2})
    world.now += 7 * TIMEREF
    with reverts("PocoBoost: Unknown task"):
        claim(world, deal, index)


def test_a_task_of_another_lane_is_unknown_here_and_there(world: World) -> None:
    classic = world.deal()
    boost = boost_deal(world)
    world.now += 10 * TIMEREF
    for deal in (classic, "0x" + "77" * 32):
        with reverts("PocoBoost: Unknown task"):
            claim(world, deal)
    claim(world, boost)
    assert world.view_task(ids.task_id(boost, 0)).status == 4


def test_everybody_is_refunded_but_the_scheduler(world: World) -> None:
    deal = boost_deal(world, with_dataset=True, request={"volume": 2})
    world.now += 7 * TIMEREF
    task = ids.task_id(deal, 0)
    hub, requester, scheduler = world.hub.address, world.requester.address, world.scheduler.address
    logs = claim(world, deal)
    assert [(log.name, log.arguments) for log in logs] == [
        ("Transfer", {"from": hub, "to": requester, "value": 11_301}),
        ("Unlock", {"owner": requester, "amount": 11_301}),
        ("Seize", {"owner": scheduler, "amount": 3_000, "ref": task}),
        ("Reward", {"owner": KITTY_ADDRESS, "amount": 3_000, "ref": task}),
        ("Lock", {"owner": KITTY_ADDRESS, "amount": 3_000}),
        ("TaskClaimed", {"taskid": task}),
    ]
    assert (world.balance(requester), world.frozen(requester)) == (RICH - 11_301, 11_301)
    assert (world.balance(scheduler), world.frozen(scheduler)) == (RICH - 6_000, 3_000)
    assert world.frozen(KITTY_ADDRESS) == 3_000
    assert world.balance(hub) == 11_301 + 6_000


def test_a_sponsor_gets_the_refund(world: World) -> None:
    sponsor = Person("sponsor")
    world.fund(sponsor)
    world.fund(world.scheduler)
    deal = world.hub.call("sponsorMatchOrdersBoost", *boost_orders(world).arguments, sender=sponsor.address)
    world.now += 7 * TIMEREF
    claim(world, deal)
    assert (world.balance(sponsor), world.frozen(sponsor)) == (RICH, 0)
    assert world.balance(world.requester) == 0
