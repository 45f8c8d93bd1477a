"""The book follows the chain: matched, closed, sold, unfunded, reorganised."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from fairgrid.chain import calls
from fairgrid.errors import UsageError
from fairgrid.market.app import open_market
from fairgrid.market.client import MarketClient
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, RequestOrder, WorkerpoolOrder
from fairgrid.seams.database import open_engine
from tests.market.grid import Grid, HandClock


async def published_trio(grid: Grid, market: MarketClient) -> tuple[AppOrder, WorkerpoolOrder, RequestOrder]:
    app, pool, request = grid.app_order(), grid.workerpool_order(), grid.request_order()
    await market.publish(app, grid.app_owner)
    await market.publish(pool, grid.scheduler)
    await market.publish(request, grid.requester)
    return app, pool, request


async def test_a_match_fills_the_request_and_lowers_what_is_left_of_the_others(
    grid: Grid, market: MarketClient
) -> None:
    app, pool, request = await published_trio(grid, market)
    await grid.match(app, NULL_DATASET_ORDER, pool, request)
    await grid.seen(market, request, "filled", remaining=0)
    await grid.seen(market, app, "open", remaining=6)
    await grid.seen(market, pool, "open", remaining=6)
    assert await market.request_orders() == []


async def test_an_order_closed_on_chain_is_canceled(grid: Grid, market: MarketClient) -> None:
    app, pool, request = await published_trio(grid, market)
    for order, signer in ((app, grid.app_owner), (pool, grid.scheduler), (request, grid.requester)):
        await grid.chain.transact(calls.manage_order(grid.chain.hub, order, calls.CLOSE), signer)
        await grid.seen(market, order, "canceled", remaining=0)
    assert await market.app_orders() == []


async def test_an_order_whose_signer_withdraws_its_stake_is_dead_and_others_stay(
    grid: Grid, market: MarketClient
) -> None:
    app, pool, request = await published_trio(grid, market)
    await grid.chain.transact(calls.withdraw(grid.chain.hub, 1_000_000 - 20), grid.scheduler)
    await grid.seen(market, pool, "open")  # floor(7 * 30 %) * 10 = 20 is just covered
    await grid.chain.transact(calls.withdraw(grid.chain.hub, 1), grid.scheduler)
    await grid.seen(market, pool, "dead")
    await grid.chain.transact(calls.withdraw(grid.chain.hub, 1_000_000 - 47), grid.requester)
    await grid.seen(market, request, "dead")
    await grid.seen(market, app, "open")


async def test_an_order_for_an_app_that_was_sold_is_dead_after_the_next_look_at_all(
    grid: Grid, market: MarketClient
) -> None:
    order = grid.app_order()
    await market.publish(order, grid.app_owner)
    grid.chain.model.registries.apps.transfer(grid.app_owner.address, grid.app, grid.stranger.address)
    await grid.seen(market, order, "dead")


async def test_a_match_that_is_undone_opens_the_orders_again(grid: Grid, market: MarketClient) -> None:
    app, pool, request = await published_trio(grid, market)
    await grid.match(app, NULL_DATASET_ORDER, pool, request)
    await grid.seen(market, request, "filled")
    grid.chain.reorganise(1, drop=True)
    await grid.seen(market, request, "open", remaining=4)
    await grid.seen(market, app, "open", remaining=10)


async def test_a_chain_that_was_away_is_caught_up_with(grid: Grid, market: MarketClient) -> None:
    app, pool, request = await published_trio(grid, market)
    await grid.match(app, NULL_DATASET_ORDER, pool, request)
    grid.chain.down = True
    assert len(await market.app_orders()) == 1  # the book is still read
    grid.chain.down = False
    await grid.seen(market, request, "filled")


async def test_a_restarted_market_has_its_book_and_learns_what_happened_meanwhile(
    grid: Grid, tmp_path: Path, clock: HandClock
) -> None:
    engine = open_engine(tmp_path / "market.db")
    app, pool, request = grid.app_order(), grid.workerpool_order(), grid.request_order()
    for round_number in range(2):
        async with (
            open_market(engine, grid.chain, clock=clock, poll_s=0.01) as application,
            httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://market") as http,
            MarketClient("http://market", 31337, transport=httpx.ASGITransport(application)) as market,
        ):
            if round_number == 0:
                await market.publish(app, grid.app_owner)
                await market.publish(request, grid.requester)
            else:
                await grid.seen(market, request, "filled")
                await grid.seen(market, app, "open", remaining=6)
                metrics = (await http.get("/metrics", params={"chainId": "31337"})).json()
                assert (metrics["apporders"], metrics["requestorders"]) == (1, 0)
                assert metrics["lastBlock"] == (await grid.chain.head()).number
        if round_number == 0:
            await grid.match(app, NULL_DATASET_ORDER, pool, request)
    engine.dispose()


async def test_a_book_of_another_network_is_refused(grid: Grid, tmp_path: Path, clock: HandClock) -> None:
    from fairgrid.chain.twin import ModelChain

    engine = open_engine(tmp_path / "market.db")
    async with (
        open_market(engine, grid.chain, clock=clock) as application,
        MarketClient("http://market", 31337, transport=httpx.ASGITransport(application)) as market,
    ):
        await market.publish(grid.app_order(), grid.app_owner)
    other = ModelChain.fresh(owner=grid.stranger.address, chain_id=5)
    with pytest.raises(UsageError, match="another network"):
        async with open_market(engine, other, clock=clock):
            pass
    engine.dispose()
