"""The thread with a loop: results, interruption, and an end that leaves nothing running."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fairgrid.seams.loop_thread import LoopThread


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_work_gives_its_result_or_its_exception() -> None:
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    async def fail() -> None:
        raise ValueError("no")

    loop = LoopThread("some loop")
    assert loop.wait(double(4)) == 8
    with pytest.raises(ValueError, match="no"):
        loop.wait(fail())
    loop.close()
    assert "some loop" not in names()


def test_close_cancels_what_runs_waits_for_its_end_and_then_does_the_last_thing() -> None:
    order: list[str] = []
    started = threading.Event()

    async def long() -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            order.append("cleaned up")

    async def last() -> None:
        order.append("last")

    loop = LoopThread("another loop")
    future = loop.start(long())
    assert started.wait(30)
    loop.close(last())
    assert order == ["cleaned up", "last"]
    assert future.cancelled()


def test_last_thing_that_fails_is_told_and_the_thread_ends_all_the_same() -> None:
    async def last() -> None:
        raise OSError("disk full")

    loop = LoopThread("third loop")
    with pytest.raises(OSError, match="disk full"):
        loop.close(last())
    assert "third loop" not in names()
