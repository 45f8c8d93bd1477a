from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import OrderError
from fairgrid.protocol.hexes import MAX_UINT256, ZERO32, ZERO_ADDRESS
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder

APP = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
ORDER_CLASSES = (AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder)


def wire_value(solidity_type: str) -> st.SearchStrategy[Any]:
    if solidity_type == "address":
        return st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
    if solidity_type == "bytes32":
        return st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
    if solidity_type == "string":
        return st.text()
    return st.integers(0, MAX_UINT256) | st.integers(0, MAX_UINT256).map(str)


def wire_orders(order_class: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: wire_value(kind) for name, kind in order_class.SOLIDITY_TYPES})


@pytest.mark.parametrize("order_class", ORDER_CLASSES)
@given(data=st.data())
def test_an_order_survives_the_market_and_json(order_class: type[Any], data: st.DataObject) -> None:
    order = order_class.from_wire(data.draw(wire_orders(order_class)))
    again = order_class.from_wire(json.loads(json.dumps(order.to_wire())))
    assert again == order
    assert list(order.to_wire()) == [name for name, _ in order_class.SOLIDITY_TYPES] + ["sign"]


def app_wire(**changes: Any) -> dict[str, Any]:
    return {**AppOrder(APP, 5, 10).to_wire(), **changes}


def test_numbers_may_be_decimal_text_and_leave_as_integers() -> None:
    order = AppOrder.from_wire(app_wire(appprice="9007199254740993"))
    assert order.appprice == 9007199254740993
    assert order.to_wire()["appprice"] == 9007199254740993


def test_addresses_become_checksummed_and_bytes32_lower_case() -> None:
    order = AppOrder.from_wire(app_wire(app=APP.lower(), tag="0x" + "AB" * 32))
    assert order.app == APP
    assert order.tag == "0x" + "ab" * 32


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"app": "0x12"}, "Field app of the app order"),
        ({"appprice": -1}, "Field appprice"),
        ({"appprice": True}, "Field appprice"),
        ({"appprice": 1.0}, "Field appprice"),
        ({"appprice": "1e3"}, "Field appprice"),
        ({"appprice": "٣"}, "Field appprice"),
        ({"appprice": 2**256}, "Field appprice"),
        ({"appprice": "9" * 78}, "Field appprice"),
        ({"tag": "0x01"}, "Field tag"),
        ({"sign": "signature"}, "Field sign"),
        ({"sign": None}, "Field sign"),
        ({"price": 1}, "unknown field.*price"),
    ],
)
def test_a_malformed_order_is_refused_by_field(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OrderError, match=complaint):
        AppOrder.from_wire(app_wire(**changes))


def test_a_missing_field_is_named_and_a_missing_signature_is_none() -> None:
    wire = app_wire()
    del wire["sign"]
    assert AppOrder.from_wire(wire).sign == "0x"
    del wire["salt"]
    with pytest.raises(OrderError, match="lacks salt"):
        AppOrder.from_wire(wire)


@pytest.mark.parametrize("wire", [None, [], "order", 3])
def test_what_is_no_object_is_no_order(wire: Any) -> None:
    with pytest.raises(OrderError, match="JSON object"):
        AppOrder.from_wire(wire)


def test_params_must_be_unicode_text() -> None:
    for params in (7, "\ud800"):
        with pytest.raises(OrderError, match="Field params"):
            RequestOrder(APP, 1, ZERO_ADDRESS, 0, ZERO_ADDRESS, 1, APP, 1, params=params)  # type: ignore[arg-type]


def test_the_abi_tuple_has_bytes_and_ends_with_the_signature() -> None:
    order = AppOrder(APP, 5, 10).signed("0x0102")
    assert order.abi_tuple() == (
        APP,
        5,
        10,
        bytes(32),
        ZERO_ADDRESS,
        ZERO_ADDRESS,
        ZERO_ADDRESS,
        bytes(32),
        b"\x01\x02",
    )
    assert order.struct_values() == order.abi_tuple()[:-1]


def test_signing_changes_nothing_but_the_signature() -> None:
    order = WorkerpoolOrder(APP, 5, 10, trust=3)
    assert order.signed("0xFF").sign == "0xff"
    assert order.signed("0xff").signed("0x") == order
    assert order.sign == "0x"


def test_no_dataset_is_an_order_of_zeros() -> None:
    assert NULL_DATASET_ORDER.dataset == ZERO_ADDRESS
    assert NULL_DATASET_ORDER.salt == ZERO32
    assert NULL_DATASET_ORDER.volume == 0
