"""docs/configuration.md has every field of every policy with its default, and every variable that the source names."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from fairgrid.chain.network import Network, save_network
from fairgrid.pool.core.policy import Policy
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.worker.owner.policy import WorkerPolicy

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "configuration.md").read_text()


def section(heading: str) -> str:
    """The text below a heading."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/configuration.md has no section {heading!r}"
    return found[1]


def shown(default: object) -> str:
    """A default as the page writes it."""
    if default is None:
        return "none"
    if isinstance(default, tuple):
        return json.dumps(list(default))
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize(
    ("heading", "policy"), [("The pool's policy", Policy()), ("The worker's policy", WorkerPolicy())]
)
def test_every_field_of_a_policy_is_explained_with_its_default(heading: str, policy: Policy | WorkerPolicy) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S*) \| (.+) \|$", section(heading), re.MULTILINE)
    assert {name: default for name, default, _ in rows} == {
        field.name: shown(getattr(policy, field.name)) for field in fields(policy)
    }
    assert all(len(meaning) > 10 for _, _, meaning in rows)


def test_every_key_of_the_engine_is_explained_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S*) \| (.+) \|$", section("The worker's engine"), re.MULTILINE)
    expected = {field.name: shown(field.default) for field in fields(EngineOptions)} | {"kind": "needed"}
    assert {name: default for name, default, _ in rows} == expected
    assert all(len(meaning) > 10 for _, _, meaning in rows)


def test_every_key_of_the_network_file_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "network.json"
    save_network(Network("n", 1, "r", "h", "c", "t", "m", "s", "p", "a"), file)
    keys = set(re.findall(r'^  "(\w+)":', file.read_text(), re.MULTILINE))
    documented = {
        key
        for cell in re.findall(r"^\| (`[^|]+) \|", section("The network file"), re.MULTILINE)
        for key in re.findall(r"`(\w+)`", cell)
    }
    assert documented == keys


def test_every_variable_of_the_source_is_explained() -> None:
    sources = (REPOSITORY / "src" / "fairgrid").rglob("*.py")
    named = {name for source in sources for name in re.findall(r"\bFAIRGRID_[A-Z_]+\b", source.read_text())}
    assert set(re.findall(r"`(FAIRGRID_[A-Z_]+)`", section("Environment"))) == named
