"""`client.orders`: what is signed is what was said, and the chain and the market have the last word."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from fairgrid.client.blocking import BlockingClient
from fairgrid.client.client import Client
from fairgrid.client.facets import blocking
from fairgrid.client.facets.orders import Orders
from fairgrid.client.journal import Journal
from fairgrid.client.waiting import Waiting
from fairgrid.errors import FairgridError, OrderError, UsageError
from fairgrid.market.app import open_market
from fairgrid.market.client import MarketClient
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import DatasetOrder
from fairgrid.seams.database import open_engine
from fairgrid.wallet.keys import KeySigner
from tests.market.grid import Grid, HandClock

OTHER = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"


@pytest.fixture
async def grid() -> Grid:
    return await Grid.made()


@asynccontextmanager
async def market_of(grid: Grid, folder: Path) -> AsyncIterator[MarketClient]:
    """A market over the grid's chain, in this process."""
    engine = open_engine(folder / "market.db")
    async with (
        open_market(engine, grid.chain, clock=HandClock(), poll_s=0.01) as application,
        MarketClient(
            "http://market",
            grid.chain.chain_id,
            hub=grid.chain.hub,
            transport=httpx.ASGITransport(application),
            clock=HandClock(),
        ) as market,
    ):
        yield market
    engine.dispose()


@pytest.fixture
async def desk(grid: Grid, tmp_path: Path) -> AsyncIterator[Callable[[KeySigner], Orders]]:
    """The orders of whoever is named."""
    async with market_of(grid, tmp_path) as market:
        yield lambda signer: Orders(grid.chain, market, signer)


Desk = Callable[[KeySigner], Orders]


async def test_an_order_of_each_kind_is_signed_with_its_terms_and_stands(grid: Grid, desk: Desk) -> None:
    app = await desk(grid.app_owner).app(grid.app, price="0.1 RLC", volume=7, for_requester=OTHER)
    assert (app.app, app.appprice, app.volume, app.requesterrestrict) == (grid.app, 10**8, 7, OTHER)
    dataset = await desk(grid.dataset_owner).dataset(grid.dataset, price=20, for_app=grid.app)
    assert (dataset.datasetprice, dataset.volume, dataset.apprestrict) == (20, 1, grid.app)
    pool = await desk(grid.scheduler).workerpool(grid.workerpool, price=7, trust="0.9", tag="batch", category=1)
    assert (pool.workerpoolprice, pool.trust, int(pool.tag, 16), pool.category) == (7, 10, 1 << 16, 1)
    request = await desk(grid.requester).request(
        grid.app, price=7, app_price=5, dataset=grid.dataset, dataset_price=3, volume=4, for_workerpool=grid.workerpool
    )
    assert (request.workerpoolmaxprice, request.appmaxprice, request.datasetmaxprice) == (7, 5, 3)
    own = grid.requester.address
    assert (request.requester, request.beneficiary, request.callback) == (own, own, ZERO_ADDRESS)
    assert (request.workerpool, request.trust) == (grid.workerpool, 1)
    orders = desk(grid.requester)
    for order in (app, dataset, pool, request):
        standing = await orders.standing(order)
        assert standing.signed and standing.problems == ()
    assert (await desk(grid.app_owner).app(grid.app)).salt != (await desk(grid.app_owner).app(grid.app)).salt


async def test_what_may_not_be_signed_is_refused(grid: Grid, desk: Desk) -> None:
    with pytest.raises(UsageError, match=f"belongs to {grid.app_owner.address}, not to {grid.stranger.address}"):
        await desk(grid.stranger).app(grid.app)
    with pytest.raises(UsageError, match="is no registered dataset"):
        await desk(grid.stranger).dataset(OTHER)
    owner = desk(grid.app_owner)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"volume": 0}, "for 1 task or more, not for 0"),
        ({"price": "1.5"}, "The price"),
        ({"price": -1}, "is not an unsigned"),
        ({"tag": "sgx"}, "no word of a tag"),
        ({"for_requester": "me"}, "requesterrestrict"),
    ]
    for terms, reason in wrong:
        with pytest.raises(FairgridError, match=reason):
            await owner.app(grid.app, **terms)
    with pytest.raises(UsageError, match="as text or Decimal, not as the float"):
        await desk(grid.requester).request(grid.app, trust=cast(Any, 0.99))


