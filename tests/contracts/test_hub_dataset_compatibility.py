"""`assertDatasetDealCompatibility`: may a deal without a dataset use this one? Every reason, in its order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, to_hex
from fairgrid.protocol.orders import DatasetOrder
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Orders, World, as_tuple, bytes32, mock

SIGN, CLOSE = 0, 1
TEE, SCONE = 1, 2
DEAL_TAG = 1 << 40 | 1 << 9


@pytest.fixture
def deal(world: World) -> str:
    """A deal without a dataset, and with a tag."""
    return world.deal(request={"tag": bytes32(DEAL_TAG)}, workerpool={"tag": bytes32(DEAL_TAG)})


def order(world: World, **changes: Any) -> DatasetOrder:
    """A signed order of the default dataset."""
    unsigned = replace(DatasetOrder(dataset=world.dataset, datasetprice=300, volume=2, salt=bytes32(5)), **changes)
    signed: DatasetOrder = world.sign(unsigned, world.dataset_owner)
    return signed


def check(world: World, dataset: DatasetOrder, deal: str) -> None:
    world.hub.call("assertDatasetDealCompatibility", as_tuple(dataset), deal)


def incompatible(reason: str) -> Any:
    return reverts(f"IncompatibleDatasetOrder({reason})")


def test_compatible_order_passes_and_nothing_is_consumed(world: World, deal: str) -> None:
    dataset = order(world)
    check(world, dataset, deal)
    check(world, dataset, deal)
    assert world.hub.call("viewConsumed", world.order_hash(dataset)) == 0


def test_presigned_order_needs_no_signature(world: World, deal: str) -> None:
    dataset = order(world).signed("0x")
    with reverts("invalid-signature-format"):
        check(world, dataset, deal)
    world.hub.call("manageDatasetOrder", (as_tuple(dataset), SIGN, b""), sender=world.dataset_owner.address)
    check(world, dataset, deal)


def test_order_that_names_this_deal_passes(world: World, deal: str) -> None:
    view = world.view_deal(deal)
    restrictions = {
        "apprestrict": view.app.pointer,
        "workerpoolrestrict": view.workerpool.pointer,
        "requesterrestrict": world.requester.address,
    }
    check(world, order(world, **restrictions), deal)


def test_group_that_admits_passes_and_one_that_does_not_is_named(world: World, deal: str) -> None:
    admitting, other = (mock("group", person.address, 0) for person in (world.requester, world.stranger))
    check(world, order(world, requesterrestrict=str(admitting.address)), deal)
    with incompatible("Requester restriction not satisfied"):
        check(world, order(world, requesterrestrict=str(other.address)), deal)


def test_closed_order_is_refused(world: World, deal: str) -> None:
    dataset = order(world)
    world.hub.call("manageDatasetOrder", (as_tuple(dataset), CLOSE, b""), sender=world.dataset_owner.address)
    for nothing_left in (dataset, order(world, volume=0)):
        with incompatible("Dataset order is revoked or fully consumed"):
            check(world, nothing_left, deal)


def test_order_is_good_until_deals_used_its_last_unit(world: World, deal: str) -> None:
    dataset = order(world, volume=2)
    for left in (1, 0):
        matched = world.orders(with_dataset=True)
        world.match(Orders(matched.app, dataset, matched.workerpool, matched.request))
        assert world.hub.call("viewConsumed", world.order_hash(dataset)) == 2 - left
        if left:
            check(world, dataset, deal)
    with incompatible("Dataset order is revoked or fully consumed"):
        check(world, dataset, deal)


def test_contract_that_owns_the_dataset_signs_by_its_own_rule(world: World, deal: str) -> None:
    password = b"open sesame" + bytes(54)
    wallet = mock("wallet_contract", 0, password)
    world.registries["dataset"].call(
        "transferFrom",
        world.dataset_owner.address,
        str(wallet.address),
        int(world.dataset, 16),
        sender=world.dataset_owner.address,
    )
    check(world, order(world).signed(to_hex(password)), deal)
    with incompatible("Invalid dataset order signature"):
        check(world, order(world), deal)


def test_signature_of_another_is_refused(world: World, deal: str) -> None:
    forged = world.sign(order(world), world.stranger)
    with incompatible("Invalid dataset order signature"):
        check(world, forged, deal)


def test_deal_that_is_not_there_is_refused(world: World) -> None:
    with incompatible("Deal not found"):
        check(world, order(world), bytes32(1))


def test_deal_that_has_a_dataset_is_refused(world: World) -> None:
    deal = world.deal(with_dataset=True)
    with incompatible("Deal already has a dataset"):
        check(world, order(world), deal)


@pytest.mark.parametrize(
    ("restriction", "what"),
    [("apprestrict", "App"), ("workerpoolrestrict", "Workerpool"), ("requesterrestrict", "Requester")],
)
def test_restriction_to_another_is_refused(world: World, deal: str, restriction: str, what: str) -> None:
    with incompatible(f"{what} restriction not satisfied"):
        check(world, order(world, **{restriction: world.stranger.address}), deal)


def test_tag_bits_that_the_deal_lacks_are_refused_but_those_of_frameworks(world: World, deal: str) -> None:
    check(world, order(world, tag=bytes32(1 << 40 | SCONE)), deal)
    for lacking in (TEE, 1 << 41):
        with incompatible("Tag compatibility not satisfied"):
            check(world, order(world, tag=bytes32(lacking)), deal)


def test_reasons_come_in_their_order(world: World) -> None:
    """All at once: each is named until it is mended."""
    deal = world.deal(with_dataset=True)
    plain = world.deal()
    stranger = world.stranger.address
    bad = {"apprestrict": stranger, "workerpoolrestrict": stranger, "requesterrestrict": stranger, "tag": bytes32(1)}
    with incompatible("Dataset order is revoked or fully consumed"):
        check(world, world.sign(order(world, volume=0, **bad), world.stranger), bytes32(1))
    with incompatible("Invalid dataset order signature"):
        check(world, world.sign(order(world, **bad), world.stranger), bytes32(1))
    with incompatible("Deal not found"):
        check(world, order(world, **bad), bytes32(1))
    with incompatible("Deal already has a dataset"):
        check(world, order(world, **bad), deal)
    for restriction, what in (
        ("apprestrict", "App"),
        ("workerpoolrestrict", "Workerpool"),
        ("requesterrestrict", "Requester"),
    ):
        with incompatible(f"{what} restriction not satisfied"):
            check(world, order(world, **bad), plain)
        bad[restriction] = ZERO_ADDRESS
    with incompatible("Tag compatibility not satisfied"):
        check(world, order(world, **bad), plain)


def test_what_is_no_dataset_reverts_without_data(world: World, deal: str) -> None:
    with reverts(NO_DATA):
        check(world, order(world, dataset=world.stranger.address), deal)
