"""The state diagrams of the documentation are the tables of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairgrid.pool.core.phases import TRANSITIONS as POOL_TRANSITIONS
from fairgrid.protocol.views import TaskStatus
from fairgrid.worker.core.held import TRANSITIONS as WORKER_TRANSITIONS

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"


def arrows(name: str) -> set[tuple[str, str]]:
    """(from, to) of every arrow of the diagram called ``name``, without the start and end dots."""
    text = ARCHITECTURE.read_text()
    found = re.search(rf"<!-- diagram: {name} -->\n```mermaid\n(.*?)```", text, re.DOTALL)
    assert found is not None, f"docs/architecture.md has no diagram {name}"
    return set(re.findall(r"^    (\w+) --> (\w+)", found[1], re.MULTILINE))


def test_pool_diagram_is_the_transition_table() -> None:
    table = {(a.name, b.name) for a, following in POOL_TRANSITIONS.items() for b in following if a is not b}
    assert arrows("pool") == table


def test_worker_diagram_is_the_transition_table() -> None:
    table = {(a.name, b.name) for a, following in WORKER_TRANSITIONS.items() for b in following if a is not b}
    assert arrows("worker") == table


def test_chain_diagram_shows_every_status() -> None:
    shown = {state for arrow in arrows("chain") for state in arrow}
    assert shown == {status.name for status in TaskStatus}


@pytest.mark.parametrize("missing", ["nowhere", ""])
def test_missing_diagram_is_an_error(missing: str) -> None:
    with pytest.raises(AssertionError):
        arrows(missing or "empty")
