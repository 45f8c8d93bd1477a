"""Payments inside the escrow are read from nodes that give the logs of few blocks at once."""

from __future__ import annotations

import json

import httpx
import pytest

from fairgrid.chain.client import JsonRpcChain
from fairgrid.errors import ServiceUnavailable

HUB, PAYER, PAYEE = (f"0x{digit * 40}" for digit in "123")
NEWEST = 99


def a_chain(asked: list[tuple[int, int]], *, most_blocks: int) -> JsonRpcChain:
    """A node that refuses more than ``most_blocks`` at once."""

    def answer(request: httpx.Request) -> httpx.Response:
        call = json.loads(request.content)
        reply = {"jsonrpc": "2.0", "id": call["id"]}
        if call["method"] == "eth_getBlockByNumber":
            block = {
                "number": hex(NEWEST),
                "hash": "0x" + "00" * 32,
                "parentHash": "0x" + "01" * 32,
                "timestamp": "0x1",
            }
            return httpx.Response(200, json=reply | {"result": block})
        query = call["params"][0]
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if last - first + 1 > most_blocks:
            return httpx.Response(200, json=reply | {"error": {"code": -32005, "message": "too many blocks"}})
        asked.append((first, last))
        return httpx.Response(200, json=reply | {"result": []})

    return JsonRpcChain("http://node.example", chain_id=1, hub=HUB, rlc=HUB, transport=httpx.MockTransport(answer))


async def test_every_block_is_asked_for_once_however_few_the_node_gives_at_once() -> None:
    asked: list[tuple[int, int]] = []
    async with a_chain(asked, most_blocks=7) as chain:
        assert await chain.deposit_transfers(PAYER, PAYEE, from_block=3) == ()
    assert [block for first, last in asked for block in range(first, last + 1)] == list(range(3, NEWEST + 1))


async def test_a_node_that_gives_no_logs_at_all_is_unavailable_and_nobody_counts_as_unpaid() -> None:
    async with a_chain([], most_blocks=0) as chain:
        with pytest.raises(ServiceUnavailable, match="too many blocks"):
            await chain.deposit_transfers(PAYER, PAYEE, from_block=3)
