"""The chain takes blocks back under a working pool; chain facts win."""

from __future__ import annotations

from pathlib import Path

from fairgrid.chain import calls
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol.views import TaskStatus
from tests.pool.grid import Grid
from tests.pool.scripted import Script, Scripted


async def test_an_initialisation_that_is_taken_back_and_dropped_is_sent_again(tmp_path: Path) -> None:
    grid = Grid(tmp_path, keep_states=5)
    worker = Scripted(grid, "worker")
    grid.chain.mine()
    async with grid.pool():
        task = await grid.task(1)
        await grid.until_phase(task, "sealing")
        grid.chain.reorganise(1, drop=True)
        await grid.until_status(task, TaskStatus.ACTIVE)
        async with worker.connected():
            await grid.until_status(task, TaskStatus.COMPLETED)
        story = " ".join(line.text for line in await grid.service.inquiries.story(task))
    assert "took a step back" in story


async def test_a_deal_that_is_taken_back_for_good_is_abandoned_without_a_transaction(tmp_path: Path) -> None:
    grid = Grid(tmp_path, keep_states=5)
    grid.chain.mine()
    async with grid.pool():
        task = await grid.task(1)
        await grid.until_phase(task, "sealing")
        grid.chain.reorganise(2, drop=True)
        await grid.until_phase(task, "abandoned")
        assert await grid.chain.view_deal((await grid.service.inquiries.task(task)).state.deal.deal_id) is None  # type: ignore[union-attr]


async def test_with_confirmations_nothing_is_believed_before_enough_blocks_lie_above(tmp_path: Path) -> None:
    grid = Grid(tmp_path, policy=Policy(confirmations=3, seal_window_min_s=1_000, lease_ttl_s=1_000))
    worker = Scripted(grid, "worker")
    async with grid.pool(), worker.connected():
        deal = await grid.deal(1)
        for _ in range(2):
            grid.chain.mine()
        await grid.service._errands.reconcile("0x" + "00" * 32)
        assert await grid.service.inquiries.tasks_of_deal(deal, limit=1, offset=0) == (0, [])
        grid.chain.mine()

        async def known() -> bool:
            return (await grid.service.inquiries.tasks_of_deal(deal, limit=1, offset=0))[0] == 1

        await grid.until(known)
        task = (await grid.service.inquiries.tasks_of_deal(deal, limit=1, offset=0))[1][0][0]

        async def completed() -> bool:
            grid.chain.mine()
            return (await grid.chain.view_task(task)).status is TaskStatus.COMPLETED

        await grid.until(completed)


async def test_with_confirmations_a_mined_contribution_is_told_ahead_and_taken_back_with_its_block(
    tmp_path: Path,
) -> None:
    policy = Policy(confirmations=3, seal_window_min_s=1_000, lease_ttl_s=1_000, authorisation_timeout_s=1_000)
    grid = Grid(tmp_path, policy=policy, keep_states=5)
    worker = Scripted(grid, "worker", Script(reveals_after_s=1_000))
    async with grid.pool(), worker.connected():
        task = await grid.task(1)

        async def ahead() -> bool:
            if not (await grid.chain.view_task(task)).contributors:
                grid.chain.mine()
            live = grid.service.machine.tasks.get(task)
            return live is not None and [seen.worker for seen in live.ahead] == [worker.address]

        await grid.until(ahead)
        assert not grid.service.machine.tasks[task].facts.contributions
        grid.chain.reorganise(1, drop=True)

        async def undone() -> bool:
            return not grid.service.machine.tasks[task].ahead

        await grid.until(undone)
        assert grid.service.machine.tasks[task].has(ReplicaPhase.AUTHORISED)


async def test_events_missed_while_the_pool_was_away_are_made_up_for(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        task = await grid.task(1)
        await grid.until_phase(task, "sealing")
    grid.chain.skip(3_000)
    await grid.chain.transact(calls.claim(grid.chain.hub, task), grid.requester)
    later = await grid.task(4)
    async with grid.pool():
        await grid.until_phase(task, "failed")
        await grid.until_status(later, TaskStatus.ACTIVE)
