from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.chain.support import DEPLOYER, chain_of, deploy_token

from fairgrid.chain import calls, follower
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.follower import ChainRewritten
from fairgrid.chain.interface import ChainEvent
from fairgrid.localnet.anvil import AnvilOptions, AnvilProcess, start_anvil
from fairgrid.localnet.processes import Guardian
from fairgrid.wallet.keys import dev_signer

FRIEND = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture
async def chain(anvil: AnvilProcess) -> AsyncIterator[JsonRpcChain]:
    async with chain_of(anvil, deploy_token(anvil)) as opened:
        yield opened


async def pay(chain: JsonRpcChain, value: int) -> None:
    assert (await chain.transact(calls.transfer(chain.rlc, FRIEND, value), dev_signer(DEPLOYER))).succeeded


async def take(stream: AsyncIterator[ChainEvent], count: int) -> list[tuple[int, bool]]:
    async with asyncio.timeout(20):
        events = [await anext(stream) for _ in range(count)]
    return [(event.arguments["value"], event.removed) for event in events]


async def test_events_come_in_order_past_ones_first_and_then_as_they_happen(chain: JsonRpcChain) -> None:
    await pay(chain, 1)
    await pay(chain, 2)
    stream = chain.follow(from_block=2, poll_s=0.02)
    assert await take(stream, 2) == [(1, False), (2, False)]
    await pay(chain, 3)
    assert await take(stream, 1) == [(3, False)]


async def test_a_block_costs_a_call_for_its_events_and_one_for_its_header(chain: JsonRpcChain) -> None:
    await pay(chain, 1)
    stream = chain.follow(from_block=2, poll_s=0)
    assert await take(stream, 1) == [(1, False)]
    for value in (2, 3):
        await pay(chain, value)
        before, requests = Counter(chain.rpc.asked.calls), chain.rpc.asked.requests
        assert await take(stream, 1) == [(value, False)]
        asked = Counter(chain.rpc.asked.calls)
        asked.subtract(before)
        assert +asked == {"eth_getBlockByNumber": 2, "eth_getLogs": 1}, "the newest block, and what it holds"
        assert chain.rpc.asked.requests - requests == 2


async def test_events_before_the_first_block_asked_for_do_not_come(chain: JsonRpcChain) -> None:
    await pay(chain, 1)
    await pay(chain, 2)
    head = await chain.head()
    assert await take(chain.follow(from_block=head.number, poll_s=0.02), 1) == [(2, False)]


async def test_an_event_waits_for_its_confirmations(chain: JsonRpcChain, anvil: AnvilProcess) -> None:
    stream = chain.follow(from_block=2, confirmations=3, poll_s=0.02)
    await pay(chain, 1)
    waiting = asyncio.ensure_future(anext(stream))
    anvil.request("anvil_mine", "0x2")
    await asyncio.sleep(0.3)
    assert not waiting.done()
    anvil.request("anvil_mine", "0x1")
    assert (await asyncio.wait_for(waiting, 10)).arguments["value"] == 1


@pytest.mark.parametrize("depth", [1, 12, 40])
async def test_a_reorganisation_gives_the_lost_events_back_removed_last_one_first(
    chain: JsonRpcChain, anvil: AnvilProcess, depth: int
) -> None:
    await pay(chain, 1)
    stream = chain.follow(from_block=2, poll_s=0.02)
    assert await take(stream, 1) == [(1, False)]
    values = list(range(10, 10 + depth))
    for value in values:
        await pay(chain, value)
    assert await take(stream, depth) == [(value, False) for value in values]
    anvil.request("anvil_reorg", depth, [])
    assert await take(stream, depth) == [(value, True) for value in reversed(values)]
    await pay(chain, 99)
    assert await take(stream, 1) == [(99, False)]


