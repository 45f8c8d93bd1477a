"""Personal deposit addresses and their factory: where the money goes, and that it goes nowhere else."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from fairgrid.chain.create2 import create2_address
from fairgrid.protocol.hexes import ZERO_ADDRESS, address_bytes, checksum, keccak
from tests.contracts.around import deposit_addresses
from tests.contracts.hub_parts import create_hub
from tests.contracts.registries import NO_DATA, ChainContract, Log, deploy_contract, reverts
from tests.contracts.world import Person, World, mock, names

AMOUNT = 5_000
BENEFICIARY = Person("beneficiary").address
REFUSE_APPROVAL, REFUSE_TRANSFER, FLUSH, SWEEP, SWEEP_COINS = 1, 2, 3, 4, 5


@pytest.fixture
def factory(world: World) -> ChainContract:
    return deposit_addresses(world.hub.address, world.rlc.address)


def _at(factory: ChainContract, beneficiary: str = BENEFICIARY) -> ChainContract:
    return ChainContract("deposit_address", factory.call("addressOf", beneficiary))


def _pay(world: World, address: str, amount: int = AMOUNT) -> None:
    """What an exchange does: a plain transfer."""
    world.rlc.call("transfer", address, amount, sender=world.owner.address)


def _odd(token: Any, hub: str) -> tuple[ChainContract, ChainContract]:
    """Factory and deposit address for a token and a hub of mocks, with money at the address."""
    factory = deposit_addresses(hub, str(token.address))
    factory.call("create", BENEFICIARY)
    address = _at(factory)
    token.give(address.address, AMOUNT)
    return factory, address


# --- where it is ----------------------------------------------------------------------------------------------------


def test_address_follows_from_hub_token_and_beneficiary(world: World, factory: ChainContract) -> None:
    target = address_bytes(factory.call("target"))
    proxy = bytes.fromhex("363d3d373d3d3d363d73") + target + bytes.fromhex("5af43d82803e903d91602b57fd5bf3")
    proxy += address_bytes(BENEFICIARY)
    code = bytes([0x3D, 0x60, len(proxy)]) + bytes.fromhex("80600a3d3981f3") + proxy
    parts = (world.hub.address, world.rlc.address, BENEFICIARY)
    salt = keccak(b"".join(address_bytes(part) for part in parts))
    expected = create2_address(factory.address, salt, code)
    assert factory.call("addressOf", BENEFICIARY) == expected
    born, logs = factory.transact("create", BENEFICIARY, sender=world.stranger.address)
    assert born == expected
    told = {"depositAddress": expected, "beneficiary": BENEFICIARY}
    assert logs == [Log(factory.address, "DepositAddressCreated", told)]


def test_new_deposit_address_says_what_it_is_for(world: World, factory: ChainContract) -> None:
    address = ChainContract("deposit_address", factory.call("create", BENEFICIARY))
    assert address.call("hub") == factory.call("hub") == world.hub.address
    assert address.call("token") == factory.call("token") == world.rlc.address
    assert address.call("beneficiary") == BENEFICIARY


def test_creating_it_twice_changes_nothing(factory: ChainContract) -> None:
    first = factory.call("create", BENEFICIARY)
    assert factory.transact("create", BENEFICIARY) == (first, [])


def test_nobody_has_no_deposit_address(factory: ChainContract) -> None:
    for function in ("create", "flush"):
        with reverts(NO_DATA):
            factory.call(function, ZERO_ADDRESS)


def test_another_hub_token_or_beneficiary_has_another_address(world: World, factory: ChainContract) -> None:
    other = Person("other").address
    makers = [
        factory,
        deposit_addresses(other, world.rlc.address),
        deposit_addresses(world.hub.address, other),
    ]
    addresses = [maker.call("addressOf", person) for maker in makers for person in (BENEFICIARY, other)]
    assert len(set(addresses)) == 6


def test_money_sent_on_a_chain_without_the_hub_reaches_the_beneficiary(world: World) -> None:
    """The wrong chain: no hub, no token of the escrow; what was sent is another token and coins."""
    nothing = Person("no contract here")
    factory = deposit_addresses(nothing.address, nothing.address)
    address = ChainContract("deposit_address", factory.call("create", BENEFICIARY))
    _pay(world, address.address)
    boa.env.set_balance(address.address, 7)
    with reverts(NO_DATA):
        address.call("flush")
    assert address.call("sweep", world.rlc.address, sender=world.stranger.address) == AMOUNT
    assert address.call("sweepCoins", sender=world.stranger.address) == 7
    assert world.rlc.call("balanceOf", BENEFICIARY) == AMOUNT
    assert boa.env.get_balance(BENEFICIARY) == 7


def test_the_target_belongs_to_nobody(world: World, factory: ChainContract) -> None:
    target = ChainContract("deposit_address", factory.call("target"))
    _pay(world, target.address)
    for function in ("beneficiary", "flush", "sweepCoins"):
        with reverts(NO_DATA):
            target.call(function)
    with reverts(NO_DATA):
        target.call("sweep", world.rlc.address)


# --- flush ----------------------------------------------------------------------------------------------------------


def test_money_that_came_before_the_address_existed_is_deposited(world: World, factory: ChainContract) -> None:
    address = _at(factory)
    _pay(world, address.address)
    amount, logs = factory.transact("flush", BENEFICIARY, sender=world.stranger.address)
    assert amount == AMOUNT
    assert names(logs)[0] == "DepositAddressCreated"
    assert world.balance(BENEFICIARY) == AMOUNT
    assert world.rlc.call("balanceOf", address.address) == 0
    assert world.rlc.call("allowance", address.address, world.hub.address) == 0


def test_a_second_flush_does_nothing_and_later_money_is_deposited(world: World, factory: ChainContract) -> None:
    address = _at(factory)
    _pay(world, address.address)
    assert factory.call("flush", BENEFICIARY) == AMOUNT
    assert address.transact("flush") == (0, [])
    assert factory.transact("flush", BENEFICIARY) == (0, [])
    _pay(world, address.address, 1)
    assert address.call("flush", sender=world.stranger.address) == 1
    assert world.balance(BENEFICIARY) == AMOUNT + 1
    assert world.balance(world.stranger) == 0


def test_flush_of_an_empty_address_creates_it_and_deposits_nothing(world: World, factory: ChainContract) -> None:
    assert factory.call("flush", BENEFICIARY) == 0
    assert _at(factory).call("beneficiary") == BENEFICIARY


@pytest.mark.parametrize("mode", [REFUSE_APPROVAL, REFUSE_TRANSFER])
def test_a_token_that_answers_false_deposits_nothing_and_keeps_the_money(world: World, mode: int) -> None:
    token = mock("mischief_token")
    hub = _hub_for(world, str(token.address))
    _, address = _odd(token, hub.address)
    token.set_mode(mode)
    with reverts("approval refused" if mode == REFUSE_APPROVAL else "failed-transferFrom"):
        address.call("flush")
    assert token.balanceOf(address.address) == AMOUNT
    token.set_mode(0)
    assert address.call("flush") == AMOUNT
    assert hub.call("balanceOf", BENEFICIARY) == AMOUNT


@pytest.mark.parametrize("mode", [FLUSH, SWEEP, SWEEP_COINS])
def test_a_token_that_calls_back_finds_the_doors_closed(world: World, mode: int) -> None:
    token = mock("mischief_token")
    _, address = _odd(token, _hub_for(world, str(token.address)).address)
    token.set_mode(mode)
    with reverts(NO_DATA):
        address.call("flush")
    other, (_, second) = mock("mischief_token"), _odd(token, str(mock("recording_hub").address))
    other.give(second.address, AMOUNT)
    other.set_mode(mode)
    with reverts(NO_DATA):
        second.call("sweep", str(other.address))
    assert token.balanceOf(address.address) == other.balanceOf(second.address) == AMOUNT


@pytest.mark.parametrize(
    ("answer", "refusal", "reason"),
    [(bytes(32), "", "deposit refused"), (b"", "not today", "not today"), (b"", "", NO_DATA)],
)
def test_a_hub_that_refuses_leaves_the_money_to_the_beneficiary(answer: bytes, refusal: str, reason: str) -> None:
    hub, token = mock("recording_hub"), mock("mischief_token")
    factory, address = _odd(token, str(hub.address))
    hub.prepare(answer, refusal)
    with reverts(reason):
        factory.call("flush", BENEFICIARY)
    assert token.balanceOf(address.address) == AMOUNT
    assert token.allowance(address.address, hub.address) == 0
    with reverts("flush it"):
        address.call("sweep", str(token.address), sender=Person("stranger").address)
    assert address.call("sweep", str(token.address), sender=BENEFICIARY) == AMOUNT
    assert token.balanceOf(BENEFICIARY) == AMOUNT


# --- everything else ------------------------------------------------------------------------------------------------


def test_other_tokens_go_to_the_beneficiary_whoever_asks(world: World, factory: ChainContract) -> None:
    address = ChainContract("deposit_address", factory.call("create", BENEFICIARY))
    for token in (mock("mischief_token"), mock("silent_token")):
        token.give(address.address, 9)
        assert address.call("sweep", str(token.address), sender=world.stranger.address) == 9
        assert token.balanceOf(BENEFICIARY) == 9
        assert address.call("sweep", str(token.address)) == 0


def test_another_token_that_answers_false_is_not_believed(world: World, factory: ChainContract) -> None:
    address = ChainContract("deposit_address", factory.call("create", BENEFICIARY))
    token = mock("mischief_token")
    token.give(address.address, 9)
    token.set_mode(REFUSE_TRANSFER)
    with reverts("transfer refused"):
        address.call("sweep", str(token.address))
    with reverts(NO_DATA):
        address.call("sweep", Person("no token").address)


def test_coins_go_to_the_beneficiary_whoever_asks(world: World, factory: ChainContract) -> None:
    address = ChainContract("deposit_address", factory.call("create", BENEFICIARY))
    boa.env.set_balance(world.stranger.address, 50)
    sent = boa.env.execute_code(to_address=address.address, sender=world.stranger.address, value=50)
    assert not sent.is_error
    assert address.call("sweepCoins", sender=world.stranger.address) == 50
    assert boa.env.get_balance(BENEFICIARY) == 50
    assert address.call("sweepCoins") == 0


def test_beneficiary_that_takes_no_coins_leaves_them_where_they_are(world: World, factory: ChainContract) -> None:
    address = ChainContract("deposit_address", factory.call("create", world.hub.address))
    boa.env.set_balance(address.address, 50)
    with reverts("fallback-disabled"):
        address.call("sweepCoins")
    assert boa.env.get_balance(address.address) == 50


def test_unknown_calls_are_refused(factory: ChainContract) -> None:
    address = ChainContract("deposit_address", factory.call("create", BENEFICIARY))
    assert boa.env.execute_code(to_address=address.address, data=bytes.fromhex("12345678")).is_error


def _hub_for(world: World, token: str) -> ChainContract:
    """A hub that escrows that token."""
    parts: dict[str, ChainContract] = {}

    def create(name: str, **arguments: Any) -> str:
        parts[name] = deploy_contract(name, **arguments)
        return parts[name].address

    registries = {kind: registry.address for kind, registry in world.registries.items()}
    create_hub(create, owner=world.owner.address, base_token=checksum(token), registries=registries)
    return parts["hub"]
