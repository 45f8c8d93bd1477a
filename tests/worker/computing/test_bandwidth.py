"""The owner's limit on transfers holds in the long run, for any size of block, and may change at any time."""

from __future__ import annotations

import asyncio

import pytest

from fairgrid.seams.clock import VirtualClock
from fairgrid.worker.computing.bandwidth import TokenBucket


async def seconds_for(bucket: TokenBucket, clock: VirtualClock, blocks: list[int], *, most: float = 1_000) -> float:
    """Virtual seconds until every block went through."""
    began = clock.now()

    async def transfer() -> None:
        for block in blocks:
            await bucket.take(block)

    task = asyncio.create_task(transfer())
    while not task.done() and clock.now() - began < most:
        await clock.advance(0.05)
    assert task.done(), "the transfer never ended"
    return clock.now() - began


@pytest.mark.parametrize("block", [1_000, 10_000, 250_000])
async def test_a_transfer_takes_as_long_as_its_bytes_at_the_rate_less_one_second_at_once(block: int) -> None:
    clock = VirtualClock()
    bucket = TokenBucket(lambda: 100_000, clock=clock)
    blocks = [block] * (1_000_000 // block)
    assert await seconds_for(bucket, clock, blocks) == pytest.approx(9.0 - max(block - 100_000, 0) / 100_000, abs=1.2)


async def test_two_transfers_share_the_rate() -> None:
    clock = VirtualClock()
    bucket = TokenBucket(lambda: 100_000, clock=clock)
    began = clock.now()
    both = [asyncio.create_task(seconds_of(bucket)) for _ in range(2)]
    while not all(task.done() for task in both):
        await clock.advance(0.05)
    assert clock.now() - began == pytest.approx(9.0, abs=0.5)


async def seconds_of(bucket: TokenBucket) -> None:
    for _ in range(50):
        await bucket.take(10_000)


async def test_without_a_limit_nothing_waits() -> None:
    clock = VirtualClock()
    began = clock.now()
    await TokenBucket(lambda: None, clock=clock).take(10**12)
    assert clock.now() == began


async def test_a_limit_that_is_lifted_lets_the_waiting_transfer_go() -> None:
    clock = VirtualClock()
    rates: list[int | None] = [10]
    bucket = TokenBucket(lambda: rates[0], clock=clock)
    task = asyncio.create_task(transfer_of(bucket, 10_000))
    await clock.advance(5)
    assert not task.done(), "the limit holds"
    rates[0] = None
    await clock.advance(2)
    assert task.done()


async def transfer_of(bucket: TokenBucket, size: int) -> None:
    await bucket.take(size)
    await bucket.take(size)


async def test_a_clock_that_is_set_back_does_not_stop_a_transfer() -> None:
    clock = VirtualClock()
    bucket = TokenBucket(lambda: 1_000, clock=clock)
    await bucket.take(1_500)
    clock._now -= 3_600
    assert await seconds_for(bucket, clock, [10, 10]) < 5
