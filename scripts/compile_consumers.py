"""Compile the example consumers into ``examples/consumers/compiled``: Vyper here, Solidity with npm's solc.

    .venv/bin/python scripts/compile_consumers.py            write what has changed
    .venv/bin/python scripts/compile_consumers.py --check    write nothing; exit 1 if a committed file differs

solc is a WebAssembly build in an npm package, checked by its hash and kept in the cache folder; Node.js runs it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vyper.compiler import compile_from_file_input
from vyper.compiler.input_bundle import FilesystemInputBundle
from vyper.compiler.settings import OptimizationLevel, Settings

from fairgrid.localnet.download import cache_folder, fetch_package, npm_command, unpack_binary, verify_integrity

__all__ = ["COMPILED", "COMPILERS", "compile_solidity", "compile_vyper", "encode", "main"]

REPOSITORY = Path(__file__).resolve().parent.parent
CONSUMERS = REPOSITORY / "examples" / "consumers"
COMPILED = CONSUMERS / "compiled"

SOLC_VERSION = "0.8.30"
SOLC_INTEGRITY = "sha512-9Srk/gndtBmoUbg4CE6ypAzPQlElv8ntbnl6SigUBAzgXKn35v87sj04uZeoZWjtDkdzT0qKFcIo/wl63UMxdw=="

# The compiler's own C interface: JSON in, JSON out.
_DRIVER = """
const solc = require(process.argv[1]);
const input = require('fs').readFileSync(0, 'utf8');
process.stdout.write(solc.cwrap('solidity_compile', 'string', ['string', 'number', 'number'])(input, 0, 0));
"""
_COMPILE_TIMEOUT_S = 120


def compile_vyper() -> dict[str, Any]:
    """The artifact of ``trend_consumer.vy``."""
    bundle = FilesystemInputBundle([CONSUMERS])
    with bundle.search_path(CONSUMERS):
        source = bundle.load_file("trend_consumer.vy")
    output = compile_from_file_input(
        source,
        input_bundle=bundle,
        settings=Settings(optimize=OptimizationLevel.GAS, evm_version="prague"),
        output_formats=["abi", "bytecode"],
        no_bytecode_metadata=True,
    )
    return {"contractName": "trend_consumer.vy", "abi": output["abi"], "bytecode": output["bytecode"]}


def compile_solidity() -> dict[str, Any]:
    """The artifact of ``trend_consumer.sol``.

    Raises:
        HostFailure: npm or Node.js cannot be had.
        VerificationError: what npm fetched is not the pinned compiler.
    """
    settings = {
        "evmVersion": "prague",
        "optimizer": {"enabled": True, "runs": 200},
        "metadata": {"bytecodeHash": "none", "appendCBOR": False},
        "viaIR": True,
        "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
    }
    name = "trend_consumer.sol"
    sources = {name: {"content": (CONSUMERS / name).read_text()}}
    request = {"language": "Solidity", "sources": sources, "settings": settings}
    done = subprocess.run(
        [_node(), "-e", _DRIVER, "--", str(_solc())],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=_COMPILE_TIMEOUT_S,
        check=True,
    )
    answer = json.loads(done.stdout)
    faults = [fault["formattedMessage"] for fault in answer.get("errors", ())]
    if faults:
        raise SystemExit("\n".join(faults))
    contract = answer["contracts"][name]["TrendConsumer"]
    return {"contractName": name, "abi": contract["abi"], "bytecode": "0x" + contract["evm"]["bytecode"]["object"]}


COMPILERS: dict[str, Callable[[], dict[str, Any]]] = {"vyper": compile_vyper, "solidity": compile_solidity}
"""By the name of the file in ``compiled``."""


def encode(artifact: dict[str, Any]) -> str:
    """One line for each entry of the ABI."""
    entries = ",\n".join(f"    {json.dumps(entry)}" for entry in artifact["abi"])
    return (
        f'{{\n  "contractName": {json.dumps(artifact["contractName"])},\n  "abi": [\n{entries}\n  ],\n'
        f'  "bytecode": {json.dumps(artifact["bytecode"])}\n}}\n'
    )


def _tell(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


def _node() -> str:
    command = npm_command(_tell)
    return "node" if len(command) == 1 else command[0]


def _solc() -> Path:
    compiler = cache_folder() / "solc" / SOLC_VERSION / "soljson.js"
    if not compiler.exists():
        compiler.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=compiler.parent) as folder:
            package = fetch_package("solc", SOLC_VERSION, Path(folder), _tell)
            verify_integrity(package, SOLC_INTEGRITY)
            unpack_binary(package, "package/soljson.js", compiler)
    return compiler


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a committed file differs")
    options = parser.parse_args()
    stale = []
    for name, compiler in COMPILERS.items():
        file, fresh = COMPILED / f"{name}.json", encode(compiler())
        if file.exists() and file.read_text() == fresh:
            continue
        stale.append(name)
        if not options.check:
            COMPILED.mkdir(exist_ok=True)
            file.write_text(fresh)
            sys.stdout.write(f"wrote {file.relative_to(REPOSITORY)}\n")
    if options.check and stale:
        sys.stderr.write(f"Not what the sources compile to: {', '.join(stale)}. Run scripts/compile_consumers.py.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
