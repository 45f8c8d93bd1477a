"""The published contracts and ours have the same functions, events and errors, but for what is listed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.contracts.peer import PeerPackage
from tests.contracts.peer_differences import EXPECTED
from tests.contracts.registries import SOURCES

CONTRACTS = {
    "hub": "hub",
    "app_registry": "AppRegistry",
    "dataset_registry": "DatasetRegistry",
    "workerpool_registry": "WorkerpoolRegistry",
    "app": "App",
    "dataset": "Dataset",
    "workerpool": "Workerpool",
}
"""Our names and theirs."""


def _type(parameter: dict[str, Any], *, named: bool = False) -> str:
    """The canonical type; with ``named``, tuples have the names of their members, by which clients read them."""
    kind: str = parameter["type"]
    if kind.startswith("tuple"):
        members = (
            f"{_type(member, named=named)} {member['name'] if named else ''}".strip()
            for member in parameter["components"]
        )
        kind = f"({','.join(members)}){kind[5:]}"
    return kind


def _table(entries: Iterable[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    """What has to agree, by kind and signature (which is what selectors and topics are made of)."""
    table: dict[tuple[str, str], Any] = {}
    for entry in entries:
        kind = entry["type"]
        inputs = ",".join(_type(parameter) for parameter in entry.get("inputs", ()))
        if kind == "function":
            shape: Any = (entry["stateMutability"], [_type(output, named=True) for output in entry["outputs"]])
        elif kind == "event":
            shape = [(parameter["name"], parameter["indexed"]) for parameter in entry["inputs"]]
        else:
            shape = entry.get("stateMutability")
        if kind != "constructor":
            table[kind, f"{entry.get('name', '')}({inputs})"] = shape
    return table


def _differences(peer: dict[tuple[str, str], Any], ours: dict[tuple[str, str], Any]) -> Iterator[str]:
    for kind, signature in sorted(peer.keys() | ours.keys()):
        name = f"{kind} {signature.partition('(')[0]}".strip()
        if (kind, signature) not in ours:
            yield f"- {name}"
        elif (kind, signature) not in peer:
            yield f"+ {name}"
        elif peer[kind, signature] != ours[kind, signature]:
            yield f"~ {name}"


def _expected(contract: str) -> list[str]:
    tables = (reasons for contracts, reasons in EXPECTED.items() if contract in contracts)
    return [difference for reasons in tables for listed in reasons.values() for difference in listed]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_function_event_and_error_is_the_published_one_but_for_those_listed(
    contract: str, peer_package: PeerPackage
) -> None:
    ours = json.loads((SOURCES / "abi" / f"{contract}.json").read_text())
    found = Counter(_differences(_table(peer_package.entries(CONTRACTS[contract])), _table(ours)))
    expected = Counter(_expected(contract))
    assert not found - expected, f"differences of {contract} that are not listed"
    assert not expected - found, f"listed differences of {contract} that are not there: take them out of the table"


def test_every_listed_difference_has_a_contract_and_is_listed_once() -> None:
    assert {contract for contracts in EXPECTED for contract in contracts} <= set(CONTRACTS)
    for contract in CONTRACTS:
        assert all(count == 1 for count in Counter(_expected(contract)).values())
