"""The quick check of a manifest's long lists says what the committed schema says."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fairgrid.errors import ManifestError
from fairgrid.protocol.manifest import SCHEMA_PATH, FileRef, Item, Manifest, Resources, parse_manifest
from fairgrid.protocol.schema_check import compile_check

SCHEMA: dict[str, Any] = json.loads(SCHEMA_PATH.read_text())
CID = "bafkreiccgjm4f76ipglgcc3ilm7m367lbn5xt4rfbilgeaw6a75u7z7tce"
LISTS = ("dependencies", "inputs", "items")
CHECKS = {name: compile_check(SCHEMA["properties"][name], SCHEMA["$defs"]) for name in LISTS}
VALIDATORS = {name: Draft202012Validator({"$defs": SCHEMA["$defs"], **SCHEMA["properties"][name]}) for name in LISTS}

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def nearly(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly the right thing."""
    return st.one_of(right, right, right, right, json_values)


def record(required: dict[str, st.SearchStrategy[Any]], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    """An object with its keys, some of them missing, sometimes with one too many."""
    whole = st.fixed_dictionaries(required, optional=optional)
    some = st.fixed_dictionaries({}, optional=required | optional | {"unknown": json_values})
    return nearly(st.one_of(whole, whole, some))


cids = nearly(st.sampled_from([CID, CID + "\n", CID.upper(), CID[:-1], "x" + CID]))
names = nearly(st.one_of(st.text(max_size=4), st.sampled_from(["a" * 255, "a" * 256, "é" * 1024, "a" * 1025])))
sizes = nearly(st.sampled_from([0, 1, -1, 1 << 40, (1 << 40) + 1, 1.0, True]))
tasks = nearly(st.sampled_from(["0x" + "a" * 64, "0x" + "A" * 64, "0x" + "a" * 63]))
texts = nearly(st.one_of(st.text(max_size=4), st.sampled_from(["a" * 32_768, "a" * 32_769])))
inputs = nearly(st.lists(record({"cid": cids, "name": names, "size": sizes}, {}), max_size=3))
dependencies = nearly(st.lists(record({"name": names, "task": tasks}, {}), max_size=3))
arguments = nearly(st.one_of(st.lists(texts, max_size=3), st.sampled_from([["a"] * 1_000, ["a"] * 1_001])))
items = nearly(
    st.lists(record({}, {"arguments": arguments, "inputs": inputs, "dependencies": dependencies}), max_size=3)
)
values = st.one_of(
    st.tuples(st.just("inputs"), inputs),
    st.tuples(st.just("dependencies"), dependencies),
    st.tuples(st.just("items"), items),
)


def has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_float(part) for part in value.values())
    return any(has_float(part) for part in value) if isinstance(value, list) else isinstance(value, float)


@settings(max_examples=800, deadline=None)
@given(values)
def test_the_check_says_yes_where_the_schema_does_and_nowhere_else(named: tuple[str, Any]) -> None:
    name, value = named
    valid = VALIDATORS[name].is_valid(value)
    said = CHECKS[name](value)
    assert valid or not said
    assert said or not valid or has_float(value)


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        ("items", [], True),
        ("items", [{}], False),
        ("items", [{"arguments": []}] * 100_000, True),
        ("items", [{"arguments": []}] * 100_001, False),
        ("items", [{"arguments": [], "more": 1}], False),
        ("items", {"0": {"arguments": []}}, False),
        ("inputs", [{"cid": CID, "name": "a", "size": 0}] * 10_000, True),
        ("inputs", [{"cid": CID, "name": "a", "size": 0}] * 10_001, False),
        ("inputs", [{"cid": CID, "name": "", "size": 0}], False),
        ("inputs", [{"cid": CID, "name": "a", "size": True}], False),
        ("dependencies", [{"name": "a", "task": "0x" + "0" * 64}] * 1_000, True),
        ("dependencies", [{"name": "a", "task": "0x" + "0" * 64}] * 1_001, False),
    ],
)
def test_limits_are_those_of_the_schema(name: str, value: Any, valid: bool) -> None:
    assert CHECKS[name](value) is valid


def test_a_whole_float_is_left_to_the_schema_as_before() -> None:
    wire = Manifest(FileRef("a.py", CID, 1), "wasmtime-49/py312/deterministic", Resources(1)).to_wire()
    document = json.dumps(wire | {"inputs": [{"cid": CID, "name": "a", "size": 1.0}]}).encode()
    assert not CHECKS["inputs"]([{"cid": CID, "name": "a", "size": 1.0}])
    with pytest.raises(ManifestError):
        parse_manifest(document)


@pytest.mark.parametrize("name", LISTS)
def test_what_is_wrong_deep_in_a_list_is_told_with_its_place(name: str) -> None:
    wrong: dict[str, Any] = {"dependencies": {"name": "a"}, "inputs": {"cid": CID}, "items": {"arguments": [1]}}
    wire = Manifest(FileRef("a.py", CID, 1), "wasmtime-49/py312/deterministic", Resources(1)).to_wire()
    good: dict[str, Any] = {
        "dependencies": {"name": "a", "task": "0x" + "0" * 64},
        "inputs": {"cid": CID, "name": "a", "size": 0},
        "items": {"arguments": []},
    }
    with pytest.raises(ManifestError, match=f"at {name}/1"):
        parse_manifest(json.dumps(wire | {name: [good[name], wrong[name]]}).encode())


def test_a_bag_of_100000_items_is_written_and_read_within_five_seconds_of_processor_time() -> None:
    bag = Manifest(
        FileRef("a.py", CID, 1),
        "wasmtime-49/py312/deterministic",
        Resources(1),
        items=tuple(Item(arguments=("calls-0.txt", str(number), "1")) for number in range(100_000)),
    )
    begun = time.process_time()
    assert parse_manifest(bag.to_bytes()) == bag
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "uri"},
        {"type": "number"},
        {"const": 1},
        {"oneOf": []},
        {"type": ["string", "null"]},
        {"type": "object", "properties": {}},
        {"$ref": "#/$defs/file", "minItems": 1},
    ],
)
def test_a_schema_that_says_more_than_the_check_knows_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"schema|reference|open"):
        compile_check(schema, SCHEMA["$defs"])
