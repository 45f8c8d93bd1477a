"""What the hub's owner may do: ownership, categories, TEE broker, gas of callbacks. And what a fresh hub is."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.contracts.registries import NO_DATA, ChainContract, Reverted, deploy_contract, reverts
from tests.contracts.world import Person, World

NOT_OWNER = "Ownable: caller is not the owner"


def test_a_fresh_hub_has_an_owner_and_five_categories(world: World) -> None:
    assert world.hub.call("owner") == world.owner.address
    assert world.hub.call("countCategory") == 5
    categories = [world.hub.call("viewCategory", number) for number in range(5)]
    assert categories == [
        ("XS", '""', 300),
        ("S", '""', 1_200),
        ("M", '""', 3_600),
        ("L", '""', 10_800),
        ("XL", '""', 36_000),
    ]
    assert world.hub.call("balanceOf", world.hub.address) == 0


@pytest.mark.parametrize("missing", ["hub_orders", "hub_batch", "hub_boost", "hub_escrow", "hub_views"])
def test_a_hub_without_its_facets_is_not_deployed(world: World, missing: str) -> None:
    facets = {name: facet.address for name, facet in world.facets.items()}
    with reverts(NO_DATA):
        deploy_contract("hub", hub_owner=world.owner.address, **(facets | {missing: world.stranger.address}))


def test_the_owner_appends_a_category(world: World) -> None:
    number, logs = world.hub.transact("createCategory", "XXL", "for giants", 2**32 - 1, sender=world.owner.address)
    assert number == 5
    assert [(log.name, log.arguments) for log in logs] == [
        ("CreateCategory", {"catid": 5, "name": "XXL", "description": "for giants", "workClockTimeRef": 2**32 - 1})
    ]
    assert world.hub.call("viewCategory", 5) == ("XXL", "for giants", 2**32 - 1)
    assert world.hub.call("countCategory") == 6
    view = world.view_deal(world.deal(request={"category": 5}, workerpool={"category": 5}))
    assert view.category == 5


def test_a_category_without_time_is_possible(world: World) -> None:
    world.hub.call("createCategory", "", "", 0, sender=world.owner.address)
    assert world.hub.call("viewCategory", 5) == ("", "", 0)


def test_our_bounds_on_categories(world: World) -> None:
    for arguments in (("x", "y", 2**32), ("x" * 257, "y", 1), ("x", "y" * 257, 1)):
        with reverts(NO_DATA):
            world.hub.call("createCategory", *arguments, sender=world.owner.address)
    world.hub.call("createCategory", "x" * 256, "y" * 256, 1, sender=world.owner.address)
    assert world.hub.call("viewCategory", 5) == ("x" * 256, "y" * 256, 1)


@pytest.mark.parametrize("number", [5, 2**255, 2**256 - 1])
def test_an_unknown_category_reverts_without_data(world: World, number: int) -> None:
    with reverts(NO_DATA):
        world.hub.call("viewCategory", number)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("createCategory", ("x", "y", 1)),
        ("setTeeBroker", (ZERO_ADDRESS,)),
        ("setCallbackGas", (1,)),
        ("recover", ()),
    ],
)
def test_nobody_else_administers(world: World, function: str, arguments: tuple[Any, ...]) -> None:
    for somebody in (world.stranger, world.scheduler):
        with reverts(NOT_OWNER):
            world.hub.call(function, *arguments, sender=somebody.address)


def test_broker_and_callback_gas_are_set(world: World) -> None:
    broker = Person("broker").address
    for function, value, getter in (("setTeeBroker", broker, "teebroker"), ("setCallbackGas", 7, "callbackgas")):
        _, logs = world.hub.transact(function, value, sender=world.owner.address)
        assert logs == []
        assert world.hub.call(getter) == value


def test_ownership_is_handed_over(world: World) -> None:
    _, logs = world.hub.transact("transferOwnership", world.stranger.address, sender=world.owner.address)
    assert [(log.name, log.arguments) for log in logs] == [
        ("OwnershipTransferred", {"previousOwner": world.owner.address, "newOwner": world.stranger.address})
    ]
    assert world.hub.call("owner") == world.stranger.address
    with reverts(NOT_OWNER):
        world.hub.call("setCallbackGas", 7, sender=world.owner.address)
    world.hub.call("setCallbackGas", 7, sender=world.stranger.address)


def test_somebody_else_cannot_take_it(world: World) -> None:
    with reverts(f"NotContractOwner({world.stranger.address}, {world.owner.address})"):
        world.hub.call("transferOwnership", world.stranger.address, sender=world.stranger.address)


def test_administration_can_end(world: World) -> None:
    world.hub.call("transferOwnership", ZERO_ADDRESS, sender=world.owner.address)
    assert world.hub.call("owner") == ZERO_ADDRESS
    with reverts(NOT_OWNER):
        world.hub.call("setCallbackGas", 7, sender=world.owner.address)


def test_a_facet_called_by_itself_can_do_nothing(world: World) -> None:
    """It has no owner, no category and no money of its own."""
    alone = {name: ChainContract("hub", facet.address) for name, facet in world.facets.items()}
    with reverts("iExecV5-matchOrders-0x01"):
        alone["hub_orders"].call("matchOrders", *world.orders().arguments, sender=world.stranger.address)
    with reverts(NOT_OWNER):
        alone["hub_admin"].call("createCategory", "x", "y", 1, sender=world.owner.address)
    assert alone["hub_admin"].call("owner") == ZERO_ADDRESS
    with pytest.raises(Reverted):
        alone["hub_escrow"].call("withdraw", 1, sender=world.owner.address)
