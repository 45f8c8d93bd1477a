"""Compile the contract into consumer.json. It needs Vyper: pip install vyper==0.4.3"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def contract() -> dict[str, Any]:
    """ABI and creation code of consumer.vy."""
    try:
        from vyper import compile_code
    except ImportError:
        raise SystemExit("Vyper is not installed. pip install vyper==0.4.3") from None
    compiled: dict[str, Any] = compile_code((HERE / "consumer.vy").read_text(), output_formats=["abi", "bytecode"])
    return {"abi": compiled["abi"], "bytecode": compiled["bytecode"]}


if __name__ == "__main__":
    (HERE / "consumer.json").write_text(json.dumps(contract(), indent=1) + "\n")
