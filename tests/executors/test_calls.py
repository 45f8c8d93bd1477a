"""Calls as they are written down: equal ones, and what tells them apart."""

from __future__ import annotations

from fairgrid.executors.calls import CallWriter
from tests.executors.travellers import fact


def test_equal_calls_differ_by_their_number_and_only_by_it() -> None:
    calls = CallWriter(lambda name, content: None)
    first, second, other = (calls.write(fact, (x,), {}) for x in (1, 1, 2))
    assert first.line.split("\t") == ["0", second.line.split("\t")[1]]
    assert second.line.startswith("1\t")
    assert other.line.startswith("0\t")
    assert len({first.key, second.key, other.key}) == 3
