"""`depositWithPermit`: a signed permit of the token and a deposit in one transaction."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO32
from tests.contracts.permits import FOREVER, Signature, permit_hash, split
from tests.contracts.registries import NO_DATA, ChainContract, public_abi, reverts
from tests.contracts.world import Person, World, names


def permit(world: World, signer: Person, amount: int, **changes: int) -> Signature:
    """The signature that lets the hub take ``amount`` of ``signer``."""
    hash_ = permit_hash(world.rlc.address, world.chain_id, signer.address, world.hub.address, amount, **changes)
    return split(signer.sign(hash_))


def test_a_permit_and_a_deposit_are_one_transaction(world: World, holder: Person) -> None:
    signature = permit(world, holder, 60, deadline=world.now)
    answer, logs = world.hub.transact("depositWithPermit", 60, world.now, *signature, sender=holder.address)
    assert answer is True
    assert names(logs) == ["Approval", "Transfer", "Transfer"]
    assert [log.address for log in logs] == [world.rlc.address, world.rlc.address, world.hub.address]
    assert world.balance(holder) == 60
    assert world.rlc.call("allowance", holder.address, world.hub.address) == 0
    assert world.rlc.call("nonces", holder.address) == 1
    world.check_money(holder)


def test_a_permit_that_somebody_showed_before_does_no_harm(world: World, holder: Person) -> None:
    signature = permit(world, holder, 60)
    shown = (holder.address, world.hub.address, 60, FOREVER, *signature)
    world.rlc.call("permit", *shown, sender=world.stranger.address)
    world.hub.call("depositWithPermit", 60, FOREVER, *signature, sender=holder.address)
    assert world.balance(holder) == 60
    with reverts(NO_DATA):
        world.hub.call("depositWithPermit", 60, FOREVER, *signature, sender=holder.address)
    assert world.balance(holder) == 60


def test_a_permit_of_somebody_else_is_no_use(world: World, holder: Person) -> None:
    """Not even when that somebody had approved the hub: only the caller's money moves."""
    world.rlc.call("approve", world.hub.address, 60, sender=holder.address)
    with reverts(NO_DATA):
        world.hub.call("depositWithPermit", 60, FOREVER, *permit(world, holder, 60), sender=world.stranger.address)
    assert (world.balance(holder), world.balance(world.stranger)) == (0, 0)


@pytest.mark.parametrize("wrong", ["amount", "deadline", "nonce", "signer", "bytes"])
def test_a_permit_that_does_not_hold_deposits_nothing(world: World, holder: Person, wrong: str) -> None:
    amount, deadline = 60, world.now + 10
    signature = permit(
        world,
        world.stranger if wrong == "signer" else holder,
        59 if wrong == "amount" else amount,
        deadline=deadline + 1 if wrong == "deadline" else deadline,
        nonce=1 if wrong == "nonce" else 0,
    )
    if wrong == "bytes":
        signature = (signature[0], ZERO32, ZERO32)
    with reverts(NO_DATA):
        world.hub.call("depositWithPermit", amount, deadline, *signature, sender=holder.address)
    assert (world.balance(holder), world.rlc.call("nonces", holder.address)) == (0, 0)


def test_a_permit_is_good_until_its_deadline(world: World, holder: Person) -> None:
    deadline = world.now + 10
    signature = permit(world, holder, 60, deadline=deadline)
    world.now = deadline + 1
    with reverts(NO_DATA):
        world.hub.call("depositWithPermit", 60, deadline, *signature, sender=holder.address)
    world.now = deadline
    assert world.hub.call("depositWithPermit", 60, deadline, *signature, sender=holder.address) is True


def test_more_than_there_is_cannot_be_deposited(world: World, holder: Person) -> None:
    amount = 100 * 10**9 + 1
    with reverts(NO_DATA):
        world.hub.call("depositWithPermit", amount, FOREVER, *permit(world, holder, amount), sender=holder.address)
    assert world.rlc.call("allowance", holder.address, world.hub.address) == 0


# --- tokens that behave oddly ---------------------------------------------------------------------------------------


def _deposit(hub: ChainContract, sender: Person) -> None:
    hub.call("depositWithPermit", 10, 0, 27, ZERO32, ZERO32, sender=sender.address)


def test_a_token_without_permits_takes_a_deposit_that_was_approved(
    world: World, odd: tuple[ChainContract, Any]
) -> None:
    hub, token = odd
    token.set_mode(4)
    _deposit(hub, world.owner)
    assert hub.call("balanceOf", world.owner.address) == hub.call("totalSupply") == token.balanceOf(hub.address) == 10


def test_a_token_that_calls_back_out_of_its_permit_finds_the_doors_closed(
    world: World, odd: tuple[ChainContract, Any]
) -> None:
    hub, token = odd
    for inner in ("recover", "deposit"):
        arguments = (0,) if inner == "deposit" else ()
        token.call_back(public_abi("hub").encode_call(inner, arguments), True)
        _deposit(hub, world.owner)
        assert (token.called(), token.succeeded(), token.answer()) == (True, False, b"")
    assert hub.call("balanceOf", world.owner.address) == hub.call("totalSupply") == token.balanceOf(hub.address) == 20


def test_a_token_that_refuses_the_transfer_deposits_nothing(world: World, odd: tuple[ChainContract, Any]) -> None:
    hub, token = odd
    for mode, reason in ((1, "failed-transferFrom"), (2, "odd")):
        token.set_mode(mode)
        with reverts(reason):
            _deposit(hub, world.owner)
    assert hub.call("totalSupply") == token.balanceOf(hub.address) == 0
