from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fairgrid.chain import calls
from fairgrid.chain.abi import contract_abi
from fairgrid.chain.interface import Call, ChainEvent
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import ContractReverted, ServiceUnavailable, UsageError
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, RequestOrder, WorkerpoolOrder
from fairgrid.wallet.keys import dev_signer

OWNER, FRIEND = dev_signer(0), dev_signer(1)


def chain_with(**options: bool | int) -> ModelChain:
    return ModelChain.fresh(
        owner=OWNER.address,
        automine=bool(options.get("automine", True)),
        keep_states=int(options.get("keep_states", 0)),
    )


async def deposit(chain: ModelChain, amount: int) -> None:
    assert (await chain.transact(calls.approve_and_call(chain.rlc, chain.hub, amount), OWNER)).succeeded


async def take(stream: AsyncIterator[ChainEvent], count: int) -> list[tuple[int, bool]]:
    async with asyncio.timeout(5):
        events = [await anext(stream) for _ in range(count)]
    return [(event.arguments["value"], event.removed) for event in events]


async def test_a_block_is_mined_for_each_transaction_and_time_passes() -> None:
    chain = chain_with()
    before = await chain.head()
    await deposit(chain, 1)
    await deposit(chain, 2)
    after = await chain.head()
    assert after.number == before.number + 2
    assert after.timestamp == before.timestamp + 2


async def test_a_skip_is_exact_to_the_second() -> None:
    chain = chain_with()
    before = await chain.head()
    block = chain.skip(3600)
    assert block == await chain.head()
    assert block.timestamp == before.timestamp + 3600


async def test_nothing_is_mined_until_it_is_asked_for_and_then_in_order_of_nonces() -> None:
    chain = chain_with(automine=False)
    first = await chain.prepare(calls.transfer(chain.rlc, FRIEND.address, 1), OWNER)
    second = await chain.prepare(calls.transfer(chain.rlc, FRIEND.address, 2), OWNER, nonce=first.nonce + 1)
    await chain.broadcast(second)
    chain.mine()
    assert await chain.receipt(second.hash) is None
    await chain.broadcast(first)
    block = chain.mine()
    receipts = [await chain.receipt(transaction.hash) for transaction in (first, second)]
    assert [receipt is not None and receipt.block == block for receipt in receipts] == [True, True]
    assert await chain.rlc_balance(FRIEND.address) == 3


async def test_a_simulation_changes_nothing() -> None:
    chain = chain_with()
    await chain.prepare(calls.transfer(chain.rlc, FRIEND.address, 1), OWNER)
    assert await chain.rlc_balance(FRIEND.address) == 0
    assert chain.model.events == chain_with().model.events


async def test_what_no_longer_holds_when_it_is_mined_is_a_failed_transaction() -> None:
    chain = chain_with(automine=False)
    everything = await chain.rlc_balance(OWNER.address)
    transfers = [calls.transfer(chain.rlc, FRIEND.address, everything)] * 2
    first = await chain.prepare(transfers[0], OWNER)
    second = await chain.prepare(transfers[1], OWNER, nonce=first.nonce + 1)
    for transaction in (first, second):
        await chain.broadcast(transaction)
    chain.mine()
    receipt = await chain.receipt(second.hash)
    assert receipt is not None
    assert not receipt.succeeded
    assert receipt.events == ()


async def test_a_reorganisation_takes_money_and_events_back_and_mines_the_transactions_again() -> None:
    chain = chain_with(keep_states=3)
    await deposit(chain, 1)
    stream = chain.follow(from_block=0)
    assert await take(stream, 1) == [(1, False)]
    await deposit(chain, 2)
    await deposit(chain, 3)
    assert await take(stream, 2) == [(2, False), (3, False)]
    height = (await chain.head()).number
    chain.reorganise(2)
    assert (await chain.head()).number == height + 1
    assert (await chain.view_account(OWNER.address)).stake == 1
    assert await take(stream, 2) == [(3, True), (2, True)]
    chain.mine()
    assert (await chain.view_account(OWNER.address)).stake == 6
    assert await take(stream, 2) == [(2, False), (3, False)]


