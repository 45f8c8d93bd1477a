"""Facts count from the block on in which they were first seen unchanged."""

from __future__ import annotations

import pytest

from fairgrid.worker.core.depth import Depth


@pytest.mark.parametrize("confirmations", [0, 1, 6])
def test_a_fact_is_deep_exactly_after_its_confirmations(confirmations: int) -> None:
    depth = Depth(confirmations)
    reached = [depth.reached("t", "consensus", "a", 10 + blocks) for blocks in range(confirmations + 2)]
    assert reached == [False] * confirmations + [True, True]


def test_another_fact_no_fact_or_a_lower_block_begins_anew() -> None:
    depth = Depth(2)
    depth.reached("t", "consensus", "a", 10)
    assert not depth.reached("t", "consensus", "b", 12)
    assert depth.reached("t", "consensus", "b", 14)
    assert not depth.reached("t", "consensus", None, 15)
    assert not depth.reached("t", "consensus", "b", 16)
    assert not depth.reached("t", "consensus", "b", 9), "the chain went back"
    assert not depth.reached("t", "consensus", "b", 10)
    assert depth.reached("t", "consensus", "b", 11)


def test_topics_and_tasks_are_apart_and_a_forgotten_task_begins_anew() -> None:
    depth = Depth(1)
    depth.reached("t", "consensus", "a", 10)
    assert not depth.reached("t", "end", "a", 11)
    assert not depth.reached("u", "consensus", "a", 11)
    assert depth.reached("t", "consensus", "a", 11)
    depth.forget("t")
    assert not depth.reached("t", "consensus", "a", 12)
