"""Publishing: every rule, its text, and what stays when it is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fairgrid.chain import calls
from fairgrid.errors import ServiceRefused, ServiceUnavailable
from fairgrid.market.client import MarketClient
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import NULL_DATASET_ORDER, Order
from fairgrid.protocol.typed_data import Domain, order_typed_data
from fairgrid.wallet.keys import KeySigner
from tests.market.grid import TEE, Grid, HandClock


async def refused(market: MarketClient, order: Order, signer: KeySigner) -> tuple[int, str]:
    with pytest.raises(ServiceRefused) as refusal:
        await market.publish(order, signer)
    return refusal.value.status, refusal.value.message


async def test_each_kind_of_order_is_published_and_found_again(grid: Grid, market: MarketClient) -> None:
    app, dataset, pool = grid.app_order(), grid.dataset_order(), grid.workerpool_order()
    request = grid.request_order(dataset=grid.dataset, datasetmaxprice=3)
    assert await market.publish(app, grid.app_owner) == grid.hash(app)
    await market.publish(dataset, grid.dataset_owner)
    await market.publish(pool, grid.scheduler)
    await market.publish(request, grid.requester)
    assert [entry.order for entry in await market.app_orders()] == [app]
    assert [entry.order for entry in await market.dataset_orders()] == [dataset]
    assert [entry.order for entry in await market.workerpool_orders()] == [pool]
    (entry,) = await market.request_orders()
    assert (entry.order, entry.order_hash, entry.remaining, entry.status) == (request, grid.hash(request), 4, "open")
    assert entry.signer == grid.requester.address
    assert entry.published.timestamp() == 1_700_000_000


async def test_the_same_order_twice_is_refused(grid: Grid, market: MarketClient) -> None:
    order = grid.app_order()
    await market.publish(order, grid.app_owner)
    assert await refused(market, order, grid.app_owner) == (403, "order already published")


async def test_the_same_order_published_twice_at_once_is_in_the_book_once(grid: Grid, market: MarketClient) -> None:
    order = grid.app_order()
    answers = await asyncio.gather(*(market.publish(order, grid.app_owner) for _ in range(3)), return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, str)] == [grid.hash(order)]
    assert len(await market.app_orders()) == 1


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
async def test_an_asset_that_is_not_registered_is_refused(grid: Grid, market: MarketClient, kind: str) -> None:
    order: Order = getattr(grid, f"{kind}_order")(**{kind: grid.stranger.address})
    assert await refused(market, order, grid.app_owner) == (403, "Resource not deployed")


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
async def test_only_the_owner_publishes(grid: Grid, market: MarketClient, kind: str) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    order: Order = getattr(grid, f"{kind}_order")()
    owner = {"app": grid.app_owner, "dataset": grid.dataset_owner, "workerpool": grid.scheduler}.get(
        kind, grid.requester
    )
    assert await refused(market, order, grid.stranger) == (
        403,
        f"only order signer {owner.address} can publish an order",
    )
    assert await market.publish(order, owner) == grid.hash(order)


@pytest.mark.parametrize("sign", ["0x", "0x1234", "0x" + "00" * 65])
async def test_an_order_without_a_valid_signature_is_refused(grid: Grid, market: MarketClient, sign: str) -> None:
    assert await refused(market, grid.app_order().signed(sign), grid.app_owner) == (403, "invalid sign")


async def test_an_order_that_was_changed_after_signing_is_refused(grid: Grid, market: MarketClient) -> None:
    changed = replace(grid.app_order(price=5), appprice=6)
    assert await refused(market, changed, grid.app_owner) == (403, "invalid sign")


async def test_a_signature_by_somebody_else_is_refused(grid: Grid, market: MarketClient) -> None:
    order = grid.signed(replace(grid.app_order(), sign="0x"), grid.stranger)
    assert await refused(market, order, grid.app_owner) == (403, "invalid sign")


async def test_an_order_signed_for_another_chain_is_refused(grid: Grid, market: MarketClient) -> None:
    order = grid.app_order()
    document = order_typed_data(order, Domain(1, grid.chain.hub))
    elsewhere = order.signed(grid.app_owner.sign_typed_data(document))
    assert await refused(market, elsewhere, grid.app_owner) == (403, "invalid sign")


async def test_an_order_presigned_on_chain_needs_no_signature(grid: Grid, market: MarketClient) -> None:
    order = grid.app_order().signed("0x")
    await grid.chain.transact(calls.manage_order(grid.chain.hub, order, calls.SIGN), grid.app_owner)
    assert await market.publish(order, grid.app_owner) == grid.hash(order)


async def test_a_wallet_has_so_many_open_orders_of_a_kind_and_no_more(grid: Grid, market: MarketClient) -> None:
    orders = [grid.app_order() for _ in range(13)]
    for order in orders[:12]:
        await market.publish(order, grid.app_owner)
    assert await refused(market, orders[12], grid.app_owner) == (
        403,
        f"maximum of 12 published open apporder has been reached for wallet {grid.app_owner.address}",
    )
    await market.publish(grid.dataset_order(), grid.dataset_owner)
    await market.unpublish("app", grid.hash(orders[0]), grid.app_owner)
    await market.publish(orders[12], grid.app_owner)


async def test_a_closed_order_is_refused_as_consumed(grid: Grid, market: MarketClient) -> None:
    order = grid.app_order()
    await grid.chain.transact(calls.manage_order(grid.chain.hub, order, calls.CLOSE), grid.app_owner)
    assert await refused(market, order, grid.app_owner) == (403, "order already consumed")


async def test_an_order_of_nothing_is_refused_as_consumed(grid: Grid, market: MarketClient) -> None:
    assert await refused(market, grid.app_order(volume=0), grid.app_owner) == (403, "order already consumed")


async def test_what_is_left_of_a_partly_used_order_is_published(grid: Grid, market: MarketClient) -> None:
    app, pool, request = grid.app_order(), grid.workerpool_order(), grid.request_order()
    await grid.match(app, NULL_DATASET_ORDER, pool, request)
    await market.publish(app, grid.app_owner)
    assert [entry.remaining for entry in await market.app_orders()] == [6]
    assert await refused(market, request, grid.requester) == (403, "order already consumed")


async def test_a_pool_whose_stake_does_not_cover_its_order_is_refused_and_one_nrlc_decides(
    grid: Grid, market: MarketClient
) -> None:
    # 30 % of 33,334 is 10,000.2: the lock is 10,000 a task, floored before it is multiplied.
    covered = grid.workerpool_order(price=33_334, volume=100)
    short = grid.workerpool_order(price=33_337, volume=100)
    assert await refused(market, short, grid.scheduler) == (
        403,
        "workerpool owner's stake is too low to cover required workerpool lock",
    )
    await market.publish(covered, grid.scheduler)


async def test_a_requester_whose_stake_does_not_cover_the_request_is_refused(grid: Grid, market: MarketClient) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    assert await refused(market, grid.request_order(price=249_996), grid.requester) == (
        403,
        "requester stake is too low to cover requestorder payment, minimum stake required is 1000004 nRLC",
    )
    await market.publish(grid.request_order(price=249_995), grid.requester)


async def test_a_request_needs_an_app_order_that_fits(grid: Grid, market: MarketClient) -> None:
    request = grid.request_order(appmaxprice=4)
    assert await refused(market, request, grid.requester) == (403, f"No apporder published for app {grid.app}")
    await market.publish(grid.app_order(price=4, requesterrestrict=grid.stranger.address), grid.app_owner)
    await market.publish(grid.app_order(price=4, workerpoolrestrict=grid.workerpool), grid.app_owner)
    assert await refused(market, request, grid.requester) == (403, f"No apporder published for app {grid.app}")
    await market.publish(grid.app_order(price=5), grid.app_owner)
    assert await refused(market, request, grid.requester) == (
        403,
        f"appmaxprice for app {grid.app} is too low, actual best price is 5 nRLC",
    )
    await market.publish(grid.app_order(price=4, requesterrestrict=grid.requester.address), grid.app_owner)
    await market.publish(request, grid.requester)


async def test_a_request_for_a_trusted_environment_needs_an_app_order_with_one(
    grid: Grid, market: MarketClient
) -> None:
    request = grid.request_order(tag=TEE)
    await market.publish(grid.app_order(), grid.app_owner)
    assert await refused(market, request, grid.requester) == (
        403,
        f"No tee enabled apporder published for app {grid.app}",
    )
    await market.publish(grid.app_order(tag=TEE), grid.app_owner)
    await market.publish(request, grid.requester)


async def test_a_request_with_a_dataset_needs_a_dataset_order_that_fits(grid: Grid, market: MarketClient) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    request = grid.request_order(dataset=grid.dataset, datasetmaxprice=2)
    assert await refused(market, request, grid.requester) == (
        403,
        f"No datasetorder published for dataset {grid.dataset}",
    )
    await market.publish(grid.dataset_order(price=3), grid.dataset_owner)
    assert await refused(market, request, grid.requester) == (
        403,
        f"datasetmaxprice for dataset {grid.dataset} is too low, actual best price is 3 nRLC",
    )
    await market.publish(grid.dataset_order(price=2, apprestrict=grid.app), grid.dataset_owner)
    await market.publish(request, grid.requester)


async def test_while_the_chain_is_down_nothing_is_published_and_the_answer_says_try_later(
    grid: Grid, market: MarketClient
) -> None:
    order = grid.app_order()
    grid.chain.down = True
    with pytest.raises(ServiceUnavailable, match="Something went wrong, you should retry later"):
        await market.publish(order, grid.app_owner)
    assert await market.app_orders() == []
    grid.chain.down = False
    await market.publish(order, grid.app_owner)


async def test_a_dead_order_is_open_again_after_publishing_it_anew_and_keeps_its_first_time(
    grid: Grid, market: MarketClient, clock: HandClock
) -> None:
    order = grid.workerpool_order(price=1000, volume=100)
    await market.publish(order, grid.scheduler)
    await grid.chain.transact(calls.withdraw(grid.chain.hub, 990_000), grid.scheduler)
    await grid.seen(market, order, "dead")
    assert await market.workerpool_orders() == []
    await grid.deposit(grid.scheduler, 900_000)
    clock.time_s += 500
    await market.publish(order, grid.scheduler)
    (entry,) = await market.workerpool_orders()
    assert entry.published.timestamp() == 1_700_000_000


async def test_no_callback_or_beneficiary_is_needed(grid: Grid, market: MarketClient) -> None:
    await market.publish(grid.app_order(), grid.app_owner)
    await market.publish(grid.request_order(beneficiary=ZERO_ADDRESS, params=""), grid.requester)
