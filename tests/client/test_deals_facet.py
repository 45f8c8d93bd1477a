"""`client.deals`: orders become a deal, the deal is shown and found, and its money comes back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fairgrid.client.facets.deals import Deals
from fairgrid.client.funds import DealState, Role
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.errors import OrderError, UsageError
from fairgrid.wallet.keys import KeySigner
from tests.market.grid import Grid


@pytest.fixture
async def grid() -> Grid:
    return await Grid.made()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def deals_of(grid: Grid, journal: Journal, signer: KeySigner | None = None) -> Deals:
    return Deals(grid.chain, journal, signer or grid.requester)


def noted(journal: Journal, deal_id: str, *, mined: bool = True, job: str = "job.py") -> DealRecord:
    """The deal in the journal, as `Client.sign` and `Client.match` leave it."""
    record = DealRecord(
        deal_id=deal_id,
        task_ids=(),
        manifest_cid="bafy",
        job_name=job,
        trust=1,
        price=48,
        match_tx="0x",
        match_raw="0x",
        block_number=1 if mined else 0,
        started_at=time.time(),
        tasks=4,
    )
    journal.write(record)
    return record


async def test_signed_orders_become_a_deal_whose_money_is_locked_and_explained(grid: Grid, journal: Journal) -> None:
    deals = deals_of(grid, journal)
    made = await deals.make(grid.app_order(), grid.workerpool_order(), grid.request_order())
    assert (made.tasks, made.price) == (4, 12) and made.tx_hash.startswith("0x")
    assert (await grid.chain.view_account(grid.requester.address)).locked == 48
    state = await deals.show(made.deal_id)
    assert isinstance(state, DealState)
    assert (state.deal.requester, state.open_tasks, state.price) == (grid.requester.address, 4, 12)
    funds = await deals.funds(from_block=0)
    assert [(lock.role, lock.deal_id, lock.amount) for lock in funds.locks] == [(Role.PAYER, made.deal_id, 48)]
    assert (await deals.funds()).unexplained == 48


async def test_a_deal_with_a_data_set_costs_that_too(grid: Grid, journal: Journal) -> None:
    request = grid.request_order(dataset=grid.dataset, datasetmaxprice=3)
    orders = (grid.app_order(), grid.workerpool_order(), request)
    with pytest.raises(OrderError, match="These orders make no deal"):
        await deals_of(grid, journal).make(*orders)
    made = await deals_of(grid, journal).make(*orders, dataset=grid.dataset_order())
    assert made.price == 15


async def test_orders_that_do_not_fit_are_refused_with_the_hubs_reason_and_lock_nothing(
    grid: Grid, journal: Journal
) -> None:
    with pytest.raises(OrderError, match=r"make no deal: .* Nothing was signed"):
        await deals_of(grid, journal).make(grid.app_order(price=6), grid.workerpool_order(), grid.request_order())
    assert (await grid.chain.view_account(grid.requester.address)).locked == 0


async def test_ones_own_deals_are_listed_with_what_the_chain_says(grid: Grid, journal: Journal) -> None:
    deals = deals_of(grid, journal)
    assert await deals.mine() == []
    made = await deals.make(grid.app_order(), grid.workerpool_order(), grid.request_order())
    mined = noted(journal, made.deal_id)
    waiting = noted(journal, "0x" + "ab" * 32, mined=False)
    known = {entry.record.deal_id: entry.state for entry in await deals.mine()}
    assert known[waiting.deal_id] is None
    state = known[mined.deal_id]
    assert state is not None and state.open_tasks == 4
    assert await deals.show(made.deal_id[:14]) == await deals.show(made.deal_id) == state


async def test_an_overdue_deal_is_claimed_by_anybody_and_the_payer_has_its_money(grid: Grid, journal: Journal) -> None:
    made = await deals_of(grid, journal).make(grid.app_order(), grid.workerpool_order(), grid.request_order())
    stranger = deals_of(grid, journal, grid.stranger)
    with pytest.raises(UsageError, match="until its deadline"):
        await stranger.claim(made.deal_id)
    state = await stranger.show(made.deal_id)
    grid.chain.skip(state.deadline - state.now)
    claimed = await stranger.claim(made.deal_id)
    assert (claimed.payer, claimed.tasks, claimed.amount) == (grid.requester.address, 4, 48)
    assert claimed.tx_hashes
    assert (await grid.chain.view_account(grid.requester.address)).locked == 0
    with pytest.raises(UsageError, match="nothing is left"):
        await stranger.claim(made.deal_id)


async def test_a_deal_that_nobody_made_is_unknown(grid: Grid, journal: Journal) -> None:
    for name in ("0x" + "cd" * 32, "last"):
        with pytest.raises(UsageError):
            await deals_of(grid, journal).show(name)
