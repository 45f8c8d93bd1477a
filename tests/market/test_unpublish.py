"""Withdrawing orders."""

from __future__ import annotations

import pytest

from fairgrid.errors import ServiceRefused, UsageError
from fairgrid.market.client import MarketClient
from fairgrid.wallet.keys import KeySigner
from tests.market.grid import Grid, HandClock


async def refused(market: MarketClient, kind: str, order_hash: str, signer: KeySigner) -> tuple[int, str]:
    with pytest.raises(ServiceRefused) as refusal:
        await market.unpublish(kind, order_hash, signer)
    return refusal.value.status, refusal.value.message


async def test_an_order_that_is_withdrawn_is_gone_and_can_be_published_again(grid: Grid, market: MarketClient) -> None:
    order = grid.app_order()
    order_hash = await market.publish(order, grid.app_owner)
    assert await market.unpublish("app", order_hash, grid.app_owner) == order_hash
    assert await market.app_orders() == []
    assert await market.order("app", order_hash) is None
    await market.publish(order, grid.app_owner)


async def test_an_order_that_is_not_there_cannot_be_withdrawn(grid: Grid, market: MarketClient) -> None:
    absent = "0x" + "ab" * 32
    expected = (403, f"apporder with orderHash {absent} is not published")
    assert await refused(market, "app", absent, grid.app_owner) == expected


async def test_an_order_is_not_withdrawn_as_one_of_another_kind(grid: Grid, market: MarketClient) -> None:
    order_hash = await market.publish(grid.app_order(), grid.app_owner)
    expected = (403, f"datasetorder with orderHash {order_hash} is not published")
    assert await refused(market, "dataset", order_hash, grid.app_owner) == expected


async def test_somebody_elses_order_cannot_be_withdrawn(grid: Grid, market: MarketClient) -> None:
    order_hash = await market.publish(grid.app_order(), grid.app_owner)
    expected = (403, f"only order signer {grid.app_owner.address} can unpublish an order")
    assert await refused(market, "app", order_hash, grid.stranger) == expected
    assert len(await market.app_orders()) == 1


async def test_last_withdraws_the_newest_and_all_withdraws_the_rest(
    grid: Grid, market: MarketClient, clock: HandClock
) -> None:
    hashes = []
    for _ in range(3):
        hashes.append(await market.publish(grid.workerpool_order(), grid.scheduler))
        clock.time_s += 1
    assert await market.unpublish_last("workerpool", grid.workerpool, grid.scheduler) == hashes[2]
    assert await market.unpublish_all("workerpool", grid.workerpool, grid.scheduler) == (hashes[1], hashes[0])
    with pytest.raises(ServiceRefused) as refusal:
        await market.unpublish_last("workerpool", grid.workerpool, grid.scheduler)
    assert refusal.value.message == (
        f"no open workerpoolorder published by signer {grid.scheduler.address} for workerpool {grid.workerpool}"
    )


async def test_all_orders_of_a_stranger_for_somebody_elses_app_are_none(grid: Grid, market: MarketClient) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    with pytest.raises(ServiceRefused, match="no open apporder published by signer"):
        await market.unpublish_all("app", grid.app, grid.stranger)
    assert len(await market.app_orders()) == 1


async def test_a_requester_withdraws_its_requests_by_its_own_address(grid: Grid, market: MarketClient) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    order_hash = await market.publish(grid.request_order(), grid.requester)
    assert await market.unpublish_all("request", grid.requester.address, grid.requester) == (order_hash,)


async def test_a_request_dies_with_the_last_app_order_that_fits_it(grid: Grid, market: MarketClient) -> None:
    cheap = await market.publish(grid.app_order(price=1), grid.app_owner)
    other = await market.publish(grid.app_order(price=2), grid.app_owner)
    request = await market.publish(grid.request_order(), grid.requester)
    await market.unpublish("app", cheap, grid.app_owner)
    assert len(await market.request_orders()) == 1
    await market.unpublish("app", other, grid.app_owner)
    assert await market.request_orders() == []
    entry = await market.order("request", request)
    assert entry is not None
    assert entry.status == "dead"


async def test_a_request_dies_with_its_dataset_order_and_one_without_a_dataset_lives_on(
    grid: Grid, market: MarketClient
) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    dataset = await market.publish(grid.dataset_order(), grid.dataset_owner)
    plain = await market.publish(grid.request_order(), grid.requester)
    await market.publish(grid.request_order(dataset=grid.dataset, datasetmaxprice=3), grid.requester)
    await market.unpublish("dataset", dataset, grid.dataset_owner)
    assert [entry.order_hash for entry in await market.request_orders()] == [plain]


async def test_a_kind_that_does_not_exist_is_said_at_once(grid: Grid, market: MarketClient) -> None:
    with pytest.raises(UsageError, match="'apps' is no kind of orders"):
        await market.unpublish("apps", "0x" + "ab" * 32, grid.app_owner)