async def test_what_is_published_is_found_listed_and_in_the_book(grid: Grid, desk: Desk) -> None:
    pool = desk(grid.scheduler)
    dear = await pool.workerpool(grid.workerpool, price=9, trust=10, volume=3)
    cheap = await pool.workerpool(grid.workerpool, price=4, volume=3)
    limited = await pool.workerpool(grid.workerpool, price=2, volume=3, for_requester=OTHER)
    hashes = [await pool.publish(order) for order in (dear, cheap, limited)]
    assert hashes == [grid.hash(order) for order in (dear, cheap, limited)]
    found = await pool.find(hashes[0])
    assert (found.order, found.remaining, found.status) == (dear, 3, "open")
    assert {entry.order_hash for entry in await pool.mine()} == set(hashes)
    assert await pool.mine("app") == []
    stranger = desk(grid.stranger)
    assert await stranger.mine() == []
    assert len(await stranger.of(grid.scheduler.address, "workerpool")) == 3
    assert [entry.order for entry in await stranger.book()] == [cheap, dear]
    assert [entry.order for entry in await stranger.book(restricted=True, limit=1)] == [limited]
    assert [entry.order for entry in await stranger.book(trust="0.9")] == [dear]
    assert [entry.order for entry in await stranger.book(max_price="4 nRLC")] == [cheap]
    assert await stranger.book(tag="tee") == await stranger.book(category=3) == await stranger.book("app") == []
    for call in (stranger.book("apps"), stranger.mine("worker")):
        with pytest.raises(UsageError, match="is no kind of orders"):
            await call
    with pytest.raises(UsageError, match="The market has no order 0x00"):
        await stranger.find("0x" + "00" * 32)


async def test_an_order_that_makes_no_deal_is_not_published(grid: Grid, desk: Desk) -> None:
    unsigned = DatasetOrder(grid.dataset, 1, 1)
    with pytest.raises(OrderError, match=r"not signed by .* It was not published"):
        await desk(grid.dataset_owner).publish(unsigned)
    poor = await desk(grid.stranger).request(grid.app, price=1)
    with pytest.raises(OrderError, match="free in escrow"):
        await desk(grid.stranger).publish(poor)
    assert await desk(grid.dataset_owner).mine() == []


async def test_a_cancelled_order_is_dead_on_chain_and_off_the_market(grid: Grid, desk: Desk) -> None:
    owner = desk(grid.app_owner)
    order = await owner.app(grid.app, volume=7)
    await owner.publish(order)
    with pytest.raises(UsageError, match="belongs to"):
        await desk(grid.stranger).cancel(order)
    hidden = await owner.cancel(order, market_only=True)
    assert (hidden.order_hash, hidden.left, hidden.tx_hash, hidden.off_market) == (grid.hash(order), 7, "", True)
    assert await owner.mine() == [] and (await owner.standing(order)).problems == ()
    gone = await owner.cancel(order)
    assert gone.tx_hash.startswith("0x") and gone.left == 7 and not gone.off_market
    assert (await owner.standing(order)).problems == ("Its volume is used up, or it was cancelled on chain.",)
    with pytest.raises(UsageError, match="used up, or cancelled already"):
        await owner.cancel(order)


def test_a_facet_without_an_event_loop_has_every_method_of_its_core() -> None:
    for twin in vars(blocking).values():
        if not (inspect.isclass(twin) and issubclass(twin, Waiting) and twin is not Waiting):
            continue
        (core,) = twin.__orig_bases__[0].__args__  # type: ignore[attr-defined]
        methods = [name for name, _ in inspect.getmembers(core, inspect.isfunction) if not name.startswith("_")]
        assert methods
        for name in methods:
            method = getattr(twin, name)
            assert not inspect.iscoroutinefunction(method) and method.__doc__, name
            assert method.__annotations__ == getattr(core, name).__annotations__, name


async def test_orders_without_an_event_loop_come_from_the_same_core(grid: Grid, tmp_path: Path) -> None:
    @asynccontextmanager
    async def connecting() -> AsyncIterator[Client]:
        nobody = cast(Any, None)
        async with market_of(grid, tmp_path) as market:
            yield Client(
                nobody,
                grid.app_owner,
                chain=grid.chain,
                market=market,
                storage=nobody,
                pool=nobody,
                journal=Journal(tmp_path),
            )

    with BlockingClient(connecting()) as client:
        order = client.orders.app(grid.app, price="5 nRLC")
        assert client.orders.publish(order) == grid.hash(order)
        assert [entry.order for entry in client.orders.mine()] == [order]
        assert client.orders.core is client.core.orders
        assert client.orders.cancel(order).left == 1
