"""A service that served before waits for its chain; one that starts for the first time is told at once."""

from __future__ import annotations

import pytest

from fairgrid.chain.patience import when_up
from fairgrid.errors import ServiceUnavailable, UsageError


class Node:
    """Does not answer the first ``silent`` times."""

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.asked = 0

    async def ask(self) -> str:
        self.asked += 1
        if self.asked <= self.silent:
            raise ServiceUnavailable("chain", "http://127.0.0.1:1", "nobody is there")
        return "an answer"


async def test_who_served_before_asks_until_there_is_an_answer() -> None:
    node = Node(3)
    assert await when_up(node.ask, served_before=True, first_pause_s=0.001) == "an answer"
    assert node.asked == 4


async def test_who_starts_for_the_first_time_is_told_at_once() -> None:
    node = Node(1)
    with pytest.raises(ServiceUnavailable):
        await when_up(node.ask, served_before=False, first_pause_s=0.001)
    assert node.asked == 1


async def test_a_wrong_answer_is_never_waited_for() -> None:
    async def wrong() -> str:
        raise UsageError("another chain")

    with pytest.raises(UsageError):
        await when_up(wrong, served_before=True)
