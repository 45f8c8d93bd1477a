"""Compile the contract into consumer.json. It needs solc 0.8.30 on PATH, or Node.js and: npm install solc@0.8.30"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NPM = """
const solc = require('solc');
process.stdout.write(solc.compile(require('fs').readFileSync(0, 'utf8')));
"""
SETTINGS = {
    "evmVersion": "prague",
    "optimizer": {"enabled": True, "runs": 200},
    "viaIR": True,
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
}


def contract() -> dict[str, Any]:
    """ABI and creation code of consumer.sol."""
    request = {
        "language": "Solidity",
        "sources": {"consumer.sol": {"content": (HERE / "consumer.sol").read_text()}},
        "settings": SETTINGS,
    }
    answer = json.loads(
        subprocess.run(
            _compiler(), input=json.dumps(request), cwd=HERE, capture_output=True, text=True, check=True
        ).stdout
    )
    faults = [fault["formattedMessage"] for fault in answer.get("errors", ()) if fault["severity"] == "error"]
    if faults:
        raise SystemExit("\n".join(faults))
    compiled = answer["contracts"]["consumer.sol"]["Consumer"]
    return {"abi": compiled["abi"], "bytecode": "0x" + compiled["evm"]["bytecode"]["object"]}


def _compiler() -> list[str]:
    solc = shutil.which("solc")
    if solc is not None:
        return [solc, "--standard-json"]
    node = shutil.which("node")
    if node is not None and (HERE / "node_modules" / "solc").is_dir():
        return [node, "-e", NPM]
    raise SystemExit("There is no Solidity compiler. Put solc 0.8.30 on PATH, or: npm install solc@0.8.30 (Node.js)")


if __name__ == "__main__":
    (HERE / "consumer.json").write_text(json.dumps(contract(), indent=1) + "\n")
