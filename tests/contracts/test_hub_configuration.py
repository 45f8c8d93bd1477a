"""`configure`, `changeRegistries`, `updateDomainSeparator`, `supportsInterface`: what is fixed stays fixed."""

from __future__ import annotations

import boa
import pytest

from fairgrid.protocol.hexes import from_hex
from tests.contracts.registries import NO_DATA, reverts, selector
from tests.contracts.world import World

NOT_OWNER = "Ownable: caller is not the owner"


def registries(world: World) -> list[str]:
    return [world.registries[kind].address for kind in ("app", "dataset", "workerpool")]


def test_hub_is_configured_by_its_creation(world: World) -> None:
    arguments = (world.rlc.address, "Other", "OTHER", 18, *registries(world), world.stranger.address)
    with reverts("already-configured"):
        world.hub.call("configure", *arguments, sender=world.owner.address)
    with reverts(NOT_OWNER):
        world.hub.call("configure", *arguments, sender=world.stranger.address)
    assert (world.hub.call("name"), world.hub.call("symbol"), world.hub.call("decimals")) == ("Staked RLC", "SRLC", 9)


def test_names_of_configure_have_our_bound(world: World) -> None:
    arguments = (world.rlc.address, "n" * 257, "S", 9, *registries(world), world.stranger.address)
    with reverts(NO_DATA):
        world.hub.call("configure", *arguments, sender=world.owner.address)


def test_registries_stay_what_they_are(world: World) -> None:
    world.hub.call("changeRegistries", *registries(world), sender=world.owner.address)
    for place in range(3):
        changed = registries(world)
        changed[place] = world.stranger.address
        with reverts("registries-are-immutable"):
            world.hub.call("changeRegistries", *changed, sender=world.owner.address)
    with reverts(NOT_OWNER):
        world.hub.call("changeRegistries", *registries(world), sender=world.stranger.address)
    getters = ("appregistry", "datasetregistry", "workerpoolregistry")
    assert [world.hub.call(getter) for getter in getters] == registries(world)


def test_domain_separator_follows_the_chain_by_itself(world: World) -> None:
    before = world.hub.call("eip712domain_separator")
    _, logs = world.hub.transact("updateDomainSeparator", sender=world.stranger.address)
    assert logs == [] and world.hub.call("eip712domain_separator") == before
    patch = boa.env.evm.patch
    chain_id = patch.chain_id
    try:
        patch.chain_id = chain_id + 1
        fork = world.hub.call("eip712domain_separator")
        assert fork != before
        world.hub.call("updateDomainSeparator", sender=world.stranger.address)
        assert world.hub.call("eip712domain_separator") == fork
        assert world.hub.call("domain")[2] == chain_id + 1
    finally:
        patch.chain_id = chain_id


def test_signature_for_one_chain_is_worthless_on_its_fork(world: World) -> None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    orders = world.orders()
    patch = boa.env.evm.patch
    chain_id = patch.chain_id
    try:
        patch.chain_id = chain_id + 1
        with reverts("iExecV5-matchOrders-0x21"):
            world.match(orders)
    finally:
        patch.chain_id = chain_id
    world.match(orders)


@pytest.mark.parametrize(
    ("interface", "supported"),
    [("0x01ffc9a7", True), ("0x7f5828d0", True), ("0xffffffff", False), ("0x36372b07", False), ("0x1f931c1c", False)],
    ids=["ERC-165", "ERC-173", "none", "ERC-20", "diamond cut"],
)
def test_interfaces_of_the_hub(world: World, interface: str, supported: bool) -> None:
    assert world.hub.call("supportsInterface", from_hex(interface)) is supported


def test_ownership_cannot_be_renounced_by_the_call_of_that_name(world: World) -> None:
    """The published interface names it, and the published hub refuses it; `transferOwnership` to nobody does it."""
    data = from_hex(selector("renounceOwnership()"))
    computation = boa.env.execute_code(to_address=world.hub.address, sender=world.owner.address, data=data)
    assert computation.is_error and b"fallback-disabled" in computation.output
