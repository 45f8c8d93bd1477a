"""The factory of role accounts: where they are, who can make them, what they are born with."""

from __future__ import annotations

import pytest

from fairgrid.chain.create2 import create2_address
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, address_bytes, from_hex
from tests.contracts.around import BOTH, SCHEDULER, WORKER, role_accounts
from tests.contracts.registries import NO_DATA, ChainContract, Log, account, reverts
from tests.contracts.world import World, bytes32

OWNER = "0x00000000000000000000000000000000000000A1"
OPERATOR = "0x00000000000000000000000000000000000000b2"
PROXY_HEAD = bytes.fromhex("363d3d373d3d3d363d73")
PROXY_TAIL = bytes.fromhex("5af43d82803e903d91602b57fd5bf3")


@pytest.fixture
def factory(world: World) -> ChainContract:
    return role_accounts(world.hub.address)


def test_factory_tells_its_hub_and_its_target(world: World, factory: ChainContract) -> None:
    assert factory.call("hub") == world.hub.address
    assert ChainContract("role_account", factory.call("target")).call("hub") == world.hub.address


@pytest.mark.parametrize("roles", [0, WORKER, SCHEDULER, BOTH])
def test_new_account_is_as_its_address_says(world: World, factory: ChainContract, roles: int) -> None:
    born = ChainContract("role_account", factory.call("create", OWNER, OPERATOR, roles, bytes32(7)))
    assert born.call("hub") == world.hub.address
    assert born.call("owner") == OWNER
    assert born.call("operator") == OPERATOR
    assert born.call("roles") == roles
    assert born.call("pendingOwner") == ZERO_ADDRESS


def test_address_follows_from_the_create2_rule(factory: ChainContract) -> None:
    terms = address_bytes(OWNER) + address_bytes(OPERATOR) + bytes([BOTH])
    proxy = PROXY_HEAD + address_bytes(factory.call("target")) + PROXY_TAIL + terms
    creation_code = bytes([0x3D, 0x60, len(proxy)]) + bytes.fromhex("80600a3d3981f3") + proxy
    expected = create2_address(factory.address, from_hex(bytes32(7)), creation_code)
    assert factory.call("addressOf", OWNER, OPERATOR, BOTH, bytes32(7)) == expected
    assert factory.call("create", OWNER, OPERATOR, BOTH, bytes32(7)) == expected


def test_everything_that_an_account_is_born_with_is_in_its_address(world: World, factory: ChainContract) -> None:
    choices = [
        (OWNER, OPERATOR, BOTH, ZERO32),
        (OPERATOR, OWNER, BOTH, ZERO32),
        (OWNER, ZERO_ADDRESS, BOTH, ZERO32),
        (OWNER, OPERATOR, WORKER, ZERO32),
        (OWNER, OPERATOR, BOTH, bytes32(1)),
    ]
    other_hub = role_accounts(world.rlc.address)
    addresses = {maker.call("addressOf", *choice) for maker in (factory, other_hub) for choice in choices}
    assert len(addresses) == 2 * len(choices)


def test_anybody_creates_and_a_second_time_changes_nothing(factory: ChainContract) -> None:
    arguments = (OWNER, OPERATOR, WORKER, ZERO32)
    born, logs = factory.transact("create", *arguments, sender=account("stranger"))
    told = {"account": born, "owner": OWNER, "operator": OPERATOR, "roles": WORKER, "salt": ZERO32}
    assert logs == [Log(factory.address, "RoleAccountCreated", told)]
    ChainContract("role_account", born).call("setOperator", ZERO_ADDRESS, 0, sender=OWNER)
    assert factory.transact("create", *arguments) == (born, [])
    assert ChainContract("role_account", born).call("operator") == ZERO_ADDRESS


def test_account_of_nobody_or_with_unknown_roles_is_refused(factory: ChainContract) -> None:
    for function in ("create", "addressOf"):
        with reverts(NO_DATA):
            factory.call(function, ZERO_ADDRESS, OPERATOR, BOTH, ZERO32)
        with reverts(NO_DATA):
            factory.call(function, OWNER, OPERATOR, 4, ZERO32)


def test_the_target_belongs_to_nobody(factory: ChainContract) -> None:
    target = ChainContract("role_account", factory.call("target"))
    for function in ("owner", "operator", "roles"):
        with reverts(NO_DATA):
            target.call(function)
    with reverts(NO_DATA):
        target.call("execute", OWNER, 0, b"", sender=account("stranger"))
    with reverts(NO_DATA):
        target.call("isValidSignature", ZERO32, bytes(65))
    with reverts("caller is not the successor"):
        target.call("acceptOwnership", sender=account("stranger"))


def test_money_that_came_before_the_account_is_the_owners(world: World, factory: ChainContract) -> None:
    address = factory.call("addressOf", OWNER, OPERATOR, WORKER, ZERO32)
    world.fund(address, 500)
    factory.call("create", OWNER, OPERATOR, WORKER, ZERO32)
    ChainContract("role_account", address).call("withdraw", 500, sender=OWNER)
    assert world.rlc.call("balanceOf", OWNER) == 500
