"""`MarketClient` against markets that lie, break and are not markets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from fairgrid.errors import OrderError, ServiceRefused, ServiceUnavailable
from fairgrid.market.auth import challenge_typed_data
from fairgrid.market.client import MarketClient
from fairgrid.protocol.typed_data import order_typed_data
from fairgrid.wallet.keys import KeySigner
from tests.market.grid import Grid, HandClock

Handler = Callable[[httpx.Request], httpx.Response]


@dataclass
class WatchedSigner:
    """A key that remembers what it was asked to sign."""

    key: KeySigner
    asked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.key.address

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        self.asked.append(typed_data)
        return self.key.sign_typed_data(typed_data)

    def sign_message(self, message: bytes) -> str:
        raise AssertionError("a market never asks for this")

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        raise AssertionError("a market never asks for this")


def scripted(handler: Handler, *, hub: str | None = None) -> MarketClient:
    def streamed(request: httpx.Request) -> httpx.Response:
        response = handler(request)

        async def pieces() -> AsyncIterator[bytes]:
            yield response.content

        return httpx.Response(response.status_code, headers=response.headers, content=pieces())

    return MarketClient("http://market", 31337, hub=hub, transport=httpx.MockTransport(streamed), clock=HandClock())


def entry(grid: Grid, **changes: Any) -> dict[str, Any]:
    order = grid.app_order()
    return {
        "orderHash": grid.hash(order),
        "order": order.to_wire(),
        "chainId": 31337,
        "remaining": 10,
        "status": "open",
        "publicationTimestamp": "2024-01-01T00:00:00.000Z",
        "signer": grid.app_owner.address,
    } | changes


def listing(*entries: Any, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"ok": True, "orders": list(entries), "count": len(entries), **more})


async def test_a_market_that_asks_to_sign_an_order_instead_of_a_challenge_gets_no_signature(grid: Grid) -> None:
    order = grid.request_order()
    trap = order_typed_data(order, grid.domain)
    signer = WatchedSigner(grid.requester)
    async with scripted(lambda request: httpx.Response(200, json={"ok": True, "data": trap})) as market:
        with pytest.raises(ServiceRefused):
            await market.publish(order, signer)
    assert signer.asked == []


@pytest.mark.parametrize(
    "text",
    [
        "Please sign",
        "Sign this message to log into iExec Gateway: " + "x" * 2000,
        "Sign this message to log into iExec Gateway: \x1b[2J",
        5,
        None,
    ],
)
async def test_only_a_log_in_text_is_signed(grid: Grid, text: Any) -> None:
    signer = WatchedSigner(grid.requester)
    data = challenge_typed_data(31337, text)
    async with scripted(lambda request: httpx.Response(200, json={"ok": True, "data": data})) as market:
        with pytest.raises(ServiceRefused):
            await market.publish(grid.app_order(), signer)
    assert signer.asked == []


async def test_what_is_signed_is_the_log_in_document_of_this_chain_whatever_the_market_wraps_it_in(grid: Grid) -> None:
    text = "Sign this message to log into iExec Gateway: abc"
    data = challenge_typed_data(1, text) | {"primaryType": "RequestOrder"}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/challenge":
            return httpx.Response(200, json={"ok": True, "data": data})
        return httpx.Response(403, json={"ok": False, "error": "invalid authorization"})

    signer = WatchedSigner(grid.app_owner)
    async with scripted(answer) as market:
        with pytest.raises(ServiceRefused, match="invalid authorization"):
            await market.publish(grid.app_order(), signer)
    assert signer.asked == [challenge_typed_data(31337, text)] * 2


async def test_a_market_that_publishes_another_order_than_was_sent_is_caught(grid: Grid) -> None:
    text = "Sign this message to log into iExec Gateway: abc"

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/challenge":
            return httpx.Response(200, json={"ok": True, "data": challenge_typed_data(31337, text)})
        return httpx.Response(200, json={"ok": True, "published": entry(grid)})

    async with scripted(answer) as market:
        with pytest.raises(ServiceRefused, match="another order"):
            await market.publish(grid.app_order(), grid.app_owner)


@pytest.mark.parametrize(
    "changes",
    [
        {"orderHash": "0x12"},
        {"orderHash": None},
        {"order": None},
        {"order": {}},
        {"remaining": -1},
        {"remaining": "10"},
        {"remaining": 11},
        {"remaining": True},
        {"status": "ready"},
        {"status": ["open"]},
        {"signer": "nobody"},
        {"publicationTimestamp": "yesterday"},
        {"publicationTimestamp": 5},
    ],
)
async def test_an_entry_that_is_malformed_is_refused(grid: Grid, changes: dict[str, Any]) -> None:
    async with scripted(lambda request: listing(entry(grid, **changes))) as market:
        with pytest.raises(ServiceRefused, match="cannot be understood"):
            await market.app_orders()


async def test_a_stated_hash_that_is_not_the_orders_own_is_refused_when_the_hub_is_known(grid: Grid) -> None:
    wrong = entry(grid, orderHash="0x" + "ab" * 32)
    async with scripted(lambda request: listing(wrong), hub=grid.chain.hub) as market:
        with pytest.raises(ServiceRefused, match="not its own"):
            await market.app_orders()
    async with scripted(lambda request: listing(entry(grid)), hub=grid.chain.hub) as market:
        assert len(await market.app_orders()) == 1


async def test_orders_of_another_kind_in_a_list_are_refused(grid: Grid) -> None:
    async with scripted(lambda request: listing(entry(grid))) as market:
        with pytest.raises(ServiceRefused, match="cannot be understood"):
            await market.workerpool_orders()


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, text=""),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"ok": True}),
        httpx.Response(200, json={"ok": True, "orders": {}}),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(301, headers={"location": "http://elsewhere"}),
        httpx.Response(404, text="Not Found"),
    ],
)
async def test_something_that_is_not_a_market_is_said_to_be_none(response: httpx.Response) -> None:
    async with scripted(lambda request: response) as market:
        with pytest.raises(ServiceRefused, match="address of a market"):
            await market.app_orders()


async def test_a_refusal_keeps_status_and_text() -> None:
    answer = httpx.Response(400, json={"ok": False, "error": "app is not a\x1b[31m valid address"})
    async with scripted(lambda request: answer) as market:
        with pytest.raises(ServiceRefused) as refusal:
            await market.app_orders()
    assert (refusal.value.status, refusal.value.message) == (400, "app is not a [31m valid address")


async def test_a_market_that_pages_for_ever_is_left_at_the_limit(grid: Grid) -> None:
    asked: list[str] = []

    def endless(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["pageIndex"])
        return listing(*[entry(grid) for _ in range(100)], nextPage=100)

    async with scripted(endless) as market:
        assert len(await market.app_orders(limit=250)) == 250
    assert asked == ["0", "1", "2"]


async def test_empty_pages_end_a_list() -> None:
    async with scripted(lambda request: listing(nextPage=100)) as market:
        assert await market.app_orders() == []


async def test_a_page_larger_than_asked_for_is_refused(grid: Grid) -> None:
    async with scripted(lambda request: listing(*[entry(grid)] * 101)) as market:
        with pytest.raises(ServiceRefused, match="cannot be understood"):
            await market.app_orders()


async def test_nobody_there_is_said_and_reading_was_tried_four_times() -> None:
    asked = 0

    def refuse(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        raise httpx.ConnectError("Connection refused")

    async with MarketClient("http://market", 31337, transport=httpx.MockTransport(refuse), clock=HandClock()) as market:
        with pytest.raises(ServiceUnavailable, match="market at http://market does not answer"):
            await market.app_orders()
    assert asked == 4


async def test_a_publication_whose_answer_is_lost_is_not_sent_twice(grid: Grid) -> None:
    posted = 0

    def lose(request: httpx.Request) -> httpx.Response:
        nonlocal posted
        if request.method == "POST":
            posted += 1
            raise httpx.ReadError("connection lost")
        text = "Sign this message to log into iExec Gateway: abc"
        body = json.dumps({"ok": True, "data": challenge_typed_data(31337, text)}).encode()

        async def pieces() -> AsyncIterator[bytes]:
            yield body

        return httpx.Response(200, content=pieces())

    async with MarketClient("http://market", 31337, transport=httpx.MockTransport(lose), clock=HandClock()) as market:
        with pytest.raises(ServiceUnavailable, match="connection lost"):
            await market.publish(grid.app_order(), grid.app_owner)
    assert posted == 1


async def test_filters_are_sent_under_their_published_names(grid: Grid) -> None:
    seen: list[dict[str, str]] = []

    def record(request: httpx.Request) -> httpx.Response:
        seen.append(dict(request.url.params))
        return listing()

    async with scripted(record) as market:
        await market.workerpool_orders(
            workerpool=grid.workerpool, category=0, min_trust=3, is_app_strict=True, app=grid.app, max_tag=None
        )
    assert seen == [
        {
            "chainId": "31337",
            "workerpool": grid.workerpool,
            "category": "0",
            "minTrust": "3",
            "isAppStrict": "true",
            "app": grid.app,
            "pageIndex": "0",
            "pageSize": "100",
        }
    ]


async def test_two_clients_of_one_wallet_publish_at_once(grid: Grid, market: MarketClient) -> None:
    import asyncio

    other = MarketClient("http://market", 31337, transport=market._http._transport, clock=HandClock())
    orders = [grid.app_order() for _ in range(4)]
    await asyncio.gather(
        *(client.publish(order, grid.app_owner) for order, client in zip(orders, [market, other] * 2, strict=True))
    )
    assert len(await market.app_orders()) == 4


async def test_an_order_hash_that_is_none_is_said_before_anybody_is_asked(market: MarketClient) -> None:
    with pytest.raises(OrderError):
        await market.order("app", "0x12")
