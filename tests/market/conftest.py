"""A market over the model chain, in this process, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from fairgrid.market.app import open_market
from fairgrid.market.client import MarketClient
from fairgrid.seams.database import open_engine
from tests.market.grid import Grid, HandClock


@pytest.fixture
async def grid() -> Grid:
    return await Grid.made()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def application(grid: Grid, clock: HandClock, tmp_path: Path) -> AsyncIterator[Starlette]:
    engine = open_engine(tmp_path / "market.db")
    async with open_market(engine, grid.chain, max_open=12, clock=clock, poll_s=0.01) as opened:
        yield opened
    engine.dispose()


@pytest.fixture
async def http(application: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://market") as client:
        yield client


@pytest.fixture
async def market(application: Starlette, grid: Grid, clock: HandClock) -> AsyncIterator[MarketClient]:
    transport = httpx.ASGITransport(application)
    async with MarketClient(
        "http://market", grid.chain.chain_id, hub=grid.chain.hub, transport=transport, clock=clock
    ) as client:
        yield client
