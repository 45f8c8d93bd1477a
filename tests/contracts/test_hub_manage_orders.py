"""`manageAppOrder`, `manageDatasetOrder`, `manageWorkerpoolOrder`, `manageRequestOrder`: presign and close."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.typed_data import CLOSE, SIGN, operation_typed_data
from fairgrid.wallet.keys import KeySigner
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Orders, Person, World, as_tuple, bytes32, mock

KINDS = ["app", "dataset", "workerpool", "request"]
FUNCTIONS = {
    "app": "manageAppOrder",
    "dataset": "manageDatasetOrder",
    "workerpool": "manageWorkerpoolOrder",
    "request": "manageRequestOrder",
}
EVENTS = {"app": "App", "dataset": "Dataset", "workerpool": "Workerpool", "request": "Request"}
MATCH_CODES = {"app": "0x21", "dataset": "0x31", "workerpool": "0x41", "request": "0x50"}


def _owner(world: World, kind: str) -> Person:
    return {
        "app": world.app_owner,
        "dataset": world.dataset_owner,
        "workerpool": world.scheduler,
        "request": world.requester,
    }[kind]


def _manage(world: World, kind: str, operation: tuple[Any, ...], sender: Person) -> list[Any]:
    return world.hub.transact(FUNCTIONS[kind], operation, sender=sender.address)[1]


def _orders(world: World) -> Orders:
    world.fund(world.requester)
    world.fund(world.scheduler)
    return world.orders(with_dataset=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_owner_presigns_and_the_order_needs_no_signature(world: World, kind: str) -> None:
    orders = _orders(world)
    order = getattr(orders, kind).signed("0x")
    unsigned = replace(orders, **{kind: order})
    with reverts("invalid-signature-format"):
        world.match(unsigned)
    logs = _manage(world, kind, (as_tuple(order), SIGN, b""), _owner(world, kind))
    hash_ = world.order_hash(order)
    assert [(log.name, log.arguments) for log in logs] == [(f"Signed{EVENTS[kind]}Order", {f"{kind}Hash": hash_})]
    assert world.hub.call("viewPresigned", hash_) == _owner(world, kind).address
    assert world.hub.call("viewConsumed", hash_) == 0
    assert world.view_deal(world.match(unsigned)).botSize == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_owner_closes_and_the_order_is_used_up(world: World, kind: str) -> None:
    orders = _orders(world)
    order = getattr(orders, kind)
    logs = _manage(world, kind, (as_tuple(order), CLOSE, b""), _owner(world, kind))
    hash_ = world.order_hash(order)
    assert [(log.name, log.arguments) for log in logs] == [(f"Closed{EVENTS[kind]}Order", {f"{kind}Hash": hash_})]
    assert world.hub.call("viewConsumed", hash_) == order.volume
    assert world.hub.call("viewPresigned", hash_) == ZERO_ADDRESS
    with reverts("iExecV5-matchOrders-0x60"):
        world.match(orders)


@pytest.mark.parametrize("operation", [SIGN, CLOSE])
@pytest.mark.parametrize("kind", KINDS)
def test_anybody_may_bring_an_operation_that_the_owner_signed(world: World, kind: str, operation: int) -> None:
    order = getattr(_orders(world), kind)
    _manage(world, kind, world.operation(order, operation, _owner(world, kind)), world.stranger)
    hash_ = world.order_hash(order)
    if operation == SIGN:
        assert world.hub.call("viewPresigned", hash_) == _owner(world, kind).address
    else:
        assert world.hub.call("viewConsumed", hash_) == order.volume


@pytest.mark.parametrize("operation", [SIGN, CLOSE])
@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_signed_by_somebody_else_is_refused(world: World, kind: str, operation: int) -> None:
    order = getattr(_orders(world), kind)
    with reverts("invalid-sender-or-signature"):
        _manage(world, kind, world.operation(order, operation, world.stranger), world.stranger)


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_of_one_operation_does_not_do_for_the_other(world: World, kind: str) -> None:
    order = getattr(_orders(world), kind)
    values, _, sign = world.operation(order, SIGN, _owner(world, kind))
    with reverts("invalid-sender-or-signature"):
        _manage(world, kind, (values, CLOSE, sign), world.stranger)


@pytest.mark.parametrize("kind", KINDS)
def test_the_signature_of_the_order_is_no_signature_of_the_operation(world: World, kind: str) -> None:
    order = getattr(_orders(world), kind)
    with reverts("invalid-sender-or-signature"):
        _manage(world, kind, (as_tuple(order), CLOSE, as_tuple(order)[-1]), world.stranger)


@pytest.mark.parametrize("kind", KINDS)
def test_a_presignature_does_not_do_for_an_operation(world: World, kind: str) -> None:
    order = getattr(_orders(world), kind)
    _manage(world, kind, (as_tuple(order), SIGN, b""), _owner(world, kind))
    with reverts("invalid-signature-format"):
        _manage(world, kind, (as_tuple(order), CLOSE, b""), world.stranger)


@pytest.mark.parametrize("kind", KINDS)
def test_a_third_operation_does_not_exist(world: World, kind: str) -> None:
    order = getattr(_orders(world), kind)
    with reverts(NO_DATA):
        _manage(world, kind, (as_tuple(order), 2, b""), _owner(world, kind))


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
def test_an_asset_without_owner_reverts_without_data(world: World, kind: str) -> None:
    order = replace(getattr(_orders(world), kind), **{kind: world.stranger.address})
    with reverts(NO_DATA):
        _manage(world, kind, (as_tuple(order), SIGN, b""), world.stranger)


def test_orders_of_assets_that_no_registry_knows_can_be_managed(world: World) -> None:
    thing = str(mock("owned_thing", world.stranger.address).address)
    order = replace(_orders(world).app, app=thing)
    _manage(world, "app", (as_tuple(order), SIGN, b""), world.stranger)
    assert world.hub.call("viewPresigned", world.order_hash(order)) == world.stranger.address


def test_a_partly_used_order_can_be_closed(world: World) -> None:
    _orders(world)
    orders = world.orders(request={"volume": 5}, workerpool={"volume": 2})
    world.match(orders)
    _manage(world, "request", (as_tuple(orders.request), CLOSE, b""), world.requester)
    assert world.hub.call("viewConsumed", world.order_hash(orders.request)) == 5
    pool = world.sign(replace(orders.workerpool, salt=bytes32(2**201)), world.scheduler)
    with reverts("iExecV5-matchOrders-0x60"):
        world.match(replace(orders, workerpool=pool))


def test_closing_a_filled_request_changes_nothing(world: World) -> None:
    orders = _orders(world)
    world.match(orders)
    _manage(world, "request", (as_tuple(orders.request), CLOSE, b""), world.requester)
    assert world.hub.call("viewConsumed", world.order_hash(orders.request)) == 1


def test_a_contract_signs_operations_by_erc1271(world: World) -> None:
    wallet = mock("wallet_contract", 0, b"open")
    order = replace(_orders(world).request, requester=str(wallet.address))
    with reverts("invalid-sender-or-signature"):
        _manage(world, "request", (as_tuple(order), SIGN, b"shut"), world.stranger)
    _manage(world, "request", (as_tuple(order), SIGN, b"open"), world.stranger)
    assert world.hub.call("viewPresigned", world.order_hash(order)) == str(wallet.address)


def test_a_wallet_signs_operations_as_typed_data(world: World) -> None:
    wallet = KeySigner(b"\x08" * 32)
    order = replace(_orders(world).request, requester=wallet.address)
    sign = bytes.fromhex(wallet.sign_typed_data(operation_typed_data(order, CLOSE, world.domain))[2:])
    _manage(world, "request", (as_tuple(order), CLOSE, sign), world.stranger)
    assert world.hub.call("viewConsumed", world.order_hash(order)) == order.volume
