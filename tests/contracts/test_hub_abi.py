"""The hand-kept ABI, the compiled facets and the published interface agree; sizes; layouts; the dispatch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boa
import pytest
from vyper.compiler.output import build_layout_output

from fairgrid.protocol.hexes import keccak, to_hex
from tests.contracts.hub_parts import FACETS as PARTS
from tests.contracts.hub_parts import NATIVE_ESCROW
from tests.contracts.published_interface import (
    ERRORS,
    EVENTS,
    FUNCTIONS,
    NATIVE_FUNCTIONS,
    OWN_EVENTS,
    OWN_FUNCTIONS,
)
from tests.contracts.registries import SOURCES, compiled
from tests.contracts.world import World

FACETS = ("hub", *PARTS)
CODE_LIMIT = 24_576
INIT_CODE_LIMIT = 49_152
INTERNAL_FUNCTIONS = {"blobData()"}
"""Functions that are no part of the public ABI: called by our own records."""


def _type(parameter: dict[str, Any]) -> str:
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_type(component) for component in parameter['components'])}){kind[5:]}"


def _signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(_type(parameter) for parameter in entry['inputs'])})"


@cache
def _public() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((SOURCES / "abi" / "hub.json").read_text())
    return entries


def _of(entries: list[dict[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    return (entry for entry in entries if entry["type"] == kind)


def _keys(entries: list[dict[str, Any]], kind: str) -> dict[str, str]:
    """Signatures by selector or topic."""
    keys = {}
    for entry in _of(entries, kind):
        hash_ = keccak(_signature(entry).encode())
        keys[to_hex(hash_ if kind == "event" else hash_[:4])] = _signature(entry)
    return keys


@pytest.mark.parametrize(
    ("kind", "published", "own"),
    [("function", FUNCTIONS, OWN_FUNCTIONS), ("event", EVENTS, OWN_EVENTS), ("error", ERRORS, {})],
)
def test_the_public_abi_has_the_published_selectors_and_topics_and_our_own(
    kind: str, published: dict[str, str], own: dict[str, str]
) -> None:
    assert not published.keys() & own.keys()
    assert _keys(_public(), kind) == published | own


def test_our_own_interface_takes_no_published_name() -> None:
    """A superset: nothing of ours overloads a function or an event that foreign clients know."""
    for published, own in ((FUNCTIONS, OWN_FUNCTIONS), (EVENTS, OWN_EVENTS)):
        names = {signature.partition("(")[0] for signature in published.values()}
        assert not names & {signature.partition("(")[0] for signature in own.values()}


def test_the_native_escrow_has_the_published_selectors() -> None:
    """And answers as its ABI says: `tests/chain/test_artifacts.py` compares the two."""
    entries = json.loads((SOURCES / "abi" / f"{NATIVE_ESCROW}.json").read_text())
    assert _keys(entries, "function") == NATIVE_FUNCTIONS
    assert _keys(entries, "event").items() <= EVENTS.items()
    assert {entry["type"] for entry in entries} == {"function", "event", "fallback", "receive"}


def test_the_facets_together_have_every_function_once_and_no_other() -> None:
    found: dict[str, tuple[str, list[str], str]] = {}
    for facet in FACETS:
        for entry in _of(compiled(facet).abi, "function"):
            signature = _signature(entry)
            assert signature not in found, f"{signature} is in two facets"
            found[signature] = (facet, [_type(output) for output in entry["outputs"]], entry["stateMutability"])
    for signature in INTERNAL_FUNCTIONS:
        del found[signature]
    expected = {
        _signature(entry): ([_type(output) for output in entry["outputs"]], entry["stateMutability"])
        for entry in _of(_public(), "function")
    }
    assert {signature: value[1:] for signature, value in found.items()} == expected


def test_the_facets_emit_the_public_events_and_no_other() -> None:
    def shape(entry: dict[str, Any]) -> tuple[str, tuple[bool, ...]]:
        return _signature(entry), tuple(bool(parameter["indexed"]) for parameter in entry["inputs"])

    emitted = {shape(entry) for facet in FACETS for entry in _of(compiled(facet).abi, "event")}
    assert emitted == {shape(entry) for entry in _of(_public(), "event")}


def test_compiled_parameters_have_the_published_names() -> None:
    """But for names that Vyper reserves."""
    public = {_signature(entry): entry for entry in _of(_public(), "function")}
    reserved = {"value": "amount"}
    for facet in FACETS:
        for entry in _of(compiled(facet).abi, "function"):
            if _signature(entry) in INTERNAL_FUNCTIONS:
                continue
            names = [parameter["name"] for parameter in entry["inputs"]]
            published = [parameter["name"] for parameter in public[_signature(entry)]["inputs"]]
            assert names == [reserved.get(name, name) for name in published], entry["name"]


def test_every_function_is_reached_through_the_hub(world: World) -> None:
    """Without arguments, so most revert; none is unknown."""
    for selector, signature in (FUNCTIONS | OWN_FUNCTIONS).items():
        computation = boa.env.execute_code(
            to_address=world.hub.address, data=bytes.fromhex(selector[2:]) + bytes(1_500)
        )
        assert b"fallback-disabled" not in computation.output, signature


@pytest.mark.parametrize("facet", [*FACETS, NATIVE_ESCROW])
def test_every_function_of_the_sources_says_what_it_is(facet: str) -> None:
    """NatSpec of each external function: a notice, which says the consequence."""
    text = (SOURCES / f"{facet}.vy").read_text()
    external = text.split("@external\n")[1:]
    assert external
    for part in external:
        assert '"""\n    @notice' in part.split("@internal\n")[0], part.splitlines()[:4]


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_deployed_code_fits_the_chain(world: World, native: World) -> None:
    """Measured on what is deployed: immutables stand behind the compiled code."""
    addresses = {"hub": world.hub.address, **{name: facet.address for name, facet in world.facets.items()}}
    assert set(addresses) == set(FACETS)
    addresses[NATIVE_ESCROW] = native.facets[NATIVE_ESCROW].address
    addresses["rlc"] = world.rlc.address
    for name, address in addresses.items():
        assert 0 < len(boa.env.get_code(address)) <= CODE_LIMIT, name
        assert len(compiled(name).bytecode) <= INIT_CODE_LIMIT, name


# --- storage --------------------------------------------------------------------------------------------------------


@cache
def _layout(name: str) -> dict[str, Any]:
    data = boa.load_partial(str(SOURCES / f"{name}.vy")).compiler_data
    return dict(build_layout_output(data))


def test_all_facets_have_the_same_storage() -> None:
    layouts = [_layout(facet)["storage_layout"] for facet in (*FACETS, NATIVE_ESCROW)]
    assert all(layout == layouts[0] for layout in layouts)
    assert list(layouts[0]) == ["state"], "storage outside of lib/state.vy"


def test_all_facets_have_the_same_transient_storage() -> None:
    for facet in (*FACETS, NATIVE_ESCROW):
        transient = _layout(facet)["transient_storage_layout"]
        lock = transient.pop("$.nonreentrant_key", {"slot": 0, "n_slots": 1, "type": "nonreentrant lock"})
        assert lock["slot"] == 0
        assert {name: (value["slot"], value["n_slots"]) for name, value in transient["state"].items()} == {
            "blob": (1, 145)
        }


def test_the_layout_is_the_committed_one() -> None:
    """Slots are for ever: new variables go behind these."""
    slots = {name: value["slot"] for name, value in _layout("hub")["storage_layout"]["state"].items()}
    committed = json.loads((Path(__file__).parent / "hub_layout.json").read_text())
    assert slots == committed
