"""`computeDealVolume`: the smallest rest of the orders, and nothing else checked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Orders, World, as_tuple


def _volume(world: World, orders: Orders) -> int:
    return int(world.hub.call("computeDealVolume", *orders.arguments))


@pytest.mark.parametrize("smallest", ["app", "dataset", "workerpool", "request"])
def test_the_smallest_order_decides(world: World, smallest: str) -> None:
    volumes: dict[str, Any] = {
        kind: {"volume": 9 if kind != smallest else 4} for kind in ("app", "dataset", "workerpool", "request")
    }
    assert _volume(world, world.unsigned_orders(with_dataset=True, **volumes)) == 4


def test_without_dataset_its_volume_does_not_count(world: World) -> None:
    assert _volume(world, world.unsigned_orders(dataset={"volume": 0}, request={"volume": 3})) == 3


def test_what_is_consumed_is_subtracted(world: World) -> None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    orders = world.orders(request={"volume": 10}, workerpool={"volume": 4})
    assert _volume(world, orders) == 4
    world.match(orders)
    assert _volume(world, orders) == 0


def test_a_request_filled_at_once_has_no_rest(world: World) -> None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    orders = world.orders(request={"volume": 10})
    assert _volume(world, orders) == 10
    world.match(orders)
    assert _volume(world, orders) == 0


def test_a_closed_order_has_no_rest(world: World) -> None:
    orders = world.orders(request={"volume": 10})
    world.hub.call("manageRequestOrder", (as_tuple(orders.request), 1, b""), sender=world.requester.address)
    assert _volume(world, orders) == 0


def test_our_cap_on_the_volume_of_one_deal(world: World) -> None:
    huge: dict[str, Any] = {kind: {"volume": 2**40} for kind in ("app", "workerpool", "request")}
    assert _volume(world, world.unsigned_orders(**huge)) == 2**32 - 1


def test_params_beyond_our_bound_revert(world: World) -> None:
    with reverts(NO_DATA):
        _volume(world, world.unsigned_orders(request={"params": "x" * 4097}))
