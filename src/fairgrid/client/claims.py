"""What a requester sends after the fact: the money of an overdue bag back, and a task of a run on chain."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Final

from fairgrid.chain import calls
from fairgrid.chain.interface import Call, Chain
from fairgrid.client.bags import BagFollower, fetch_run_results
from fairgrid.client.funds import DealState
from fairgrid.client.journal import DealRecord
from fairgrid.client.ledger import Bag
from fairgrid.errors import ContractReverted, UsageError
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import TaskStatus
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["Materialised", "claim_bag", "claim_calls", "materialise", "plan_materialise"]

_CATCH_UP_S = 2.0
_TASKS_A_CLAIM: Final = 40


@dataclass(frozen=True, slots=True)
class Materialised:
    """A task of a run that now has its own place on chain."""

    task_id: str
    run_id: str
    digest: str
    tx_hash: str
    """Empty while it was not sent."""


def claim_calls(hub: str, state: DealState) -> list[Call]:
    """The transactions that take back everything that an overdue deal still locks; anybody may send them.

    Raises:
        UsageError: the deadline has not passed, or nothing is left.
    """
    if not state.open_tasks:
        raise UsageError(f"Deal {state.deal_id} is over: nothing is left to claim.")
    if state.now < state.deadline:
        raise UsageError(
            f"Deal {state.deal_id} still has {state.deadline - state.now} s until its deadline. Claim it after that."
        )
    unset = [index for index, status in state.statuses.items() if status is TaskStatus.UNSET]
    begun = [index for index, status in state.statuses.items() if status in (TaskStatus.ACTIVE, TaskStatus.REVEALING)]
    found = [calls.claim(hub, run) for run, _, _ in state.open_runs]
    if state.unopened:
        found.append(calls.refund_rest(hub, state.deal_id))
    for start in range(0, len(unset), _TASKS_A_CLAIM):
        tasks = [(state.deal_id, index) for index in unset[start : start + _TASKS_A_CLAIM]]
        found.append(calls.initialize_and_claim_array(hub, tasks))
    for start in range(0, len(begun), _TASKS_A_CLAIM):
        ids = [task_id(state.deal_id, index) for index in begun[start : start + _TASKS_A_CLAIM]]
        found.append(calls.claim_array(hub, ids))
    return found


async def claim_bag(chain: Chain, signer: Signer, record: DealRecord, follower: BagFollower) -> Bag:
    """Claim every open run and task of an overdue bag, and refund what was never opened; gives what stands then.

    Raises:
        UsageError: the deadline has not passed, or nothing is left.
    """
    bag = await follower.read(quiet_s=_CATCH_UP_S)
    deal, hub = follower.deal, chain.hub
    if bag.is_over:
        raise UsageError(f"Deal {record.deal_id} is over: nothing is left to claim.")
    timeref = (await chain.view_category(deal.category)).timeref
    wait = deal.start_time + 10 * timeref - (await chain.head()).timestamp
    if wait > 0:
        raise UsageError(f"Deal {record.deal_id} still has {wait} s until its deadline. Claim it after that.")
    for run_id, _, _ in bag.open_runs:
        await _unless_over(chain, signer, calls.claim(hub, run_id))
    lane = await chain.view_lane(record.deal_id)
    end = deal.bot_first + deal.bot_size
    if lane.in_batch_lane and not lane.refunded and lane.cursor < end:
        await _unless_over(chain, signer, calls.refund_rest(hub, record.deal_id))
    in_runs = {index for _, first, count in bag.open_runs for index in range(first, first + count)}
    for index in range(deal.bot_first, lane.cursor if lane.in_batch_lane else end):
        if index not in in_runs and bag.run_of(index) is None:
            await _claim_task(chain, signer, record.deal_id, index)
    return await follower.read(quiet_s=_CATCH_UP_S)


async def plan_materialise(
    chain: Chain, storage: StorageClient, record: DealRecord, follower: BagFollower, index: int
) -> tuple[Call, Materialised]:
    """The call that gives one task of a settled run its own place on chain, and its callback; and what will be there.

    Raises:
        UsageError: the task is not in a settled run (yet).
        VerificationError: the run's results are not what its workers agreed on.
    """
    run = (await follower.read(quiet_s=_CATCH_UP_S)).run_of(index)
    if run is None:
        raise UsageError(
            f"Task {index} of deal {record.deal_id} is in no settled run: it has a place of its own, or none yet."
        )
    results = await fetch_run_results(chain, storage, run, callback=follower.deal.callback != ZERO_ADDRESS)
    task = results.task(index)
    call = calls.materialise(
        chain.hub,
        run.run_id,
        index,
        task.digest,
        results.proof(index),
        run.root,
        to_hex32(keccak(run.results)),
        task.callback or b"",
    )
    return call, Materialised(task_id(record.deal_id, index), run.run_id, task.digest, "")


async def materialise(
    chain: Chain, storage: StorageClient, signer: Signer, record: DealRecord, follower: BagFollower, index: int
) -> Materialised:
    """Carry `plan_materialise` out.

    Raises:
        UsageError, VerificationError: as `plan_materialise`; nothing was sent.
        ContractReverted: the task was materialised before.
    """
    call, made = await plan_materialise(chain, storage, record, follower, index)
    receipt = await chain.transact(call, signer)
    return replace(made, tx_hash=receipt.tx_hash)


async def _claim_task(chain: Chain, signer: Signer, deal_id: str, index: int) -> None:
    task = task_id(deal_id, index)
    status = (await chain.view_task(task)).status
    if status is TaskStatus.UNSET:
        await _unless_over(chain, signer, calls.initialize(chain.hub, deal_id, index))
    if status not in (TaskStatus.COMPLETED, TaskStatus.FAILED):
        await _unless_over(chain, signer, calls.claim(chain.hub, task))


async def _unless_over(chain: Chain, signer: Signer, call: Call) -> None:
    """Send it; the pool's keeper claims, too: who comes second is refused, and has its money all the same."""
    with contextlib.suppress(ContractReverted):
        await chain.transact(call, signer)
