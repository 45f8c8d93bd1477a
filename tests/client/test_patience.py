"""Owners that a pool lost a moment ago are waited for; nobody else is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pytest

from fairgrid.client.patience import trust_in_reach
from fairgrid.client.progress import Phase, Progress
from fairgrid.errors import TrustUnreachable
from fairgrid.pool.answers import OwnerWeight, TrustListing
from fairgrid.pool.client import PoolClient
from fairgrid.seams.clock import VirtualClock


class Passing(VirtualClock):
    """Time passes as soon as somebody sleeps."""

    async def sleep(self, seconds: float) -> None:
        self._now += seconds


class Pool:
    """Tells one listing after the other, the last one for ever."""

    def __init__(self, listings: Iterable[TrustListing]) -> None:
        self.listings = list(listings)
        self.asked = 0

    async def trust(self) -> TrustListing:
        self.asked += 1
        return self.listings.pop(0) if len(self.listings) > 1 else self.listings[0]


def listing(owners: int, *, returning_s: float = 0.0, after_return: int | None = None) -> TrustListing:
    listed = tuple(OwnerWeight(f"0x{number}", 2, 0) for number in range(owners))
    return TrustListing(listed, 2**owners if owners else 0, returning_s, after_return)


async def trust_of(pool: Pool, *, asked: int = 2, workers_at_least: int = 1) -> tuple[int, float, list[Progress]]:
    told: list[Progress] = []
    clock = Passing()
    began = clock.now()
    try:
        trust = await trust_in_reach(
            cast(PoolClient, pool), asked=asked, workers_at_least=workers_at_least, clock=clock, on_progress=told.append
        )
    except TrustUnreachable:
        trust = 0
    return trust, clock.now() - began, told


async def test_trust_that_is_in_reach_is_not_waited_for() -> None:
    assert await trust_of(Pool([listing(1, returning_s=30)])) == (2, 0, [])


async def test_owners_that_a_restarted_pool_expects_are_waited_for() -> None:
    pool = Pool([listing(0, returning_s=30), listing(1, returning_s=29), listing(2)])
    trust, waited_s, told = await trust_of(pool, asked=4)
    assert (trust, waited_s) == (4, 2)
    assert told[0] == Progress(Phase.PREPARING, "0 owner(s) reach trust 0 of 4; others may be back within 30 s")


async def test_nobody_is_waited_for_when_nobody_is_expected() -> None:
    assert await trust_of(Pool([listing(1)]), asked=4) == (0, 0, [])


async def test_trust_that_even_those_who_may_return_do_not_reach_is_refused_at_once() -> None:
    pool = Pool([listing(1, returning_s=30, after_return=4)])
    assert await trust_of(pool, asked=5) == (0, 0, [])
    assert (await trust_of(pool, asked=4))[1] > 0


async def test_waiting_ends_when_the_pool_expects_nobody_any_more() -> None:
    pool = Pool([listing(1, returning_s=2), listing(1, returning_s=1), listing(1)])
    assert (await trust_of(pool, asked=4))[:2] == (0, 2)


async def test_pool_that_always_promises_more_owners_is_not_waited_for_for_ever() -> None:
    assert (await trust_of(Pool([listing(1, returning_s=60)]), asked=4))[:2] == (0, 90)


async def test_trust_for_several_workers_follows_the_owners_who_came_back() -> None:
    pool = Pool([listing(1, returning_s=9), listing(3)])
    assert (await trust_of(pool, asked=1, workers_at_least=2))[0] == 3


async def test_what_is_out_of_reach_is_said_with_its_numbers() -> None:
    with pytest.raises(TrustUnreachable, match="trust 4: its 1 connected"):
        await trust_in_reach(
            cast(PoolClient, Pool([listing(1)])),
            asked=4,
            workers_at_least=1,
            clock=Passing(),
            on_progress=lambda progress: None,
        )
