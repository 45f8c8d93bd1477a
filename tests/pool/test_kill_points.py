"""The pool dies before it sends, after it sent, and after the answer came, for every kind of instruction there is.

Afterwards it starts again on what it had stored: the task ends, each effect is on the chain exactly once, and the
balances add up.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.pool.app import pool_application
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol.runs import unit_id
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.wire import MAX_FRAME_BYTES
from fairgrid.seams.service import serving

from .grid import FastClock, Grid
from .kill_points import (
    DELIVERED,
    FAST,
    KINDS,
    POINTS,
    SCENARIOS,
    SETTLED,
    Died,
    Killer,
    KillingChain,
    KillingStorage,
    KillingStore,
    Scenario,
    policy_of,
    watched,
)
from .scripted import all_connected

BEGINS_AND_ENDS = {
    False: (
        "TaskInitialize",
        "initialize",
        {TaskStatus.COMPLETED: ("TaskFinalize", "finalize"), TaskStatus.FAILED: ("TaskClaimed", "claim")},
    ),
    True: (
        "RunOpen",
        "openrun",
        {
            TaskStatus.COMPLETED: ("RunFinalize", "finalizerun"),
            TaskStatus.FAILED: ("TaskClaimed", "claim"),
            TaskStatus.SPLIT: ("RunSplit", "splitrun"),
        },
    ),
}
"""Of a task and of a run: event and transaction that begin it, and those that end it."""

FAST_KINDS = ("Initialize", "SendLease", "RequestUpload", "VerifyUpload", "SendAuthorisation", "SendDone")
"""Instructions of a task that its only worker contributes and finalizes in one transaction."""

SETTLED_KINDS = ("SendLease", "RequestUpload", "VerifyUpload", "SendAuthorisation", "SendDone")
"""Instructions of a run that its only worker opens and ends in one transaction."""

CASES = [(kind.__name__, point) for kind in KINDS for point in POINTS]


def test_every_kind_of_instruction_has_its_kill_points(capsys: pytest.CaptureFixture[str]) -> None:
    names = {kind.__name__ for kind in KINDS}
    missing = sorted(name for name in names if name not in SCENARIOS or name not in DELIVERED)
    assert not missing, f"give these instructions a scenario and a delivery in tests/pool/kill_points.py: {missing}"
    gone = sorted((set(SCENARIOS) | set(DELIVERED)) - names)
    assert not gone, f"these are no instructions any more: {gone}"
    with capsys.disabled():
        sys.stdout.write(
            f"\nkill points of the pool: {len(CASES)} ({len(names)} instructions, {len(POINTS)} points each)\n"
        )


@pytest.mark.parametrize(("kind", "point"), CASES)
async def test_killed_around_an_instruction_the_pool_goes_on_and_everything_happens_exactly_once(
    tmp_path: Path, kind: str, point: str
) -> None:
    await _killed_and_ended(tmp_path, SCENARIOS[kind], kind, point)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", FAST_KINDS)
async def test_killed_around_the_fast_path_the_pool_goes_on_and_everything_happens_exactly_once(
    tmp_path: Path, kind: str, point: str
) -> None:
    await _killed_and_ended(tmp_path, FAST, kind, point)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", SETTLED_KINDS)
async def test_killed_around_a_run_that_is_settled_at_once_the_pool_goes_on_and_everything_happens_exactly_once(
    tmp_path: Path, kind: str, point: str
) -> None:
    await _killed_and_ended(tmp_path, SETTLED, kind, point)


async def _killed_and_ended(folder: Path, scenario: Scenario, kind: str, point: str) -> None:
    grid = Grid(folder)
    grid.policy = policy_of(grid.policy)
    if scenario.audited:
        grid.policy = replace(grid.policy, audit_share=1.0, audit_payment_nrlc=1)
    killer = Killer(kind, point)
    deal = await _until_it_dies(grid, scenario, killer)
    assert killer.is_dead, f"the pool never came to {point} of {kind}"
    task = _unit(deal, scenario)
    async with grid.pool(), all_connected(scenario.workers(grid)):
        await grid.until_status(task, scenario.ends)
        await grid.until_phase(task, scenario.ends.name.lower())
        if scenario.audited:
            await grid.until(lambda: _has_paid(grid), what="the auditor's payment")
        if "refundRest" in scenario.also:
            await grid.until_phase(deal, "failed")
    _assert_exactly_once(grid, task, scenario)


async def _has_paid(grid: Grid) -> bool:
    made = [transaction for block in grid.chain._blocks for transaction in block.transactions]
    return any(one.function == "transfer" and one.sender == grid.scheduler.address for one in made)


def _unit(deal: str, scenario: Scenario) -> str:
    """What the scenario is the life of: the deal's first task, or its first run."""
    return unit_id(deal, 0, scenario.run)


