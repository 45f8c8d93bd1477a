"""Values come back exactly as they went, and nothing else can be said in the format."""

from __future__ import annotations

import datetime
import json
import math
import struct
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.executors.guest.values import (
    ATTACHED_BYTES,
    MAX_DEPTH,
    BadWire,
    Decoder,
    Encoder,
    NotAValue,
    Shapes,
)
from fairgrid.protocol.bounded_json import load_json

Pair = namedtuple("Pair", "left right")


class Colour(Enum):
    RED = 1


@dataclass(frozen=True)
class Point:
    x: int
    length: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", float(self.x))


def there_and_back(value: Any, shapes: Shapes | None = None) -> Any:
    """As a result travels: written there, read here by the parser for strangers' JSON."""
    kept: dict[str, bytes] = {}

    def attach(content: bytes) -> str:
        kept[f"blob-{len(kept)}"] = bytes(content)
        return f"blob-{len(kept) - 1}"

    text = Encoder(shapes, attach).text(value)
    return Decoder(shapes, kept.__getitem__).decode(load_json(text.encode()))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(st.characters(codec=None)),
    st.binary(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.datetimes(timezones=st.just(datetime.UTC) | st.none()),
    st.dates(),
    st.times(),
    st.timedeltas(),
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(VALUES)
def test_every_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    back = there_and_back(value)
    assert back == value
    assert repr(type(back)) == repr(type(value))


@pytest.mark.parametrize("bits", ["7ff8000000000000", "7ff8000000000123", "fff0000000000000", "7ff0000000000000"])
def test_nan_and_infinity_keep_their_bits(bits: str) -> None:
    value = struct.unpack(">d", bytes.fromhex(bits))[0]
    assert struct.pack(">d", there_and_back(value)).hex() == bits


@pytest.mark.parametrize("value", [-0.0, 5e-324, 0.1 + 0.2, 1e308])
def test_floats_keep_their_bits(value: float) -> None:
    assert struct.pack(">d", there_and_back(value)) == struct.pack(">d", value)


@pytest.mark.parametrize("value", [1 << 20_000, -(2**63), 2**63, 2**63 - 1], ids=["huge", "least", "over", "most"])
def test_integers_have_any_size(value: int) -> None:
    assert there_and_back(value) == value


@pytest.mark.parametrize(
    "value",
    [
        range(3, 9, 2),
        bytearray(b"ab"),
        Decimal("sNaN"),
        datetime.datetime(2024, 1, 1, fold=1),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=3))),
        "\ud800",
        Fraction(1, 3),
    ],
    ids=repr,
)
def test_rarer_values_come_back(value: Any) -> None:
    back = there_and_back(value)
    assert str(back) == str(value)
    assert type(back) is type(value)
    assert getattr(back, "fold", 0) == getattr(value, "fold", 0)


def test_large_bytes_and_texts_lie_beside() -> None:
    value = [b"x" * ATTACHED_BYTES, "é" * ATTACHED_BYTES, bytearray(ATTACHED_BYTES)]
    kept: list[bytes] = []

    def attach(content: bytes) -> str:
        kept.append(bytes(content))
        return "blob"

    wire = Encoder(attach=attach).encode(value)
    assert len(kept) == 3
    assert len(json.dumps(wire)) < 200
    assert there_and_back(value) == value


def test_sets_are_written_in_one_order_whatever_their_own() -> None:
    assert Encoder().text({"b", "a", "c"}) == '{"s":["a","b","c"]}'


def test_classes_that_both_sides_know_travel_as_their_fields() -> None:
    shapes = Shapes()
    shapes.add("0", Point)
    shapes.add("1", Pair)
    shapes.add("2", Colour)
    back = there_and_back([Point(3), Pair(1, (2,)), Colour.RED], shapes)
    assert back == [Point(3), Pair(1, (2,)), Colour.RED]
    assert back[0].length == 3.0


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (object(), ""),
        ([1, {"a": (2, object())}], "[1]['a'][1]"),
        (OrderedDict(a=1), ""),
        (Point(3), ""),
        (True + 0j, None),
    ],
)
def test_what_has_no_form_is_named_with_its_place(value: Any, where: str | None) -> None:
    if where is None:
        assert there_and_back(value) == value
        return
    with pytest.raises(NotAValue) as caught:
        Encoder().encode(value)
    assert caught.value.where == where


def test_a_list_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotAValue, match="holds itself"):
        Encoder().encode(value)


def test_the_deepest_value_that_is_written_is_also_read() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = {1: value}
    assert there_and_back([value][0]) == value
    with pytest.raises(NotAValue, match="deeper"):
        Encoder().encode([value])


def test_a_time_zone_with_rules_is_refused() -> None:
    from zoneinfo import ZoneInfo

    with pytest.raises(NotAValue, match="astimezone"):
        Encoder().encode(datetime.datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")))


@pytest.mark.parametrize(
    "wire",
    [
        {"x": 1},
        {"t": 1},
        {"i": "zz"},
        {"f": "00"},
        {"b": "?"},
        {"B": "blob"},
        {"t": [], "d": []},
        {},
        {"C": ["0", []]},
        {"E": ["0", "RED"]},
        {"N": ["0", []]},
        {"I": ["os", "system"]},
        {"d": [[[], 1]]},
        {"D": "abc"},
        {"F": [1, 0]},
        {"Tm": "soon"},
        {"J": "blob"},
    ],
)
def test_everything_else_is_refused(wire: Any) -> None:
    with pytest.raises(BadWire):
        Decoder().decode(wire)


@pytest.mark.parametrize(
    "own",
    [[["x", 1]], [["x", 1], ["length", 1.0], ["__class__", 1]], [["x", 1], ["x", 2]]],
)
def test_an_instance_has_exactly_its_own_fields(own: Any) -> None:
    shapes = Shapes()
    shapes.add("0", Point)
    with pytest.raises(BadWire):
        Decoder(shapes).decode({"C": ["0", own]})


def test_making_an_instance_runs_no_code_of_its_class() -> None:
    shapes = Shapes()
    shapes.add("0", Point)
    made = Decoder(shapes).decode({"C": ["0", [["x", 3], ["length", {"f": "7ff8000000000000"}]]]})
    assert math.isnan(made.length)
