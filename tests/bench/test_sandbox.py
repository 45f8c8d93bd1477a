"""The verdicts that the benchmark of isolation levels prints beside its figures."""

from __future__ import annotations

import pytest
from bench.sandbox import Target


@pytest.mark.parametrize(
    ("target", "ours_ms", "bare_ms", "verdict"),
    [
        (Target(ratio=1.2), 120.0, 100.0, "met"),
        (Target(ratio=1.2), 121.0, 100.0, "missed"),
        (Target(over_ms=5), 5.3, 0.3, "met"),
        (Target(over_ms=5), 5.4, 0.3, "missed"),
        (Target(ms=60), 60.0, 1.0, "met"),
        (Target(ms=60), 60.1, 100.0, "missed"),
        (Target(), 1e9, 1.0, "-"),
    ],
)
def test_a_level_meets_its_target_or_misses_it(target: Target, ours_ms: float, bare_ms: float, verdict: str) -> None:
    assert target.verdict(ours_ms, bare_ms) == verdict


def test_a_target_is_told_in_words() -> None:
    assert str(Target(ratio=1.2)) == "at most 1.2 bare" and str(Target(ms=60)) == "at most 60 ms"
    assert str(Target(over_ms=5)) == "at most 5 ms over bare" and str(Target()) == "none: a new process"
