"""What is read together on a real node: as of one block, in one request where that is enough."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import deploy
from fairgrid.chain.interface import Snapshot, Wanted
from fairgrid.errors import ServiceUnavailable
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID, AnvilProcess
from fairgrid.protocol.hexes import ZERO32
from fairgrid.wallet.keys import dev_signer

OWNER = dev_signer(0)
MINE = Wanted(accounts=(OWNER.address,))


class Between(httpx.AsyncBaseTransport):
    """The way to the node, with something that happens on it."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self.after: list[Callable[[], Any]] = []
        """Done one by one, each after an answer of the node."""
        self.change: Callable[[Any], Any] = lambda answer: answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        answer = json.loads(await response.aread())
        await response.aclose()
        if self.after:
            self.after.pop(0)()
        return httpx.Response(200, json=self.change(answer))

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture
def between() -> Between:
    return Between()


@pytest.fixture
async def chain(anvil: AnvilProcess, between: Between) -> AsyncIterator[JsonRpcChain]:
    """A hub in which the owner has 5 nRLC."""
    deployed = await deploy(anvil.rpc_url, OWNER)
    async with JsonRpcChain(
        anvil.rpc_url, chain_id=LOCAL_CHAIN_ID, hub=deployed.hub, rlc=deployed.rlc, transport=between
    ) as opened:
        await opened.transact(calls.approve(opened.rlc, opened.hub, 1_000), OWNER)
        await opened.transact(calls.deposit(opened.hub, 5), OWNER)
        yield opened


def stake(seen: Snapshot) -> int:
    return seen.accounts[OWNER.address].stake


async def requests_of(chain: JsonRpcChain, wanted: Wanted, *, since: str = "") -> tuple[Snapshot, int]:
    before = chain.rpc.asked.requests
    return await chain.snapshot(wanted, since=since), chain.rpc.asked.requests - before


async def test_with_the_newest_block_known_all_is_read_in_one_request(chain: JsonRpcChain) -> None:
    head = await chain.head()
    wanted = Wanted(accounts=(OWNER.address,), tasks=(ZERO32,), deals=(ZERO32,), blocks=(0, head.number + 1))
    seen, requests = await requests_of(chain, wanted)
    assert (seen.block, stake(seen), seen.deals, requests) == (head, 5, {ZERO32: None}, 1)
    assert seen.hashes == {0: await chain.block_hash(0), head.number + 1: None}


async def test_with_another_block_by_now_all_is_read_again_as_of_that_one(
    chain: JsonRpcChain, anvil: AnvilProcess
) -> None:
    before = await chain.head()
    anvil.request("evm_mine")
    seen, requests = await requests_of(chain, MINE)
    assert (seen.block.number, stake(seen), requests) == (before.number + 1, 5, 2)


async def test_while_no_block_came_only_the_newest_is_asked_for(chain: JsonRpcChain) -> None:
    head = await chain.head()
    calls_before = chain.rpc.asked.calls.total()
    seen, requests = await requests_of(chain, MINE, since=head.hash)
    assert (seen.block, dict(seen.accounts), requests) == (head, {}, 1)
    assert chain.rpc.asked.calls.total() == calls_before + 1


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_block_that_comes_while_the_node_is_asked_does_not_show(
    chain: JsonRpcChain, anvil: AnvilProcess, between: Between, is_known: bool
) -> None:
    head = await chain.head()
    if not is_known:
        anvil.request("evm_mine")  # the guess is wrong
    deposit = await chain.prepare(calls.deposit(chain.hub, 7), OWNER)
    between.after = [lambda: anvil.request("eth_sendRawTransaction", "0x" + deposit.raw.hex())]
    seen = await chain.snapshot(MINE)
    assert seen.block.number == head.number + (not is_known)
    assert stake(seen) == 5, "as of that block, though a newer one had 12 by then"
    assert stake(await chain.snapshot(MINE)) == 12


async def test_a_node_that_does_not_have_the_state_of_its_own_block_is_out_of_order(
    chain: JsonRpcChain, between: Between
) -> None:
    def refused(answer: Any) -> Any:
        if not isinstance(answer, list):
            return answer
        lost = {"code": -32000, "message": "header not found"}
        return [
            part if isinstance(part["result"], dict) else {"jsonrpc": "2.0", "id": part["id"], "error": lost}
            for part in answer
        ]

    between.change = refused
    with pytest.raises(ServiceUnavailable, match=r"does not show the state of its block \d+: .*header not found"):
        await chain.snapshot(MINE)
    between.change = lambda answer: answer
    assert stake(await chain.snapshot(MINE)) == 5


async def test_a_block_that_anybody_was_told_of_just_now_will_do_for_the_newest(
    chain: JsonRpcChain, anvil: AnvilProcess
) -> None:
    events = chain.follow(from_block=0)
    await anext(events)
    known = await chain.head(within_s=3_600.0)
    before = chain.rpc.asked.requests
    anvil.request("evm_mine")
    assert await chain.head(within_s=3_600.0) == known
    assert chain.rpc.asked.requests == before
    assert (await chain.head()).number == known.number + 1


async def test_a_node_without_a_newest_block_is_out_of_order(chain: JsonRpcChain, between: Between) -> None:
    between.change = lambda answer: answer | {"result": None} if isinstance(answer, dict) else answer
    with pytest.raises(ServiceUnavailable, match="no block"):
        await chain.head()


async def test_more_than_a_node_takes_at_once_is_read_in_parts(chain: JsonRpcChain) -> None:
    tasks = tuple(f"0x{number:064x}" for number in range(250))
    seen, requests = await requests_of(chain, Wanted(tasks=tasks))
    assert (tuple(seen.tasks), requests) == (tasks, 4)


async def test_what_a_receipt_tells_of_a_newer_block_is_remembered(chain: JsonRpcChain) -> None:
    await chain.head()
    deposit = await chain.prepare(calls.deposit(chain.hub, 1), OWNER)
    await chain.broadcast(deposit)
    while (mined := (await chain.mined([deposit.hash]))[0]) is None:  # noqa: ASYNC110 - anvil has no word for it
        await asyncio.sleep(0.05)
    views_before = chain.rpc.asked.calls["eth_call"]
    seen = await chain.snapshot(MINE)
    assert (seen.block.number, stake(seen)) == (mined.block_number, 6)
    assert chain.rpc.asked.calls["eth_call"] == views_before + 1, "not as of the old block first"
