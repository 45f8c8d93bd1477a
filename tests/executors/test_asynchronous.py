"""The executor of programs with an event loop."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from fairgrid.errors import CannotTravel, RunInterrupted
from fairgrid.executors.asynchronous import AsyncExecutor
from tests.executors.simple_calls import NEVER, divide, nap, scaled
from tests.executors.stage import QUICK, Stage


def executor(stage: Stage, **options: Any) -> AsyncExecutor:
    return AsyncExecutor(stage.place, **({"timing": QUICK} | options))


async def test_calls_are_awaited_one_by_one_and_together(stage: Stage) -> None:
    async with executor(stage) as ex:
        assert await ex.submit(scaled, 2) == 6
        assert await asyncio.gather(*(ex.submit(scaled, x) for x in range(5))) == [0, 3, 6, 9, 12]
        with pytest.raises(ZeroDivisionError):
            await ex.submit(divide, 1, 0)
    assert ex.receipt().signed == 0


async def test_map_is_an_asynchronous_iterator_in_order(stage: Stage) -> None:
    async with executor(stage) as ex:
        assert [value async for value in ex.map(scaled, range(6), chunksize=2)] == [0, 3, 6, 9, 12, 15]
        seen = []
        async for value in ex.map(scaled, itertools.count(), buffersize=3):
            seen.append(value)
            if len(seen) == 5:
                break
        assert seen == [0, 3, 6, 9, 12]


async def test_map_times_out(stage: Stage) -> None:
    async with executor(stage, timing=NEVER) as ex:
        with pytest.raises(TimeoutError):
            async for _ in ex.map(scaled, [1], timeout=0.05):
                pass
        await ex.shutdown(cancel_futures=True)


async def test_the_loop_is_never_blocked(stage: Stage) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    async with executor(stage) as ex:
        await ex.submit(nap, 0.5)
    ticking.cancel()
    assert ticks > 5


async def test_a_cancelled_task_leaves_at_once_and_the_run_is_resumed(stage: Stage) -> None:
    started = asyncio.Event()
    names: list[str] = []
    futures: list[asyncio.Future[Any]] = []

    async def work() -> None:
        async with executor(stage) as ex:
            names.append(ex.run_id)
            futures.append(ex.submit(nap, 2))
            while not stage.plans():  # noqa: ASYNC110 - it comes from another thread
                await asyncio.sleep(0.01)
            started.set()
            await asyncio.shield(futures[0])

    task = asyncio.ensure_future(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(RunInterrupted):
        await futures[0]
    stage.troubled()
    async with AsyncExecutor.resume(names[0], stage.place, timing=QUICK) as again:
        assert await asyncio.gather(*again.recovered) == [2]


async def test_what_cannot_travel_is_told_at_once(stage: Stage) -> None:
    async with executor(stage) as ex:
        with pytest.raises(CannotTravel):
            ex.submit(scaled, object())  # type: ignore[arg-type]


async def test_it_has_to_be_entered(stage: Stage) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        executor(stage).submit(scaled, 1)