async def test_a_reorganisation_may_drop_the_transactions_for_good() -> None:
    chain = chain_with(keep_states=1)
    await deposit(chain, 1)
    chain.reorganise(1, drop=True)
    chain.mine()
    assert (await chain.view_account(OWNER.address)).stake == 0
    await deposit(chain, 5)
    assert (await chain.view_account(OWNER.address)).stake == 5


@pytest.mark.parametrize("depth", [0, 4, 100])
async def test_a_reorganisation_deeper_than_the_kept_states_is_refused(depth: int) -> None:
    chain = chain_with(keep_states=3)
    for amount in range(1, 10):
        await deposit(chain, amount)
    with pytest.raises(UsageError, match="was not kept"):
        chain.reorganise(depth)


async def test_an_event_waits_for_its_confirmations() -> None:
    chain = chain_with()
    stream = chain.follow(from_block=0, confirmations=2)
    waiting = asyncio.ensure_future(anext(stream))
    await deposit(chain, 1)
    chain.mine()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    chain.mine()
    assert (await asyncio.wait_for(waiting, 5)).arguments["value"] == 1


async def test_following_goes_on_after_an_outage() -> None:
    chain = chain_with()
    stream = chain.follow(from_block=0, poll_s=0.01)
    chain.down = True
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    with pytest.raises(ServiceUnavailable):
        await chain.head()
    assert not waiting.done()
    chain.down = False
    await deposit(chain, 1)
    assert (await asyncio.wait_for(waiting, 5)).arguments["value"] == 1


async def test_a_transaction_of_another_twin_is_refused() -> None:
    mine, yours = chain_with(), chain_with()
    transaction = await mine.prepare(calls.transfer(mine.rlc, FRIEND.address, 1), OWNER)
    with pytest.raises(UsageError, match="prepared elsewhere"):
        await yours.broadcast(transaction)


async def test_a_function_that_the_model_lacks_is_told() -> None:
    chain = chain_with()
    with pytest.raises(UsageError, match=r"no hub\.recover"):
        await chain.prepare(Call("hub", chain.hub, "recover"), OWNER)


async def test_a_call_at_the_wrong_address_or_with_coins_reverts() -> None:
    chain = chain_with()
    with pytest.raises(ContractReverted):
        await chain.prepare(calls.deposit(FRIEND.address, 1), OWNER)
    with pytest.raises(ContractReverted):
        await chain.prepare(Call("hub", chain.hub, "deposit", (0,), value_wei=1), OWNER)
    with pytest.raises(ContractReverted):
        await chain.prepare(calls.approve_and_call(chain.rlc, FRIEND.address, 1), OWNER)


async def test_the_data_of_an_approval_is_a_match_or_is_refused() -> None:
    chain = chain_with()
    orders = (
        AppOrder(FRIEND.address, 0, 1),
        NULL_DATASET_ORDER,
        WorkerpoolOrder(FRIEND.address, 0, 1),
        RequestOrder(FRIEND.address, 0, ZERO_ADDRESS, 0, ZERO_ADDRESS, 0, FRIEND.address, 1),
    )
    match = contract_abi("hub").encode_call("matchOrders", tuple(order.abi_tuple() for order in orders))
    refusals = {
        match: r"CallerIsNotTheRequester\(\)",
        match[:-40]: r"no data",
        b"\x01\x02\x03": r"no data",
        b"\x01\x02\x03\x04": r"UnsupportedOperation\(0x01020304\)",
    }
    for data, reason in refusals.items():
        with pytest.raises(ContractReverted, match=reason):
            await chain.prepare(Call("rlc", chain.rlc, "approveAndCall", (chain.hub, 0, data)), OWNER)
