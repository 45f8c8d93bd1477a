"""`broadcast…Order`: orders made known on chain, whoever signed them or not."""

from __future__ import annotations

import boa
import pytest

from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Orders, World, as_tuple

KINDS = {
    "app": ("broadcastAppOrder", "BroadcastAppOrder", "apporder"),
    "dataset": ("broadcastDatasetOrder", "BroadcastDatasetOrder", "datasetorder"),
    "workerpool": ("broadcastWorkerpoolOrder", "BroadcastWorkerpoolOrder", "workerpoolorder"),
    "request": ("broadcastRequestOrder", "BroadcastRequestOrder", "requestorder"),
}


@pytest.fixture
def orders(world: World) -> Orders:
    return world.orders(with_dataset=True)


@pytest.mark.parametrize("kind", KINDS)
def test_anybody_makes_a_signed_order_known_as_it_is(world: World, orders: Orders, kind: str) -> None:
    function, event, argument = KINDS[kind]
    order = as_tuple(getattr(orders, kind))
    _, logs = world.hub.transact(function, order, sender=world.stranger.address)
    assert [(log.name, log.address) for log in logs] == [(event, world.hub.address)]
    assert logs[0].arguments == {argument: order}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_it_is_checked_and_nothing_changes(world: World, kind: str) -> None:
    function, event, _ = KINDS[kind]
    order = getattr(world.unsigned_orders(with_dataset=True, app={"volume": 0}, request={"category": 99}), kind)
    _, logs = world.hub.transact(function, as_tuple(order), sender=world.stranger.address)
    assert [log.name for log in logs] == [event]
    assert world.hub.call("viewConsumed", world.order_hash(order)) == 0
    assert int(world.hub.call("viewPresigned", world.order_hash(order)), 16) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_signature_has_our_bound(world: World, orders: Orders, kind: str) -> None:
    function, _, _ = KINDS[kind]
    order = as_tuple(getattr(orders, kind))
    world.hub.call(function, (*order[:-1], bytes(1_024)), sender=world.stranger.address)
    with reverts(NO_DATA):
        world.hub.call(function, (*order[:-1], bytes(1_025)), sender=world.stranger.address)


def test_params_have_our_bound(world: World) -> None:
    for length, fits in ((4_096, True), (4_097, False)):
        order = as_tuple(world.unsigned_orders(request={"params": "p" * length}).request)
        if fits:
            world.hub.call("broadcastRequestOrder", order, sender=world.stranger.address)
        else:
            with reverts(NO_DATA):
                world.hub.call("broadcastRequestOrder", order, sender=world.stranger.address)


def test_coins_are_refused(world: World, orders: Orders) -> None:
    boa.env.set_balance(world.stranger.address, 1)
    with reverts(NO_DATA):
        world.hub.call("broadcastAppOrder", as_tuple(orders.app), sender=world.stranger.address, value=1)
