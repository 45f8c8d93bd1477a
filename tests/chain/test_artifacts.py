"""The contracts that ship with the package: loadable, small enough, and as the hand-kept public ABI says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain.artifacts import NAMES, artifact
from fairgrid.chain.create2 import creation_code
from fairgrid.protocol.hexes import ZERO_ADDRESS

ROOT = Path(__file__).parents[2]
PUBLIC = ("rlc", "app_registry", "dataset_registry", "workerpool_registry", "app", "dataset", "workerpool")
AROUND = ("role_accounts", "deposit_address", "deposit_addresses", "group", "groups")
LARGEST_CREATION_CODE = 49_152


def _signature(entry: dict[str, Any]) -> str:
    def type_of(parameter: dict[str, Any]) -> str:
        if not parameter["type"].startswith("tuple"):
            return str(parameter["type"])
        inner = ",".join(type_of(component) for component in parameter["components"])
        return f"({inner}){parameter['type'].removeprefix('tuple')}"

    return f"{entry['name']}({','.join(type_of(parameter) for parameter in entry['inputs'])})"


def _functions(abi: list[dict[str, Any]]) -> dict[str, tuple[str, list[str]]]:
    return {
        _signature(entry): (_mutability(entry), [output["type"] for output in entry["outputs"]])
        for entry in abi
        if entry["type"] == "function"
    }


def _mutability(entry: dict[str, Any]) -> str:
    # `pure` is a promise of the compiler, not of the interface.
    return "view" if entry["stateMutability"] == "pure" else str(entry["stateMutability"])


def _events(abi: list[dict[str, Any]]) -> dict[str, list[bool]]:
    return {
        _signature(entry): [parameter["indexed"] for parameter in entry["inputs"]]
        for entry in abi
        if entry["type"] == "event"
    }


def _compiled_abi(name: str) -> list[dict[str, Any]]:
    from vyper.compiler import compile_from_file_input
    from vyper.compiler.input_bundle import FilesystemInputBundle

    bundle = FilesystemInputBundle([ROOT / "contracts"])
    with bundle.search_path(ROOT / "contracts"):
        source = bundle.load_file(f"{name}.vy")
    abi: list[dict[str, Any]] = compile_from_file_input(source, input_bundle=bundle, output_formats=["abi"])["abi"]
    return abi


@pytest.mark.parametrize("name", NAMES)
def test_artifact_loads_and_can_be_created(name: str) -> None:
    contract = artifact(name)
    assert contract.name == name
    assert contract.abi
    assert 0 < len(contract.bytecode) <= LARGEST_CREATION_CODE
    assert artifact(name) is contract


def test_unknown_artifact_is_refused_with_the_known_names() -> None:
    with pytest.raises(KeyError, match="hub_orders"):
        artifact("hubb")


def test_creation_code_needs_every_constructor_argument() -> None:
    assert creation_code(artifact("rlc"), {"token_owner": ZERO_ADDRESS, "other": 1}).endswith(bytes(32))
    with pytest.raises(KeyError, match="token_owner"):
        creation_code(artifact("rlc"), {"other": 1})


@pytest.mark.parametrize("name", [*PUBLIC, *AROUND, "hub_escrow_native"])
def test_public_abi_is_what_the_contract_answers_to(name: str) -> None:
    public = json.loads((ROOT / "contracts" / "abi" / f"{name}.json").read_text())
    compiled = _compiled_abi(name)
    assert _functions(public) == _functions(compiled)
    assert _events(public) == _events(compiled)


def test_public_abi_of_a_role_account_adds_what_it_passes_on_to_the_hub() -> None:
    public = json.loads((ROOT / "contracts" / "abi" / "role_account.json").read_text())
    compiled = _compiled_abi("role_account")
    assert _functions(compiled).items() <= _functions(public).items()
    passed_on = {signature.partition("(")[0] for signature in _functions(public).keys() - _functions(compiled).keys()}
    assert passed_on == {
        "contribute",
        "contributeAndFinalize",
        "reveal",
        "settleRun",
        "initialize",
        "finalize",
        "reopen",
        "openRun",
        "splitRun",
        "finalizeRun",
    }
    assert _events(public) == _events(compiled)


@pytest.mark.parametrize("name", [*PUBLIC, *AROUND, "role_account", "hub", "hub_escrow_native"])
def test_artifact_carries_the_public_abi(name: str) -> None:
    public = json.loads((ROOT / "contracts" / "abi" / f"{name}.json").read_text())
    shipped = [entry for entry in artifact(name).abi if entry["type"] != "constructor"]
    assert shipped == [entry for entry in public if entry["type"] != "constructor"]


def _specified(section: str) -> set[str]:
    """Signatures of functions and events in the published interface, committed beside this test."""
    document = json.loads((Path(__file__).parent / "published_interface.json").read_text())
    return set(document[section])


@pytest.mark.parametrize("name", PUBLIC)
def test_published_interface_is_offered(name: str) -> None:
    abi = artifact(name).abi
    offered = {_signature(entry) for entry in abi if entry["type"] in ("function", "event", "error")}
    assert _specified(name) - offered == set()
