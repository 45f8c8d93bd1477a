"""Compile the contracts into the package: ``src/fairgrid/chain/artifacts/<name>.json``.

    .venv/bin/python scripts/compile_contracts.py            write what has changed
    .venv/bin/python scripts/compile_contracts.py rlc app    only these
    .venv/bin/python scripts/compile_contracts.py --check    write nothing; exit 1 if a committed file differs

An artifact's ABI is the hand-kept public one of ``contracts/abi`` where there is one (argument names of the published
interface, custom errors, everything that answers at that address), with the constructor of the compiled contract.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from vyper.compiler import compile_from_file_input
from vyper.compiler.input_bundle import FilesystemInputBundle
from vyper.compiler.settings import OptimizationLevel, Settings

__all__ = ["CONTRACTS", "compile_contract", "main"]

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = REPOSITORY / "contracts"
PUBLIC_ABIS = SOURCES / "abi"
ARTIFACTS = REPOSITORY / "src" / "fairgrid" / "chain" / "artifacts"

CONTRACTS = (
    "rlc",
    "hub",
    "hub_orders",
    "hub_batch",
    "hub_boost",
    "hub_escrow",
    "hub_escrow_native",
    "hub_admin",
    "hub_legacy",
    "hub_views",
    "app_registry",
    "dataset_registry",
    "workerpool_registry",
    "app",
    "dataset",
    "workerpool",
    "role_account",
    "role_accounts",
    "deposit_address",
    "deposit_addresses",
    "group",
    "groups",
)
"""Everything that is deployed, by the name of its source file."""


def compile_contract(name: str) -> dict[str, Any]:
    """One artifact. Without the compiler's metadata, so that a comment does not move a deployment's addresses."""
    bundle = FilesystemInputBundle([SOURCES])
    with bundle.search_path(SOURCES):
        source = bundle.load_file(f"{name}.vy")
    output = compile_from_file_input(
        source,
        input_bundle=bundle,
        settings=Settings(optimize=OptimizationLevel.GAS, evm_version="prague"),
        output_formats=["abi", "bytecode", "bytecode_runtime"],
        no_bytecode_metadata=True,
    )
    return {
        "contractName": name,
        "abi": _public_abi(name, output["abi"]),
        "bytecode": output["bytecode"],
        "deployedBytecode": output["bytecode_runtime"],
    }


def _public_abi(name: str, compiled: list[dict[str, Any]]) -> list[dict[str, Any]]:
    public = PUBLIC_ABIS / f"{name}.json"
    if not public.exists():
        return compiled
    entries = json.loads(public.read_text())
    constructor = [entry for entry in compiled if entry["type"] == "constructor"]
    return constructor + [entry for entry in entries if entry["type"] != "constructor"]


def _encode(artifact: dict[str, Any]) -> str:
    """One line for each entry of the ABI: short files, readable differences."""
    entries = ",\n".join(f"    {json.dumps(entry)}" for entry in artifact["abi"])
    rest = {key: value for key, value in artifact.items() if key != "abi"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in rest.items()]
    lines.insert(1, f'  "abi": [\n{entries}\n  ]')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="contracts to compile (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a committed file differs")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(CONTRACTS))
    if unknown:
        parser.error(f"no such contract: {', '.join(unknown)} (there are {', '.join(CONTRACTS)})")
    stale = []
    for name in options.names or CONTRACTS:
        fresh = _encode(compile_contract(name))
        file = ARTIFACTS / f"{name}.json"
        if file.exists() and file.read_text() == fresh:
            continue
        stale.append(name)
        if not options.check:
            file.write_text(fresh)
            sys.stdout.write(f"wrote {file.relative_to(REPOSITORY)}\n")
    if options.check and stale:
        sys.stderr.write(
            f"Artifacts are not what the contracts compile to: {', '.join(stale)}. Run `make contracts`.\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