async def _until_it_dies(grid: Grid, scenario: Scenario, killer: Killer) -> str:
    KillingStore.killer = killer
    store = KillingStore.open(grid.folder / "pool.db")
    deal = ""
    try:
        async with (
            _killed_pool(grid, store, killer),
            all_connected([watched(worker, killer) for worker in scenario.workers(grid)]),
        ):
            params = await grid.params((), ("0x" + "12" * 32,)) if scenario.waits else "{}"
            tag = f"0x{LANE_MASK if scenario.run else 0:064x}"
            deal = await grid.deal(scenario.trust, volume=scenario.tasks, tag=tag, params=params)
            if scenario.skips_s:
                await _past(grid, _unit(deal, scenario), scenario, killer)
            async with asyncio.timeout(25):
                await killer.died.wait()
            raise Died
    except* Died:
        pass
    finally:
        store.close()
    return deal


async def _past(grid: Grid, task: str, scenario: Scenario, killer: Killer) -> None:
    async def so_far() -> bool:
        return killer.is_dead or (await grid.chain.view_task(task)).status >= scenario.skips_at

    await grid.until(so_far)
    grid.chain.skip(scenario.skips_s)


@contextlib.asynccontextmanager
async def _killed_pool(grid: Grid, store: PoolStore, killer: Killer) -> AsyncIterator[None]:
    service = PoolService(
        chain=KillingChain(grid.chain, killer),
        signer=grid.scheduler,
        workerpool=grid.workerpool,
        store=store,
        storage=KillingStorage(grid.storage, killer),  # type: ignore[arg-type]
        policy=grid.policy,
        clock=FastClock(),
        scratch=grid.folder / "uploads",
    )
    async with service.running() as grid.service:
        async with serving(pool_application(service), ws_max_size=MAX_FRAME_BYTES) as grid.url:
            yield


def _assert_exactly_once(grid: Grid, task: str, scenario: Scenario) -> None:
    model = grid.chain.model
    happened = [
        event.name for event in model.events if task in (event.arguments.get("taskid"), event.arguments.get("runid"))
    ]
    beginning, begin, endings = BEGINS_AND_ENDS[bool(scenario.run)]
    ending, end = endings[scenario.ends]
    assert happened.count(beginning) == 1
    assert [name for name in happened if name in dict(endings.values())] == [ending]
    mine = [
        transaction
        for block in grid.chain._blocks
        for transaction in block.transactions
        if transaction.sender == grid.scheduler.address
    ]
    functions = [transaction.function for transaction in mine]
    assert sorted(function.lower() for function in functions) == sorted(
        [
            *([] if scenario.fast and scenario.run else [begin]),
            *([] if scenario.fast else [end]),
            *(name.lower() for name in scenario.also),
        ]
    )
    assert all(grid.chain._receipts[transaction.hash].succeeded for transaction in mine)
    assert [transaction.nonce for transaction in mine] == list(range(len(mine)))
    assert sum(model.balance_of(account) for account in model.accounts) == model.total_supply
    assert model.total_supply <= model.token.balance_of(model.address)
    assert sum(model.frozen_of(account) for account in model.accounts) == model.balance_of(model.address)
    if scenario.ends is TaskStatus.COMPLETED:  # a claim leaves the stake of the pool in the kitty
        assert model.balance_of(model.address) == 0
