"""What the chain seam says of lost nonces, empty accounts and nodes that are gone or are not the network's."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.chain.places import (
    DEPLOYER,
    DIGEST,
    REQUESTER,
    WORKERS,
    Place,
    contribute,
    match,
    open_market,
    real_place,
)

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import deploy
from fairgrid.chain.network import Network
from fairgrid.chain.sender import NonceTaken
from fairgrid.errors import (
    ContractReverted,
    FundsError,
    ServiceUnavailable,
    UsageError,
    VerificationError,
)
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID, AnvilProcess
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.views import (
    TaskStatus,
)


async def test_a_nonce_that_was_taken_by_another_transaction_is_told(place: Place) -> None:
    chain = place.chain
    call = calls.transfer(chain.rlc, REQUESTER.address, 3)
    first = await chain.prepare(call, DEPLOYER)
    rival = await chain.prepare(replace(call, arguments=(REQUESTER.address, 4)), DEPLOYER, nonce=first.nonce)
    await chain.broadcast(first)
    async with asyncio.timeout(10):
        while await chain.receipt(first.hash) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    with pytest.raises(NonceTaken):
        await chain.broadcast(rival)


async def test_without_gas_money_nothing_is_sent(place: Place) -> None:
    place.set_balance(REQUESTER.address, 10)
    with pytest.raises(FundsError, match=rf"{REQUESTER.address} cannot pay the gas of approve.*10 wei"):
        await place.chain.transact(calls.approve(place.chain.rlc, place.chain.hub, 1), REQUESTER)
    assert await place.chain.balance_wei(REQUESTER.address) == 10


async def test_a_node_that_is_gone_is_an_unavailable_service_for_every_method(place: Place) -> None:
    chain = place.chain
    call = calls.approve(chain.rlc, chain.hub, 1)
    transaction = await chain.prepare(call, REQUESTER)
    place.break_node()
    attempts = [
        chain.head(),
        chain.view_deal(DIGEST),
        chain.view_deal_boost(DIGEST),
        chain.view_task(DIGEST),
        chain.view_contribution(DIGEST, chain.hub),
        chain.view_account(chain.hub),
        chain.view_score(chain.hub),
        chain.view_category(0),
        chain.count_categories(),
        chain.view_consumed(DIGEST),
        chain.view_presigned(DIGEST),
        chain.view_app(chain.hub),
        chain.view_dataset(chain.hub),
        chain.view_workerpool(chain.hub),
        chain.is_registered("app", chain.hub),
        chain.verify_signature(chain.hub, DIGEST, "0x"),
        chain.balance_wei(chain.hub),
        chain.rlc_balance(chain.hub),
        chain.prepare(call, REQUESTER),
        chain.broadcast(transaction),
        chain.receipt(transaction.hash),
        chain.transact(call, REQUESTER),
    ]
    for attempt in attempts:
        with pytest.raises(ServiceUnavailable) as caught:
            await attempt
        assert caught.value.service == "chain"


async def test_connecting_checks_chain_and_code_of_the_hub(anvil: AnvilProcess) -> None:
    deployment = await deploy(anvil.rpc_url, DEPLOYER)
    network = Network(
        name="local", chain_id=LOCAL_CHAIN_ID, rpc=anvil.rpc_url, hub=deployment.hub,
        hub_code_hash=deployment.hub_code_hash, rlc=deployment.rlc, market="", storage="", pool="",
        pool_address=ZERO_ADDRESS,
    )  # fmt: skip
    async with await JsonRpcChain.connect(network) as chain:
        assert await chain.count_categories() == 5
    with pytest.raises(UsageError, match="is on chain 31337, the network local on 1"):
        await JsonRpcChain.connect(replace(network, chain_id=1))
    with pytest.raises(UsageError, match="no contract at the hub's address"):
        await JsonRpcChain.connect(replace(network, hub=REQUESTER.address))
    with pytest.raises(VerificationError, match="not what the network local pins"):
        await JsonRpcChain.connect(replace(network, hub=deployment.rlc))
    async with await JsonRpcChain.connect(replace(network, hub_code_hash=DIGEST), check_code=False) as chain:
        assert chain.hub == deployment.hub
    anvil.kill()
    with pytest.raises(ServiceUnavailable):
        await JsonRpcChain.connect(network)


async def test_gas_estimated_before_the_others_contributed_suffices_after_it(
    anvil: AnvilProcess,
) -> None:
    """Two contributions are prepared on the same state; the one mined last makes the consensus, which costs more."""
    place = await real_place(anvil)
    assert isinstance(place.chain, JsonRpcChain)
    async with place.chain as chain:
        deal_id = await match(chain, await open_market(chain, trust=3))
        task_id = ids.task_id(deal_id, 0)
        await chain.transact(calls.initialize(chain.hub, deal_id, 0), REQUESTER)
        place.set_automine(False)
        pending = [asyncio.create_task(contribute(chain, task_id, worker, DIGEST)) for worker in WORKERS]
        async with asyncio.timeout(20):
            while anvil.request("txpool_status")["pending"] != hex(len(WORKERS)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        place.mine()
        receipts = await asyncio.gather(*pending, return_exceptions=True)
        assert (await chain.view_task(task_id)).status is TaskStatus.REVEALING
        reverted = [result for result in receipts if isinstance(result, ContractReverted)]
        assert len(reverted) == 1  # two make the consensus, the third one comes too late and is told why
        assert reverted[0].tx_hash is not None
