"""What commands load before they do anything: looking around must not wait for chains, forms and databases."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fairgrid.cli.main import COMMANDS

HEAVY = {
    "eth_abi": "encodes calls of contracts",
    "eth_account": "signs",
    "pydantic": "reads messages of services",
    "httpx": "speaks to services",
    "sqlalchemy": "keeps the state of services",
    "starlette": "is a service",
    "uvicorn": "is a service",
    "wasmtime": "runs jobs",
    "fairgrid.chain": "is the chain",
    "fairgrid.client": "is the client",
    "fairgrid.pool": "is the pool",
    "fairgrid.worker": "is the worker",
    "fairgrid.market": "is the market",
}
"""What nobody needs to be told what there is, and what it does."""

_LOADED = """
import sys
from fairgrid.__main__ import start
try:
    start()
finally:
    print("\\n" + "LOADED " + " ".join(sys.modules))
"""


def loaded(*words: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *words], capture_output=True, text=True, timeout=55, check=True
    )
    return set(done.stdout.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize("words", [("--help",), ("--version",)], ids=" ".join)
def test_looking_around_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    found = loaded(*words) & HEAVY.keys()
    assert found == set(), "; ".join(f"{name}, which {HEAVY[name]}, is loaded" for name in sorted(found))


@pytest.mark.parametrize(
    "group", ["wallet", "network", "account", "order", "deal", "group", "worker", "pool", "contracts"]
)
def test_help_of_a_group_speaks_to_nobody(group: str) -> None:
    """Typer itself loads pydantic where a command has options."""
    assert loaded(group, "--help") & {"eth_abi", "httpx", "sqlalchemy", "starlette", "uvicorn", "wasmtime"} == set()


def test_help_names_every_command_with_its_summary() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairgrid", "--help"],
        capture_output=True,
        text=True,
        timeout=55,
        check=True,
        env={"PATH": "", "COLUMNS": "200", "NO_COLOR": "1"},
    )
    for name, place in COMMANDS.items():
        assert f" {name} " in done.stdout and place.summary in done.stdout, name
