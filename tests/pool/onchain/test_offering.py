"""The pool's offer on a real market: there once on its terms, renewed when used up, away while the pool drains."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fairgrid.errors import ServiceError
from fairgrid.market.app import open_market
from fairgrid.market.client import MarketClient
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.onchain.offering import OfferKeeper
from fairgrid.pool.processes.pool_file import Offer
from fairgrid.protocol.orders import WorkerpoolOrder
from fairgrid.seams.clock import SystemClock
from fairgrid.seams.database import open_engine
from tests.pool.grid import PRICE, Grid

OFFER = Offer(price_nrlc=PRICE, trust=1_000, volume=2)


@dataclass
class Stand:
    """A pool's keeper at a market, and what the test says the chain has consumed."""

    grid: Grid
    market: MarketClient
    offer: Offer = OFFER
    wanted: bool = True
    used_up: bool = False

    def keeper(self) -> OfferKeeper:
        async def consumed(_hash: str) -> int:
            return self.offer.volume if self.used_up else await self.grid.chain.view_consumed(_hash)

        return OfferKeeper(
            market=self.market,
            signer=self.grid.scheduler,
            identity=PoolIdentity(self.grid.chain.chain_id, self.grid.chain.hub, self.grid.workerpool),
            offer=self.offer,
            consumed=consumed,
            wanted=lambda: self.wanted,
            clock=SystemClock(),
        )

    async def listed(self) -> list[WorkerpoolOrder]:
        return [found.order for found in await self.market.workerpool_orders(workerpool=self.grid.workerpool)]


@contextlib.asynccontextmanager
async def stand(folder: Path) -> AsyncIterator[Stand]:
    grid = Grid(folder)
    engine = open_engine(folder / "market.db")
    async with open_market(engine, grid.chain) as application:
        transport = httpx.ASGITransport(application)
        async with MarketClient(
            "http://market", grid.chain.chain_id, hub=grid.chain.hub, transport=transport
        ) as market:
            yield Stand(grid, market)
    engine.dispose()


async def test_the_offer_is_published_once_also_over_a_restart(tmp_path: Path) -> None:
    async with stand(tmp_path) as pool:
        await pool.keeper().look()
        (order,) = await pool.listed()
        assert (order.workerpoolprice, order.volume, order.trust, order.category) == (PRICE, 2, 1_000, 0)
        await pool.keeper().look()
        assert await pool.listed() == [order]


async def test_one_that_is_used_up_is_followed_by_the_next(tmp_path: Path) -> None:
    async with stand(tmp_path) as pool:
        await pool.keeper().look()
        (first,) = await pool.listed()
        pool.used_up = True
        await pool.keeper().look()
        orders = await pool.listed()
        assert len(orders) == 2 and {order.salt for order in orders} > {first.salt}


async def test_another_price_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    async with stand(tmp_path) as pool:
        await pool.keeper().look()
        pool.offer = dataclasses.replace(OFFER, price_nrlc=PRICE * 2)
        await pool.keeper().look()
        assert [order.workerpoolprice for order in await pool.listed()] == [PRICE * 2]


async def test_a_drained_pool_offers_nothing_and_one_that_is_undrained_offers_again(tmp_path: Path) -> None:
    async with stand(tmp_path) as pool:
        await pool.keeper().look()
        pool.wanted = False
        await pool.keeper().look()
        assert await pool.listed() == []
        await pool.keeper().look()
        pool.wanted = True
        await pool.keeper().look()
        assert len(await pool.listed()) == 1


async def test_an_offer_without_the_deposit_for_it_is_refused_and_the_keeper_goes_on(tmp_path: Path) -> None:
    async with stand(tmp_path) as pool:
        pool.offer = dataclasses.replace(OFFER, price_nrlc=10**13, volume=100)
        with pytest.raises(ServiceError):
            await pool.keeper().look()
        keeping = asyncio.create_task(pool.keeper().keep())
        await asyncio.sleep(0.2)
        assert not keeping.done() and await pool.listed() == []
        keeping.cancel()
