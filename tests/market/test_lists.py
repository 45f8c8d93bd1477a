"""Lists of orders: sorting, filters, pages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fairgrid.market.client import MarketClient
from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.market.grid import TEE, Grid, HandClock


def bit(*positions: int) -> str:
    return f"0x{sum(1 << position for position in positions):064x}"


async def app_prices(market: MarketClient, **filters: Any) -> list[int]:
    return [entry.order.appprice for entry in await market.app_orders(**filters)]


async def test_orders_come_cheapest_first_and_at_one_price_oldest_first(
    grid: Grid, market: MarketClient, clock: HandClock
) -> None:
    hashes = []
    for price in (7, 3, 7, 3):
        hashes.append(await market.publish(grid.app_order(price=price), grid.app_owner))
        clock.time_s += 1
    assert [entry.order_hash for entry in await market.app_orders()] == [hashes[1], hashes[3], hashes[0], hashes[2]]


async def test_requests_come_best_paid_first(grid: Grid, market: MarketClient) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    for price in (5, 9, 7):
        await market.publish(grid.request_order(price=price), grid.requester)
    assert [entry.order.workerpoolmaxprice for entry in await market.request_orders()] == [9, 7, 5]


async def test_prices_sort_as_numbers_up_to_the_largest(grid: Grid, market: MarketClient) -> None:
    for price in (2**53 - 1, 10, 9, 0, 2**40):
        await market.publish(grid.app_order(price=price), grid.app_owner)
    assert await app_prices(market) == [0, 9, 10, 2**40, 2**53 - 1]


async def test_orders_for_some_only_are_hidden_from_all_and_shown_to_them(grid: Grid, market: MarketClient) -> None:
    some, other = grid.requester.address, grid.stranger.address
    await market.publish(grid.app_order(price=1), grid.app_owner)
    await market.publish(grid.app_order(price=2, requesterrestrict=some), grid.app_owner)
    await market.publish(grid.app_order(price=3, workerpoolrestrict=grid.workerpool), grid.app_owner)
    assert await app_prices(market) == [1]
    assert await app_prices(market, requester=some) == [1, 2]
    assert await app_prices(market, requester=some, is_requester_strict=True) == [2]
    assert await app_prices(market, requester=other) == [1]
    assert await app_prices(market, requester=other, is_requester_strict=True) == []
    assert await app_prices(market, requester="any") == [1, 2]
    assert await app_prices(market, requester="any", workerpool="any") == [1, 2, 3]
    assert await app_prices(market, workerpool=grid.workerpool) == [1, 3]


@pytest.mark.parametrize(
    ("filters", "prices"),
    [
        ({}, [1, 2, 3, 4]),
        ({"min_tag": bit(0)}, [2, 4]),
        ({"min_tag": bit(0, 255)}, [4]),
        ({"min_tag": bit(33)}, [3]),
        ({"min_tag": bit(34)}, []),
        ({"max_tag": bit()}, [1]),
        ({"max_tag": bit(0, 1)}, [1, 2]),
        ({"max_tag": bit(0, 1, 33)}, [1, 2, 3]),
        ({"max_tag": bit(*range(256))}, [1, 2, 3, 4]),
        ({"min_tag": bit(0), "max_tag": bit(0, 1)}, [2]),
    ],
)
async def test_tags_are_filtered_bit_by_bit(
    grid: Grid, market: MarketClient, filters: dict[str, str], prices: list[int]
) -> None:
    for price, tag in ((1, bit()), (2, TEE), (3, bit(33)), (4, bit(0, 255))):
        await market.publish(grid.app_order(price=price, tag=tag), grid.app_owner)
    assert await app_prices(market, **filters) == prices


async def test_an_owners_orders_are_found_by_the_owner(grid: Grid, market: MarketClient) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    assert len(await market.app_orders(None, app_owner=grid.app_owner.address)) == 1
    assert await market.app_orders(None, app_owner=grid.stranger.address) == []
    assert len(await market.app_orders(grid.app)) == 1
    assert await market.app_orders(grid.stranger.address) == []


async def test_small_orders_are_left_out_by_volume(grid: Grid, market: MarketClient) -> None:
    await market.publish(grid.app_order(price=1, volume=5), grid.app_owner)
    await market.publish(grid.app_order(price=2, volume=6), grid.app_owner)
    assert await app_prices(market, min_volume=6) == [2]


async def test_workerpool_orders_are_found_by_category_and_trust(grid: Grid, market: MarketClient) -> None:
    for category, trust in ((0, 1), (0, 10), (1, 5)):
        await market.publish(grid.workerpool_order(category=category, trust=trust), grid.scheduler)

    async def trusts(**filters: Any) -> list[int]:
        return sorted(entry.order.trust for entry in await market.workerpool_orders(**filters))

    assert await trusts() == [1, 5, 10]
    assert await trusts(category=0) == [1, 10]
    assert await trusts(category=0, min_trust=2) == [10]
    assert await trusts(min_trust=1) == [1, 5, 10]
    assert await trusts(min_trust=0) == [1, 5, 10]
    assert await trusts(category=4) == []
    assert await trusts(workerpool=grid.workerpool, workerpool_owner=grid.scheduler.address) == [1, 5, 10]
    assert await trusts(workerpool=grid.stranger.address) == []


async def test_request_orders_are_found_by_what_they_ask_for(grid: Grid, market: MarketClient) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    await market.publish(grid.request_order(price=1, trust=0), grid.requester)
    await market.publish(grid.request_order(price=2, trust=9, category=2), grid.requester)
    await market.publish(
        grid.request_order(price=3, trust=9, workerpool=grid.workerpool, beneficiary=grid.stranger.address),
        grid.requester,
    )

    async def prices(**filters: Any) -> list[int]:
        return [entry.order.workerpoolmaxprice for entry in await market.request_orders(**filters)]

    assert await prices() == [2, 1]
    assert await prices(workerpool="any") == [3, 2, 1]
    assert await prices(workerpool=grid.workerpool, is_workerpool_strict=True) == [3]
    assert await prices(max_trust=0) == [1]
    assert await prices(max_trust=9, category=2) == [2]
    assert await prices(requester=grid.requester.address, app=grid.app, dataset=ZERO_ADDRESS) == [2, 1]
    assert await prices(requester=grid.stranger.address) == []
    assert await prices(workerpool="any", beneficiary=grid.stranger.address) == [3]


async def test_endless_free_dataset_orders_are_marked_and_found_as_bulk(
    grid: Grid, market: MarketClient, http: httpx.AsyncClient
) -> None:
    await market.publish(grid.dataset_order(price=0, volume=2**53 - 2), grid.dataset_owner)
    await market.publish(grid.dataset_order(price=0, volume=2**53 - 3), grid.dataset_owner)
    await market.publish(grid.dataset_order(price=1, volume=2**53 - 1), grid.dataset_owner)
    answer = (await http.get("/datasetorders", params={"chainId": "31337", "dataset": "any"})).json()
    assert sorted(entry["bulk"] for entry in answer["orders"]) == [False, False, True]
    bulk = await market.dataset_orders(bulk_only=True)
    assert [entry.order.volume for entry in bulk] == [2**53 - 2]


async def test_pages_have_a_next_one_while_they_are_full(
    grid: Grid, market: MarketClient, http: httpx.AsyncClient
) -> None:
    for price in range(12):
        await market.publish(grid.app_order(price=price), grid.app_owner)

    async def page(**query: str) -> tuple[list[int], int, int | None]:
        answer = (await http.get("/apporders", params={"chainId": "31337", "app": grid.app, **query})).json()
        return [entry["order"]["appprice"] for entry in answer["orders"]], answer["count"], answer.get("nextPage")

    assert await page() == (list(range(12)), 12, None)
    assert await page(pageSize="10") == (list(range(10)), 12, 10)
    assert await page(pageSize="10", pageIndex="1") == ([10, 11], 12, None)
    assert await page(pageSize="10", pageIndex="7") == ([], 12, None)
    assert await page(pageSize="12") == (list(range(12)), 12, 12)
    assert await page(page="5") == (list(range(5, 12)), 12, None)


async def test_the_client_reads_page_after_page_and_stops_at_its_limit(
    grid: Grid, market: MarketClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairgrid.market.client._PAGE_SIZE", 10)
    for price in range(12):
        await market.publish(grid.app_order(price=price), grid.app_owner)
    assert await app_prices(market) == list(range(12))
    assert await app_prices(market, limit=11) == list(range(11))
    assert await app_prices(market, limit=3) == [0, 1, 2]
