"""Deals by hand: those of a journal as the chain has them, one of anybody, one of signed orders, and taking it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairgrid.chain import calls
from fairgrid.chain.interface import Call, Chain
from fairgrid.client.boost import BoostState, claim_boost_calls, read_boost
from fairgrid.client.claims import claim_calls
from fairgrid.client.funds import DealState, events_until_now, read_deal
from fairgrid.client.journal import DealRecord
from fairgrid.errors import ContractReverted, OrderError, UsageError
from fairgrid.protocol.matching import explain
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder

__all__ = ["KnownDeal", "claim_of", "deals_known", "match_of", "read_any_deal"]


@dataclass(frozen=True, slots=True)
class KnownDeal:
    """A deal of a journal. ``state`` is what the chain says of it; None while its match is not mined."""

    record: DealRecord
    state: DealState | None


async def deals_known(chain: Chain, records: Sequence[DealRecord]) -> list[KnownDeal]:
    """The deals of a journal, each as it stands."""
    batches = [record.block_number for record in records if record.mined and record.batch]
    events = await events_until_now(chain, min(batches)) if batches else []
    return [
        KnownDeal(record, await read_deal(chain, record.deal_id, events) if record.mined else None)
        for record in records
    ]


async def read_any_deal(chain: Chain, deal_id: str, since: int | None) -> DealState | BoostState:
    """A deal of anybody as it stands; ``since`` is a block at or before its match, for those of the batch lane.

    Raises:
        UsageError: the hub does not know it, or it is in the batch lane and ``since`` is None.
    """
    if (boost := await read_boost(chain, deal_id)) is not None:
        return boost
    lane = await chain.view_lane(deal_id)
    if not lane.in_batch_lane:
        return await read_deal(chain, deal_id)
    if since is None:
        raise UsageError(
            f"Deal {deal_id} is in the batch lane and was not made here: its tasks are known by the hub's events only. "
            f"Name the block of its match, or one before, with --from-block."
        )
    return await read_deal(chain, deal_id, await events_until_now(chain, since))


def claim_of(hub: str, state: DealState | BoostState) -> list[Call]:
    """The transactions that take back everything that an overdue deal still locks.

    Raises:
        UsageError: the deadline has not passed, or nothing is left.
    """
    return claim_boost_calls(hub, state) if isinstance(state, BoostState) else claim_calls(hub, state)


async def match_of(
    chain: Chain,
    sender: str,
    app: AppOrder,
    dataset: DatasetOrder | None,
    workerpool: WorkerpoolOrder,
    request: RequestOrder,
) -> tuple[Call, int]:
    """The transaction that matches signed orders, and what each task locks of the requester's escrow (nRLC).

    Raises:
        OrderError: the hub makes no deal of them.
    """
    data = NULL_DATASET_ORDER if dataset is None else dataset
    call = calls.match_orders(chain.hub, app, data, workerpool, request)
    (estimated,) = await chain.estimate([call], sender)
    if isinstance(estimated, ContractReverted):
        raise OrderError(f"These orders make no deal: {explain(estimated.reason)}. Nothing was signed.")
    return call, app.appprice + data.datasetprice + workerpool.workerpoolprice
