"""Runs of the batch lane through the chain seam, on a real node with the compiled contracts and on the twin alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.chain.places import (
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
from fairgrid.errors import ContractReverted
from fairgrid.protocol import ids, runs
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.run_results import RunResults, TaskResult
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.views import ContributionStatus, Lane, Run, TaskStatus

TAG = f"0x{LANE_MASK:064x}"


async def bag(place: Place, *, volume: int, trust: int = 1) -> str:
    market = await open_market(place.chain, trust=trust)
    pool_order = sign(place.chain, replace(market.workerpool_order, tag=TAG), POOL_OWNER)
    market.workerpool_order = pool_order  # type: ignore[assignment]
    market.request = replace(market.request, volume=volume, tag=TAG)
    return await match(place.chain, market)


def results_of(first: int, count: int) -> RunResults:
    contents = [b"%d" % index for index in range(first, first + count)]
    return RunResults(first, tuple(TaskResult(to_hex32(keccak(c)), cid_of(c), len(c)) for c in contents))


async def test_a_run_is_opened_contributed_finalized_and_one_task_of_it_materialised(place: Place) -> None:
    chain = place.chain
    deal_id = await bag(place, volume=5, trust=4)
    assert await chain.view_lane(deal_id) == Lane(in_batch_lane=True, cursor=0, refunded=False)
    await chain.transact(calls.open_run(chain.hub, deal_id, 5), POOL_OWNER)
    run_id, results = runs.run_id(deal_id, 0, 5), results_of(0, 5)
    assert await chain.view_run(run_id) == Run(deal_id, 0, 5, TaskStatus.ACTIVE)
    for worker in WORKERS[:2]:
        await contribute(chain, run_id, worker, results.digest)
    assert (await chain.view_account(WORKERS[0].address)).locked == 5 * 50
    for worker in WORKERS[:2]:
        await chain.transact(calls.reveal(chain.hub, run_id, results.digest), worker)
    receipt = await chain.transact(calls.finalize_run(chain.hub, run_id, results.root, results.results), POOL_OWNER)
    (ended,) = [event for event in receipt.events if event.name == "RunFinalize"]
    assert (ended.arguments["runid"], ended.arguments["root"]) == (run_id, results.root)
    assert (ended.arguments["count"], ended.arguments["results"]) == (5, results.results)
    assert tuple(ended.arguments["workers"]) == tuple(worker.address for worker in WORKERS[:2])
    assert (await chain.view_task(ids.task_id(deal_id, 3))).status is TaskStatus.UNSET
    call = calls.materialise(
        chain.hub,
        run_id,
        3,
        results.task(3).digest,
        results.proof(3),
        results.root,
        to_hex32(keccak(results.results)),
    )
    await chain.transact(call, REQUESTER)
    task = await chain.view_task(ids.task_id(deal_id, 3))
    assert (task.status, task.result_digest) == (TaskStatus.COMPLETED, results.task(3).digest)
    with pytest.raises(ContractReverted):
        await chain.transact(call, REQUESTER)


async def test_a_run_of_trust_1_is_settled_in_one_transaction(place: Place) -> None:
    chain = place.chain
    deal_id = await bag(place, volume=5)
    results, run_id = results_of(0, 4), runs.run_id(deal_id, 0, 4)
    worker = WORKERS[0]
    authorisation = POOL_OWNER.sign_message(ids.authorisation_message(worker.address, run_id, ZERO_ADDRESS))
    call = calls.settle_run(chain.hub, deal_id, 4, results.root, results.results, authorisation)
    await chain.transact(call, worker)
    assert await chain.view_run(run_id) == Run(deal_id, 0, 4, TaskStatus.COMPLETED)
    assert (await chain.view_lane(deal_id)).cursor == 4
    assert (await chain.view_contribution(run_id, worker.address)).status is ContributionStatus.PROVED


async def test_a_run_is_split_and_the_rest_of_its_deal_is_refunded(place: Place) -> None:
    chain = place.chain
    deal_id = await bag(place, volume=5)
    await chain.transact(calls.open_run(chain.hub, deal_id, 3), POOL_OWNER)
    await chain.transact(calls.split_run(chain.hub, runs.run_id(deal_id, 0, 3), 1), POOL_OWNER)
    assert (await chain.view_run(runs.run_id(deal_id, 0, 3))).status is TaskStatus.SPLIT
    assert await chain.view_run(runs.run_id(deal_id, 1, 2)) == Run(deal_id, 1, 2, TaskStatus.ACTIVE)
    refund = calls.refund_rest(chain.hub, deal_id)
    with pytest.raises(ContractReverted):
        await chain.transact(refund, REQUESTER)
    place.skip(3001)
    receipt = await chain.transact(refund, REQUESTER)
    (rest,) = [event for event in receipt.events if event.name == "DealRefund"]
    assert (rest.arguments["first"], rest.arguments["count"]) == (3, 2)
    assert (await chain.view_lane(deal_id)).refunded


async def test_what_is_no_run_and_no_deal_shows_zeros(place: Place) -> None:
    assert await place.chain.view_run(ZERO32) == Run(ZERO32, 0, 0, TaskStatus.UNSET)
    assert await place.chain.view_lane(ZERO32) == Lane(in_batch_lane=False, cursor=0, refunded=False)
