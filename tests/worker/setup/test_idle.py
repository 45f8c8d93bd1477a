"""A worker that ends by itself when there is no task for a while."""

from __future__ import annotations

import asyncio

import pytest

from fairgrid.errors import UsageError
from fairgrid.seams.clock import VirtualClock
from fairgrid.worker.setup.idle import parse_idle, wait_until_idle


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2 h", 7200)])
def test_the_option_takes_a_duration(text: str, seconds: int) -> None:
    assert parse_idle(text) == seconds


@pytest.mark.parametrize("text", ["soon", "", "0m", "-5m", "18:30", "10"])
def test_the_option_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="--idle-exit takes a duration like 10m"):
        parse_idle(text)


async def test_each_task_begins_the_time_anew() -> None:
    clock, held = VirtualClock(), [False]
    waiting = asyncio.create_task(wait_until_idle(600, lambda: held[0], clock=clock))
    await clock.advance(590)
    held[0] = True
    await clock.advance(3600)
    assert not waiting.done()
    held[0] = False
    await clock.advance(590)
    assert not waiting.done()
    await clock.advance(20)
    assert waiting.done()


async def test_a_short_time_is_looked_at_more_often() -> None:
    clock, looks = VirtualClock(), list[float]()

    def look() -> bool:
        looks.append(clock.now())
        return False

    waiting = asyncio.create_task(wait_until_idle(2, look, clock=clock))
    await clock.advance(2.2)
    assert waiting.done() and len(looks) >= 19
