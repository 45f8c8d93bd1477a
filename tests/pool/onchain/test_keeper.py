"""Strangers' stuck tasks: refunded after their final deadline, in batches, and within the day's gas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.chain import calls
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.views import TaskStatus
from tests.pool.grid import Grid, key


async def _stranded(grid: Grid, volume: int) -> list[str]:
    """A bag of another workerpool, which begins its first task and is never heard of again."""
    own = grid.workerpool, grid.scheduler
    grid.scheduler = key("stranger")
    grid.deposit(grid.scheduler.address)
    grid.workerpool = grid.chain.model.registries.workerpools.create(grid.scheduler.address, "gone")
    grid.chain.mine()
    deal = await grid.deal(1, volume=volume)
    await grid.chain.transact(calls.initialize(grid.chain.hub, deal, 0), grid.requester)
    grid.workerpool, grid.scheduler = own
    return [task_id(deal, index) for index in range(volume)]


async def _statuses(grid: Grid, tasks: list[str]) -> set[TaskStatus]:
    return {view.status for view in await grid.chain.view_tasks(tasks)}


@pytest.mark.parametrize("gas", [10_000_000, 0])
async def test_tasks_of_a_pool_that_is_gone_are_refunded_if_the_policy_gives_gas(tmp_path: Path, gas: int) -> None:
    grid = Grid(tmp_path)
    grid.policy = replace(grid.policy, keeper_gas_per_day=gas)
    tasks = await _stranded(grid, 5)
    before = (await grid.chain.view_account(grid.requester.address)).locked
    async with grid.pool():
        await grid.service._clock.sleep(20)
        await grid.service._keeper.round()
        assert await _statuses(grid, tasks) == {TaskStatus.ACTIVE, TaskStatus.UNSET}
        grid.chain.skip(100_000)
        await grid.service._clock.sleep(20)
        await grid.service._keeper.round()
        ended = await _statuses(grid, tasks)
    assert before > 0
    if gas:
        assert ended == {TaskStatus.FAILED}
        assert (await grid.chain.view_account(grid.requester.address)).locked == 0
    else:
        assert ended == {TaskStatus.ACTIVE, TaskStatus.UNSET}


async def test_the_days_gas_is_not_exceeded_and_the_next_day_goes_on(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    grid.policy = replace(grid.policy, keeper_gas_per_day=250_000)
    tasks = await _stranded(grid, 3)
    async with grid.pool():
        grid.chain.skip(100_000)
        await grid.service._clock.sleep(20)
        await grid.service._keeper.round()
        assert await _statuses(grid, tasks) == {TaskStatus.FAILED, TaskStatus.UNSET}
        grid.chain.skip(90_000)
        await grid.service._clock.sleep(20)
        await grid.service._keeper.round()
        assert await _statuses(grid, tasks) == {TaskStatus.FAILED}


async def test_runs_of_a_pool_that_is_gone_are_claimed_and_the_rest_refunded_in_one_step(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    grid.policy = replace(grid.policy, keeper_gas_per_day=10_000_000)
    own = grid.workerpool, grid.scheduler
    grid.scheduler = key("stranger")
    grid.deposit(grid.scheduler.address)
    grid.workerpool = grid.chain.model.registries.workerpools.create(grid.scheduler.address, "gone")
    grid.chain.mine()
    deal = await grid.deal(1, volume=9, tag=f"0x{LANE_MASK:064x}")
    await grid.chain.transact(calls.open_run(grid.chain.hub, deal, 3), grid.scheduler)
    await grid.chain.transact(calls.initialize(grid.chain.hub, deal, 3), grid.scheduler)
    units = [run_id(deal, 0, 3), task_id(deal, 3)]
    grid.workerpool, grid.scheduler = own
    async with grid.pool():
        await grid.service._clock.sleep(20)
        await grid.service._keeper.round()
        assert await _statuses(grid, units) == {TaskStatus.ACTIVE}
        grid.chain.skip(100_000)
        await grid.service._clock.sleep(20)
        await grid.service._keeper.round()
        assert await _statuses(grid, units) == {TaskStatus.FAILED}
        assert (await grid.chain.view_lane(deal)).refunded
        assert (await grid.chain.view_account(grid.requester.address)).locked == 0
        sent = [made.function for block in grid.chain._blocks for made in block.transactions]
        grid.chain.skip(1_000)
        await grid.service._clock.sleep(20)
        await grid.service._keeper.round()
        assert [made.function for block in grid.chain._blocks for made in block.transactions] == sent
    assert sent.count("refundRest") == 1
