"""EIP-712 hashes against three witnesses: recorded signatures of real signers, the specification, eth-account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.errors import OrderError
from fairgrid.protocol.hexes import from_hex, keccak
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.typed_data import (
    CLOSE,
    SIGN,
    Domain,
    domain_separator,
    enrolment_hash,
    enrolment_typed_data,
    operation_hash,
    operation_typed_data,
    order_hash,
    order_typed_data,
    struct_hash,
    type_hash,
    typed_data_hash,
)
from tests.protocol.actors import Actor
from tests.protocol.test_orders import ORDER_CLASSES, wire_orders

VECTORS = Path(__file__).parent / "vectors"
DOCUMENTS: dict[str, dict[str, Any]] = json.loads((VECTORS / "typed-data.json").read_text())
REFERENCE: dict[str, dict[str, str]] = json.loads((VECTORS / "typed-data-reference.json").read_text())
DOMAIN = Domain(31337, "0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f")

TYPE_HASHES = {
    AppOrder: (
        "0x60815a0eeec47dddf1615fe53b31d016c31444e01b9d796db365443a6445d008",
        "0x0638bb0702457e2b4b01be8a202579b8bf97e587fb4f2cc4d4aad01f21a06ee0",
    ),
    DatasetOrder: (
        "0x6cfc932a5a3d22c4359295b9f433edff52b60703fa47690a04a83e40933dd47c",
        "0x075eb6f7578ff4292c241bd2484cd5c1d5e6ecc2ddd3317e1d8176b5a45865ec",
    ),
    WorkerpoolOrder: (
        "0xaa3429fb281b34691803133d3d978a75bb77c617ed6bc9aa162b9b30920022bb",
        "0x322d980b7d7a6a1f7c39ff0c5445da6ae1d8e0393ff0dd468c8be3e2c8644388",
    ),
    RequestOrder: (
        "0xf24e853034a3a450aba845a82914fbb564ad85accca6cf62be112a154520fae0",
        "0x0ded7b52c2d77595a40d242eca751df172b18e686326dbbed3f4748828af77c7",
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_recorded_documents_hash_as_real_signers_hashed_them(name: str) -> None:
    assert typed_data_hash(DOCUMENTS[name]) == "0x" + REFERENCE[name]["hash"]


@pytest.mark.parametrize("order_class", ORDER_CLASSES)
def test_recorded_orders_hash_as_real_signers_hashed_them(order_class: type[Order]) -> None:
    name = order_class.__name__
    order = order_class.from_wire(DOCUMENTS[name]["message"])
    assert struct_hash(order) == "0x" + REFERENCE[name]["struct"]
    assert order_hash(order, DOMAIN) == "0x" + REFERENCE[name]["hash"]
    assert domain_separator(DOMAIN) == "0x" + REFERENCE[name]["domain"]


def test_the_recorded_operation_hashes_as_real_signers_hashed_it() -> None:
    message = DOCUMENTS["AppOrderOperation"]["message"]
    order = AppOrder.from_wire(message["order"])
    assert operation_hash(order, int(message["operation"]), DOMAIN) == "0x" + REFERENCE["AppOrderOperation"]["hash"]


@pytest.mark.parametrize("order_class", TYPE_HASHES)
def test_type_hashes_are_those_of_the_specification(order_class: type[Order]) -> None:
    assert (type_hash(order_class), type_hash(order_class, operation=True)) == TYPE_HASHES[order_class]


def eth_account_hash(document: dict[str, Any]) -> str:
    message = encode_typed_data(full_message=document)
    return "0x" + keccak(b"\x19" + message.version + message.header + message.body).hex()


@pytest.mark.parametrize("order_class", ORDER_CLASSES)
@settings(max_examples=20)
@given(data=st.data(), chain_id=st.integers(1, 2**64))
def test_hashes_are_those_of_eth_account(order_class: type[Order], data: st.DataObject, chain_id: int) -> None:
    order = order_class.from_wire(data.draw(wire_orders(order_class)))
    domain = Domain(chain_id, Actor("hub").address)
    document = order_typed_data(order, domain)
    assert order_hash(order, domain) == eth_account_hash(document) == typed_data_hash(document)
    for operation in (SIGN, CLOSE):
        document = operation_typed_data(order, operation, domain)
        assert operation_hash(order, operation, domain) == eth_account_hash(document) == typed_data_hash(document)


def test_the_signature_is_no_part_of_an_orders_hash_but_chain_and_hub_are() -> None:
    order = AppOrder(Actor("app").address, 1, 1)
    hash_ = order_hash(order, DOMAIN)
    assert order_hash(order.signed("0x1234"), DOMAIN) == hash_
    assert order_hash(order, Domain(1, DOMAIN.verifying_contract)) != hash_
    assert order_hash(order, Domain(31337, Actor("hub").address)) != hash_


def test_an_enrolment_binds_owner_worker_pool_chain_and_hub() -> None:
    owner, worker, pool = (Actor(name).address for name in ("owner", "worker", "pool"))
    document = enrolment_typed_data(owner, worker, pool, DOMAIN)
    assert document["domain"]["name"] == "Fairgrid"
    hash_ = enrolment_hash(owner, worker, pool, DOMAIN)
    assert hash_ == eth_account_hash(document)
    others = {
        enrolment_hash(worker, worker, pool, DOMAIN),
        enrolment_hash(owner, owner, pool, DOMAIN),
        enrolment_hash(owner, worker, owner, DOMAIN),
        enrolment_hash(owner, worker, pool, Domain(1, DOMAIN.verifying_contract)),
        enrolment_hash(owner, worker, pool, Domain(31337, owner)),
    }
    assert len(others | {hash_}) == 6


def test_an_incomplete_document_is_refused() -> None:
    document = order_typed_data(AppOrder(Actor("app").address, 1, 1), DOMAIN)
    for part in ("types", "domain", "message", "primaryType"):
        with pytest.raises(OrderError, match="incomplete"):
            typed_data_hash({name: value for name, value in document.items() if name != part})


def test_a_type_that_is_not_supported_is_refused() -> None:
    document = {
        "types": {"EIP712Domain": [], "Mail": [{"name": "to", "type": "address[]"}]},
        "primaryType": "Mail",
        "domain": {},
        "message": {"to": []},
    }
    with pytest.raises(OrderError, match="not supported"):
        typed_data_hash(document)


def test_hashes_are_bytes32_text() -> None:
    assert len(from_hex(order_hash(AppOrder(Actor("app").address, 1, 1), DOMAIN))) == 32
