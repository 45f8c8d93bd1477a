"""`sponsorMatchOrders`: the caller pays, and is the one who is charged, refunded and recorded."""

from __future__ import annotations

import pytest

from tests.contracts.registries import reverts
from tests.contracts.world import Person, World, bytes32, names


@pytest.fixture
def sponsor(world: World) -> Person:
    person = Person("sponsor")
    world.fund(person, 11_001)
    world.fund(world.scheduler)
    return person


def test_the_sponsor_pays_and_the_requester_nothing(world: World, sponsor: Person) -> None:
    deal, logs = world.hub.transact("sponsorMatchOrders", *world.orders().arguments, sender=sponsor.address)
    view = world.view_deal(deal)
    assert (view.requester, view.sponsor) == (world.requester.address, sponsor.address)
    assert (world.balance(sponsor), world.frozen(sponsor)) == (0, 11_001)
    assert (world.balance(world.requester), world.frozen(world.requester)) == (0, 0)
    assert names(logs)[-3:] == ["SchedulerNotice", "OrdersMatched", "DealSponsored"]
    assert logs[-1].arguments == {"dealId": deal, "sponsor": sponsor.address}


def test_a_sponsor_without_funds_is_refused(world: World, sponsor: Person) -> None:
    world.fund(world.requester)
    orders = world.orders(request={"volume": 2})
    with reverts("IexecEscrow: Transfer amount exceeds balance"):
        world.hub.call("sponsorMatchOrders", *orders.arguments, sender=sponsor.address)


def test_the_rules_are_those_of_match_orders(world: World, sponsor: Person) -> None:
    with reverts("iExecV5-matchOrders-0x03"):
        world.hub.call(
            "sponsorMatchOrders", *world.orders(request={"appmaxprice": 1}).arguments, sender=sponsor.address
        )
    with reverts("iExecV5-matchOrders-0x50"):
        orders = world.orders(request={"requester": world.stranger.address})
        world.hub.call("sponsorMatchOrders", *orders.arguments, sender=sponsor.address)


def test_nobody_is_no_requester(world: World, sponsor: Person) -> None:
    """Deviation: in the peer an unrecoverable signature passes for the zero address."""
    orders = world.unsigned_orders(request={"requester": "0x" + "00" * 20})
    signed = world.sign_all(orders).arguments
    broken = (*signed[:3], (*signed[3][:-1], b"\x00" * 65))
    with reverts("iExecV5-matchOrders-0x50"):
        world.hub.call("sponsorMatchOrders", *broken, sender=sponsor.address)


def test_a_finished_task_charges_the_sponsor(world: World, sponsor: Person) -> None:
    deal = world.hub.call("sponsorMatchOrders", *world.orders().arguments, sender=sponsor.address)
    world.complete(world.initialize(deal), digest=bytes32(1))
    assert (world.balance(sponsor), world.frozen(sponsor)) == (0, 0)


def test_a_claim_refunds_the_sponsor(world: World, sponsor: Person) -> None:
    deal = world.hub.call("sponsorMatchOrders", *world.orders().arguments, sender=sponsor.address)
    task = world.initialize(deal)
    world.now += 3_000
    world.hub.call("claim", task, sender=world.stranger.address)
    assert (world.balance(sponsor), world.frozen(sponsor)) == (11_001, 0)
    assert world.balance(world.requester) == 0
