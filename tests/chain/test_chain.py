"""What the chain seam promises, on a real node with the compiled contracts and on the in-memory twin alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.chain.places import (
    APP_OWNER,
    DEPLOYER,
    DIGEST,
    OTHER_DIGEST,
    POOL_OWNER,
    REQUESTER,
    WORKERS,
    Place,
    contribute,
    match,
    open_market,
    sign,
)

from fairgrid.chain import calls
from fairgrid.chain.decode import created_address
from fairgrid.chain.interface import ChainEvent
from fairgrid.errors import (
    ContractReverted,
    UsageError,
)
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex
from fairgrid.protocol.orders import NULL_DATASET_ORDER
from fairgrid.protocol.typed_data import Domain, order_hash
from fairgrid.protocol.views import (
    Account,
    AppInfo,
    Category,
    ContributionStatus,
    DatasetInfo,
    TaskStatus,
    WorkerpoolInfo,
)
from fairgrid.wallet.keys import dev_signer


async def test_a_deployed_hub_has_its_five_categories_and_no_deals(place: Place) -> None:
    chain = place.chain
    assert chain.chain_id == LOCAL_CHAIN_ID
    assert await chain.count_categories() == 5
    assert await chain.view_category(0) == Category("XS", '""', 300)
    assert await chain.view_deal(DIGEST) is None
    assert (await chain.view_task(DIGEST)).status is TaskStatus.UNSET
    assert (await chain.view_contribution(DIGEST, REQUESTER.address)).status is ContributionStatus.UNSET
    assert await chain.view_account(REQUESTER.address) == Account(0, 0)
    assert await chain.rlc_balance(DEPLOYER.address) == 87_000_000 * 10**9
    assert await chain.view_score(REQUESTER.address) == 0


async def test_what_does_not_exist_reverts_or_is_no_member(place: Place) -> None:
    chain = place.chain
    with pytest.raises(ContractReverted):
        await chain.view_category(5)
    with pytest.raises((ContractReverted, UsageError)):
        await chain.view_app(REQUESTER.address)
    assert not await chain.is_registered("app", REQUESTER.address)
    with pytest.raises(UsageError, match="no registry of cats"):
        await chain.is_registered("cats", REQUESTER.address)


async def test_created_assets_are_registered_and_shown(place: Place) -> None:
    chain = place.chain
    market = await open_market(chain)
    assert await chain.view_app(market.app) == AppInfo(APP_OWNER.address, "py", "WASM", b"/ipfs/bafk", DIGEST, b"")
    assert await chain.view_workerpool(market.workerpool) == WorkerpoolInfo(POOL_OWNER.address, "pool", 50, 10)
    assert await chain.is_registered("app", market.app)
    assert await chain.is_registered("workerpool", market.workerpool)
    assert not await chain.is_registered("dataset", market.app)
    registry = await chain.registry("dataset")
    call = calls.create_dataset(registry, APP_OWNER.address, "data", b"/ipfs/x", DIGEST)
    dataset = created_address(await chain.transact(call, APP_OWNER), registry)
    assert await chain.view_dataset(dataset) == DatasetInfo(APP_OWNER.address, "data", b"/ipfs/x", DIGEST)
    with pytest.raises(ContractReverted) as caught:
        await chain.transact(call, APP_OWNER)
    assert caught.value.reason == "Create2: Failed on deploy"


async def test_a_task_lives_from_match_to_payment_and_its_events_are_followed(place: Place) -> None:
    chain = place.chain
    start = (await chain.head()).number
    market = await open_market(chain)
    deal_id = await match(chain, market)
    deal = await chain.view_deal(deal_id)
    assert deal is not None
    assert (deal.app.pointer, deal.app.price, deal.workerpool.owner) == (market.app, 5, POOL_OWNER.address)
    assert (deal.bot_first, deal.bot_size, deal.trust, deal.worker_stake, deal.params) == (0, 2, 4, 50, "{}")
    assert deal.start_time == (await chain.head()).timestamp
    assert await chain.view_account(REQUESTER.address) == Account(10_000 - 210, 210)

    task_id = ids.task_id(deal_id, 0)
    await chain.transact(calls.initialize(chain.hub, deal_id, 0), WORKERS[0])
    assert (await chain.view_task(task_id)).contribution_deadline == deal.start_time + 7 * 300
    await contribute(chain, task_id, WORKERS[0], OTHER_DIGEST)
    await contribute(chain, task_id, WORKERS[1], DIGEST)
    receipt = await contribute(chain, task_id, WORKERS[2], DIGEST)
    assert "TaskConsensus" not in {event.name for event in receipt.events}
    honest = [dev_signer(7), dev_signer(8)]
    for worker in honest:
        await chain.transact(calls.transfer(chain.rlc, worker.address, 50), DEPLOYER)
        await chain.transact(calls.approve_and_call(chain.rlc, chain.hub, 50), worker)
    await contribute(chain, task_id, honest[0], DIGEST)
    receipt = await contribute(chain, task_id, honest[1], DIGEST)
    assert "TaskConsensus" in {event.name for event in receipt.events}
    assert (await chain.view_task(task_id)).status is TaskStatus.REVEALING
    agreeing = [WORKERS[1], WORKERS[2], *honest]
    for worker in agreeing:
        await chain.transact(calls.reveal(chain.hub, task_id, DIGEST), worker)
    receipt = await chain.transact(calls.finalize(chain.hub, task_id, b"results"), POOL_OWNER)
    assert receipt.events[-1].name == "TaskFinalize"
    assert receipt.events[-1].arguments == {"taskid": task_id, "results": b"results"}

    task = await chain.view_task(task_id)
    assert (task.status, task.result_digest, task.results) == (TaskStatus.COMPLETED, DIGEST, b"results")
    assert task.contributors == (WORKERS[0].address, *(worker.address for worker in agreeing))
    contribution = await chain.view_contribution(task_id, WORKERS[1].address)
    assert contribution.status is ContributionStatus.PROVED
    assert contribution.result_hash == task.consensus_value == ids.result_hash(task_id, DIGEST)
    assert await chain.view_account(WORKERS[0].address) == Account(9_950, 0)  # the liar lost its stake
    # 100 price + 50 of the liar: 10 % to the scheduler, the rest in four equal parts
    assert await chain.view_account(WORKERS[1].address) == Account(10_033, 0)
    assert await chain.view_account(POOL_OWNER.address) == Account(10_018 - 30, 30)
    assert await chain.view_score(WORKERS[1].address) == 1

    followed: list[ChainEvent] = []
    async with asyncio.timeout(20):
        async for event in chain.follow(from_block=start, poll_s=0.02):
            if event.name.startswith(("Task", "Orders")):
                followed.append(event)
            if event.name == "TaskFinalize":
                break
    assert [event.name for event in followed] == [
        "OrdersMatched",
        "TaskInitialize",
        *["TaskContribute"] * 5,
        "TaskConsensus",
        *["TaskReveal"] * 4,
        "TaskFinalize",
    ]
    assert all(event.address == chain.hub and not event.removed for event in followed)


async def test_a_claim_before_the_final_deadline_is_refused_and_after_it_gives_the_money_back(place: Place) -> None:
    chain = place.chain
    deal_id = await match(chain, await open_market(chain))
    task_id = ids.task_id(deal_id, 1)
    await chain.transact(calls.initialize(chain.hub, deal_id, 1), REQUESTER)
    with pytest.raises(ContractReverted) as caught:
        await chain.transact(calls.claim(chain.hub, task_id), REQUESTER)
    assert (caught.value.function, caught.value.reason) == ("claim", "(no data)")
    place.skip(10 * 300)
    receipt = await chain.transact(calls.claim(chain.hub, task_id), REQUESTER)
    assert receipt.events[-1].name == "TaskClaimed"
    assert (await chain.view_task(task_id)).status is TaskStatus.FAILED
    assert await chain.view_account(REQUESTER.address) == Account(10_000 - 105, 105)


async def test_a_deal_of_boost_is_seen_as_one_until_its_tasks_are_claimed(place: Place) -> None:
    chain = place.chain
    market = await open_market(chain, trust=1)
    request = sign(chain, market.request, REQUESTER)
    orders = (market.app_order, NULL_DATASET_ORDER, market.workerpool_order, request)
    call = replace(calls.match_orders(chain.hub, *orders), function="matchOrdersBoost")  # type: ignore[arg-type]
    receipt = await chain.transact(call, WORKERS[0])
    (matched,) = [event for event in receipt.events if event.name == "OrdersMatched"]
    deal_id = matched.arguments["dealid"]
    deal = await chain.view_deal_boost(deal_id)
    assert deal is not None and await chain.view_deal(deal_id) is None
    assert (deal.sponsor, deal.requester) == (REQUESTER.address, REQUESTER.address)
    assert (deal.app_owner, deal.app_price) == (APP_OWNER.address, 5)
    assert (deal.dataset_owner, deal.dataset_price) == (ZERO_ADDRESS, 0)
    assert (deal.workerpool_owner, deal.workerpool_price) == (POOL_OWNER.address, 100)
    assert (deal.worker_reward, deal.bot_first, deal.bot_size, deal.short_tag) == (90, 0, 2, "0x000000")
    assert deal.deadline == receipt.block.timestamp + 7 * 300
    assert await chain.view_deal_boost(DIGEST) is None
    with pytest.raises(ContractReverted, match="Deadline not reached"):
        await chain.transact(calls.claim_boost(chain.hub, deal_id, 1), WORKERS[0])
    place.skip(7 * 300)
    await chain.transact(calls.claim_boost(chain.hub, deal_id, 1), WORKERS[0])
    assert (await chain.view_task(ids.task_id(deal_id, 1))).status is TaskStatus.FAILED
    assert await chain.view_account(REQUESTER.address) == Account(10_000 - 105, 105)


async def test_orders_that_do_not_fit_are_refused_with_the_text_of_the_hub(place: Place) -> None:
    chain = place.chain
    market = await open_market(chain)
    market.request = replace(market.request, appmaxprice=4)
    with pytest.raises(ContractReverted) as caught:
        await match(chain, market)
    assert caught.value.reason == "iExecV5-matchOrders-0x03"


async def test_money_that_is_not_there_cannot_be_deposited_or_withdrawn(place: Place) -> None:
    with pytest.raises(ContractReverted) as caught:
        await place.chain.transact(calls.deposit(place.chain.hub, 1), REQUESTER)
    assert (caught.value.function, caught.value.reason) == ("deposit", "(no data)")
    with pytest.raises(ContractReverted) as caught:
        await place.chain.transact(calls.withdraw(place.chain.hub, 1), REQUESTER)
    assert (caught.value.function, caught.value.reason) == ("withdraw", "(no data)")


async def test_presigned_and_closed_orders_are_seen(place: Place) -> None:
    chain = place.chain
    market = await open_market(chain)
    unsigned = market.app_order.signed("0x")
    hash_ = order_hash(unsigned, Domain(chain.chain_id, chain.hub))
    assert await chain.verify_signature(APP_OWNER.address, hash_, market.app_order.sign)
    assert not await chain.verify_signature(POOL_OWNER.address, hash_, market.app_order.sign)
    assert await chain.view_presigned(hash_) == ZERO_ADDRESS
    receipt = await chain.transact(calls.manage_order(chain.hub, unsigned, calls.SIGN), APP_OWNER)
    assert [(event.name, event.arguments) for event in receipt.events] == [("SignedAppOrder", {"appHash": hash_})]
    assert await chain.view_presigned(hash_) == APP_OWNER.address
    assert await chain.verify_signature(APP_OWNER.address, hash_, "0x")
    assert await chain.view_consumed(hash_) == 0
    await chain.transact(calls.manage_order(chain.hub, unsigned, calls.CLOSE), APP_OWNER)
    assert await chain.view_consumed(hash_) == 1000
    with pytest.raises(ContractReverted) as caught:
        await chain.transact(calls.manage_order(chain.hub, unsigned, calls.CLOSE, "0x" + "11" * 65), POOL_OWNER)
    assert caught.value.reason == "invalid-sender-or-signature"


async def test_stored_bytes_are_sent_once_however_often_they_are_sent(place: Place) -> None:
    chain = place.chain
    transaction = await chain.prepare(calls.transfer(chain.rlc, REQUESTER.address, 3), DEPLOYER)
    assert await chain.receipt(transaction.hash) is None
    place.set_automine(False)
    await chain.broadcast(transaction)
    await chain.broadcast(transaction)
    assert await chain.receipt(transaction.hash) is None
    place.mine()
    await chain.broadcast(transaction)
    receipt = await chain.receipt(transaction.hash)
    assert receipt is not None
    assert receipt.succeeded
    assert (receipt.tx_hash, receipt.block.number) == (transaction.hash, (await chain.head()).number)
    assert await chain.rlc_balance(REQUESTER.address) == 3


async def test_bytes_of_params_survive_the_way_over_the_chain(place: Place) -> None:
    chain = place.chain
    market = await open_market(chain)
    params = '{"iexec_args":"ünïcode ✓ \\u0000","iexec_input_files":[]}' + "x" * 500
    market.request = replace(market.request, params=params)
    deal = await chain.view_deal(await match(chain, market))
    assert deal is not None
    assert deal.params == params
    assert from_hex(deal.tag) == bytes(32)


async def test_payments_inside_the_escrow_are_found_by_payer_and_payee_and_from_a_block_on(place: Place) -> None:
    chain, payer, payee = place.chain, WORKERS[0], WORKERS[1].address
    await chain.transact(calls.approve(chain.rlc, chain.hub, 100), DEPLOYER)
    await chain.transact(calls.deposit_for(chain.hub, 100, payer.address), DEPLOYER)
    first = await chain.transact(calls.transfer_deposit(chain.hub, payee, 30), payer)
    await chain.transact(calls.transfer_deposit(chain.hub, WORKERS[2].address, 5), payer)
    second = await chain.transact(calls.transfer_deposit(chain.hub, payee, 7), payer)
    found = await chain.deposit_transfers(payer.address, payee, from_block=0)
    assert [(event.arguments["value"], event.tx_hash) for event in found] == [(30, first.tx_hash), (7, second.tx_hash)]
    later = await chain.deposit_transfers(payer.address, payee, from_block=first.block.number + 1)
    assert [event.arguments["value"] for event in later] == [7]
    assert await chain.deposit_transfers(payee, payer.address, from_block=0) == ()
