from __future__ import annotations

import asyncio

from fairgrid.seams.clock import SystemClock, VirtualClock


async def test_virtual_sleepers_wake_in_order_at_their_own_moment() -> None:
    clock = VirtualClock(now=100)
    log: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            log.append((name, clock.now()))

    tasks = [asyncio.create_task(sleeper("slow", 10)), asyncio.create_task(sleeper("quick", 4, 4, 4))]
    await clock.advance(3)
    assert log == []
    await clock.advance(100)
    assert log == [("quick", 104), ("quick", 108), ("slow", 110), ("quick", 112)]
    assert clock.now() == 203
    await asyncio.gather(*tasks)


async def test_a_sleeper_that_was_cancelled_does_not_stop_the_clock() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(5))
    await clock.advance(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await clock.advance(10)
    assert clock.now() == 1_700_000_011


async def test_no_time_passes_in_a_sleep_of_nothing() -> None:
    clock = VirtualClock(now=1)
    await clock.sleep(0)
    await clock.sleep(-5)
    assert clock.now() == 1


async def test_the_system_clock_sleeps_for_real() -> None:
    clock = SystemClock()
    before = clock.now()
    await clock.sleep(0.05)
    assert 0.04 <= clock.now() - before < 5