async def test_an_event_that_moved_to_another_block_comes_removed_and_then_again(
    chain: JsonRpcChain, anvil: AnvilProcess
) -> None:
    stream = chain.follow(from_block=2, poll_s=0.02)
    checkpoint = anvil.request("evm_snapshot")
    await pay(chain, 5)
    first = await asyncio.wait_for(anext(stream), 10)
    anvil.request("evm_revert", checkpoint)
    anvil.request("evm_increaseTime", 1000)
    anvil.request("anvil_mine", "0x1")
    await pay(chain, 5)
    removed = await asyncio.wait_for(anext(stream), 10)
    again = await asyncio.wait_for(anext(stream), 10)
    assert removed.removed
    assert (removed.block_hash, removed.log_index) == (first.block_hash, first.log_index)
    assert not again.removed
    assert again.block_hash != first.block_hash


async def test_a_look_that_gave_all_there_was_is_followed_by_a_pause(chain: JsonRpcChain) -> None:
    await pay(chain, 1)
    stream = chain.follow(from_block=2, poll_s=3_600)
    assert await take(stream, 1) == [(1, False)]
    waiting = asyncio.ensure_future(anext(stream))
    requests = chain.rpc.asked.requests
    await asyncio.sleep(0.3)
    assert chain.rpc.asked.requests == requests, "the next block is not there yet"
    waiting.cancel()


async def test_a_chain_that_got_shorter_is_undone_too(chain: JsonRpcChain, anvil: AnvilProcess) -> None:
    stream = chain.follow(from_block=2, poll_s=0.02)
    await pay(chain, 1)
    checkpoint = anvil.request("evm_snapshot")
    await pay(chain, 2)
    await pay(chain, 3)
    assert await take(stream, 3) == [(1, False), (2, False), (3, False)]
    anvil.request("evm_revert", checkpoint)
    assert await take(stream, 2) == [(3, True), (2, True)]


async def test_a_reorganisation_deeper_than_the_memory_is_an_error(
    chain: JsonRpcChain, anvil: AnvilProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "REMEMBERED_BLOCKS", 5)
    stream = chain.follow(from_block=2, poll_s=0.02)
    for value in range(1, 9):
        await pay(chain, value)
    await take(stream, 8)
    anvil.request("anvil_reorg", 7, [])
    with pytest.raises(ChainRewritten, match="start again from an earlier block") as caught:
        await asyncio.wait_for(anext(stream), 10)
    assert caught.value.block_number == 5


async def test_a_long_past_is_read_in_ranges(
    chain: JsonRpcChain, anvil: AnvilProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "_MAX_RANGE", 7)
    await pay(chain, 1)
    anvil.request("anvil_mine", hex(600))
    await pay(chain, 2)
    assert await take(chain.follow(from_block=2, poll_s=0.02), 2) == [(1, False), (2, False)]


async def test_a_node_that_dies_and_comes_back_is_followed_on(
    anvil_binary: Path, guardian: Guardian, tmp_path: Path
) -> None:
    options = AnvilOptions(block_time=None, state=tmp_path / "state.json", log=tmp_path / "anvil.log")
    anvil = await start_anvil(options, binary=anvil_binary, guardian=guardian)
    try:
        async with chain_of(anvil, deploy_token(anvil)) as chain:
            stream = chain.follow(from_block=2, poll_s=0.02)
            await pay(chain, 1)
            assert await take(stream, 1) == [(1, False)]
            waiting = asyncio.ensure_future(anext(stream))
            await anvil.stop()
            await asyncio.sleep(0.3)
            assert not waiting.done()
            options = AnvilOptions(block_time=None, port=anvil.port, state=options.state, log=options.log)
            anvil = await start_anvil(options, binary=anvil_binary, guardian=guardian)
            await pay(chain, 2)
            assert (await asyncio.wait_for(waiting, 20)).arguments["value"] == 2
    finally:
        await anvil.stop()


async def test_a_chain_that_grew_by_more_blocks_than_are_remembered_between_two_looks_is_followed_on(
    chain: JsonRpcChain, anvil: AnvilProcess
) -> None:
    await pay(chain, 1)
    stream = chain.follow(from_block=2, poll_s=0.02)
    assert await take(stream, 1) == [(1, False)]
    await pay(chain, 2)
    anvil.request("anvil_mine", hex(follower.REMEMBERED_BLOCKS + 50))
    await pay(chain, 3)
    assert await take(stream, 2) == [(2, False), (3, False)]
