from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fairgrid.errors import ServiceRefused, ServiceUnavailable, UsageError
from fairgrid.pool.client import OwnerWeight, PoolClient, TrustListing
from fairgrid.protocol.access import PoolPlace, access_message
from fairgrid.protocol.seals import recover_message_signer
from fairgrid.wallet.keys import dev_signer

_ID = "0x" + "11" * 32


class _NoTime:
    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        return None


def _client(answer: Callable[[httpx.Request], httpx.Response]) -> PoolClient:
    return PoolClient("http://pool/", transport=httpx.MockTransport(answer), clock=_NoTime())


def _answer(status: int, document: Any) -> httpx.Response:
    return httpx.Response(status, stream=httpx.ByteStream(json.dumps(document).encode()))


def _says(status: int, document: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: _answer(status, document)


async def test_a_trust_beyond_64_bits_is_read_exactly() -> None:
    listing = {"owners": [{"owner": "0xA", "weight": 2, "score": 0}], "reachable": 2**200}
    async with _client(_says(200, listing)) as client:
        assert await client.trust() == TrustListing((OwnerWeight("0xA", 2, 0),), 2**200)


@pytest.mark.parametrize(
    ("returning", "expected"),
    [({"withinS": 12.5, "reachable": 8}, (12.5, 8)), ({"withinS": 30, "reachable": None}, (30, None))],
)
async def test_who_may_return_is_read(returning: Any, expected: tuple[float, int | None]) -> None:
    async with _client(_says(200, {"owners": [], "reachable": 0, "returning": returning})) as client:
        listing = await client.trust()
        assert (listing.returning_s, listing.after_return) == expected


@pytest.mark.parametrize("within_s", [-1, 61, float("nan"), float("inf"), "soon"])
async def test_a_pool_that_asks_for_no_sensible_patience_is_refused(within_s: Any) -> None:
    returning = {"withinS": within_s, "reachable": None}
    async with _client(_says(200, {"owners": [], "reachable": 0, "returning": returning})) as client:
        with pytest.raises(ServiceRefused, match="cannot be understood"):
            await client.trust()


async def test_a_refusal_carries_status_and_the_pools_words() -> None:
    async with _client(_says(404, {"error": "This pool has no task."})) as client:
        with pytest.raises(ServiceRefused, match="has no task") as refused:
            await client.task(_ID)
    assert refused.value.status == 404


@pytest.mark.parametrize("document", [{}, [], "text", 7, None, {"owners": [{}], "reachable": 1}, {"error": "x"}])
async def test_an_answer_that_is_not_a_pools_is_refused(document: Any) -> None:
    async with _client(_says(200, document)) as client:
        for ask in (client.info, client.trust):
            with pytest.raises(ServiceRefused, match="cannot be understood"):
                await ask()


async def test_an_answer_that_is_no_json_is_refused() -> None:
    async with _client(lambda request: httpx.Response(200, stream=httpx.ByteStream(b"<html>"))) as client:
        with pytest.raises(ServiceRefused, match="cannot be understood"):
            await client.info()


async def test_a_pool_that_cannot_answer_just_now_is_asked_again() -> None:
    answers = iter([_answer(503, {}), _answer(200, {"owners": [], "reachable": 0})])
    async with _client(lambda request: next(answers)) as client:
        assert (await client.trust()).reachable == 0


async def test_a_pool_that_is_not_there_is_unavailable_and_named() -> None:
    async with PoolClient("http://127.0.0.1:1", clock=_NoTime()) as client:
        with pytest.raises(ServiceUnavailable, match=r"pool at http://127\.0\.0\.1:1"):
            await client.info()


async def test_a_deal_is_asked_for_by_page() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return _answer(200, {"dealId": _ID, "taskCount": 0, "tasks": []})

    async with _client(answer) as client:
        await client.deal(_ID, limit=5, offset=10)
    assert asked == [f"http://pool/deals/{_ID}?limit=5&offset=10"]


class _Live:
    """A pool of several processes that says of itself what it likes, and keeps what requesters sign for it."""

    def __init__(self, hub: str) -> None:
        self.hub = hub
        self.signed: list[tuple[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "standby":
            return _answer(503, {"error": "This process stands by."})
        if request.url.path == "/info":
            names = {"version": "1", "protocolVersion": 1, "chainId": 1, "hub": self.hub, "workerpool": self.hub}
            return _answer(200, names | {"scheduler": self.hub, "workers": 0, "owners": 0})
        self.signed.append((request.url.host, request.headers["authorization"]))
        if request.method == "POST":
            return _answer(200, {"cid": "bafk", "size": 1, "worker": self.hub})
        return httpx.Response(200, stream=httpx.ByteStream(b"event: end\ndata: {}\n\n"))


async def test_live_output_is_signed_for_the_network_files_pool_whatever_the_pool_says_and_asked_of_who_leads() -> None:
    signer, mine, other = dev_signer(1), dev_signer(2).address, dev_signer(3).address
    pool = _Live(other)
    client = PoolClient(
        "http://standby,http://leader",
        place=PoolPlace(31337, mine, mine),
        transport=httpx.MockTransport(pool),
        clock=_NoTime(),
    )
    async with client:
        assert [event async for event in client.live(_ID, signer)] == []
        assert (await client.partial(_ID, signer)).cid == "bafk"
    assert [host for host, _ in pool.signed] == ["leader", "leader"]
    for _, header in pool.signed:
        expires, signature = re.fullmatch(r"Fairgrid expires=(\d+),signature=(0x\w+)", header).groups()  # type: ignore[union-attr]
        for hub, counts in ((mine, True), (other, False)):
            message = access_message(31337, hub, hub, _ID, int(expires))
            assert (recover_message_signer(message, signature) == signer.address) is counts


async def test_nothing_is_signed_by_a_client_that_does_not_know_which_pool_it_means() -> None:
    pool = _Live(dev_signer(3).address)
    async with _client(pool) as client:
        with pytest.raises(UsageError, match="network file"):
            await client.partial(_ID, dev_signer(1))
    assert pool.signed == []
