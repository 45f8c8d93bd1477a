"""A real node takes back ten blocks and more, is exchanged for another, or was rewritten while the pool was away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain.follower import REMEMBERED_BLOCKS
from fairgrid.chain.interface import Chain
from fairgrid.errors import UsageError
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import TaskStatus
from tests.pool.anvil_grid import AnvilGrid, anvil_grid
from tests.pool.scripted import Scripted

POLICY = Policy(
    seal_window_min_s=300,
    lease_ttl_s=1_000,
    restart_grace_s=60,
    fill_wait_s=1_000,
    authorisation_timeout_s=60,
    opening_timeout_s=300,
)


@pytest.fixture
async def grid(anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[AnvilGrid]:
    async with anvil_grid(anvil, tmp_path, policy=POLICY) as opened:
        yield opened


class Fork:
    """Goes back to where it was made, and plays what was sent since then again, in other blocks with other times."""

    def __init__(self, grid: AnvilGrid) -> None:
        self._grid = grid
        self._anvil = grid.anvil
        self._first = int(self._anvil.request("eth_blockNumber"), 16)
        self._snapshot = self._anvil.request("evm_snapshot")

    @property
    def depth(self) -> int:
        return int(self._anvil.request("eth_blockNumber"), 16) - self._first

    def take_back(self, *, replay: bool = True, pools_too: bool = False) -> int:
        """Gives the depth. The pool's own transactions are lost unless they are played again too."""
        depth = self.depth
        raws = list(self._sent(pools_too)) if replay else []
        assert self._anvil.request("evm_revert", self._snapshot)
        self._anvil.request("anvil_mine", hex(3))
        for raw in raws:
            self._anvil.request("eth_sendRawTransaction", raw)
        return depth

    def _sent(self, pools_too: bool) -> Iterator[str]:
        for number in range(self._first + 1, self._first + self.depth + 1):
            for transaction in self._anvil.request("eth_getBlockByNumber", hex(number), True)["transactions"]:
                if pools_too or transaction["from"].lower() != self._grid.scheduler.address.lower():
                    yield self._anvil.request("eth_getRawTransactionByHash", transaction["hash"])


async def _finishes(grid: AnvilGrid, *tasks: str) -> None:
    for task in tasks:
        await grid.until_status(task, TaskStatus.COMPLETED)
        await grid.until_phase(task, "completed")


def _sent_by_pool(grid: AnvilGrid) -> int:
    return int(grid.anvil.request("eth_getTransactionCount", grid.scheduler.address, "latest"), 16)


async def test_twelve_blocks_taken_back_in_the_middle_of_three_tasks_cost_only_time(grid: AnvilGrid) -> None:
    grid.anvil.request("anvil_mine", hex(20))
    worker = Scripted(grid, "worker")
    async with grid.pool():
        fork = Fork(grid)
        deals = [await grid.deal(1) for _ in range(3)]
        tasks = [task_id(deal, 0) for deal in deals]
        for task in tasks:
            await grid.until_status(task, TaskStatus.ACTIVE)
        grid.anvil.request("anvil_mine", hex(8))
        sent = _sent_by_pool(grid)
        assert fork.take_back() >= 12
        for task in tasks:
            await grid.until_status(task, TaskStatus.ACTIVE)
        assert _sent_by_pool(grid) == sent, [
            line.text for task in tasks for line in await grid.service.inquiries.story(task)
        ]
        await asyncio.sleep(2)  # a scripted worker does not try again what the hub refuses
        async with worker.connected():
            await _finishes(grid, *tasks)
    assert (await grid.chain.view_account(grid.scheduler.address)).locked == 0
    assert (await grid.chain.view_account(worker.address)).locked == 0


async def test_ended_tasks_whose_blocks_are_exchanged_stay_ended_and_nothing_is_sent_twice(grid: AnvilGrid) -> None:
    grid.anvil.request("anvil_mine", hex(20))
    worker = Scripted(grid, "worker")
    async with grid.pool(), worker.connected():
        fork = Fork(grid)
        task = task_id(await grid.deal(1), 0)
        await _finishes(grid, task)
        grid.anvil.request("anvil_mine", hex(10))
        sent = _sent_by_pool(grid)
        assert fork.take_back(pools_too=True) >= 12
        await _finishes(grid, task, task_id(await grid.deal(1), 0))
        assert _sent_by_pool(grid) == 2 * sent


async def test_an_ended_task_that_is_lost_with_its_deal_is_given_up_and_later_ones_go_on(grid: AnvilGrid) -> None:
    grid.anvil.request("anvil_mine", hex(20))
    worker = Scripted(grid, "worker")
    async with grid.pool(), worker.connected():
        fork = Fork(grid)
        lost = task_id(await grid.deal(1), 0)
        await _finishes(grid, lost)
        grid.anvil.request("anvil_mine", hex(10))
        fork.take_back(replay=False)
        await grid.until_phase(lost, "abandoned")
        later = task_id(await grid.deal(1), 0)
        await _finishes(grid, later)


async def test_a_rewrite_deeper_than_events_are_remembered_is_read_again_and_every_task_compared(
    grid: AnvilGrid,
) -> None:
    grid.anvil.request("anvil_mine", hex(20))
    worker = Scripted(grid, "worker")
    async with grid.pool():
        fork = Fork(grid)
        lost = task_id(await grid.deal(1), 0)
        await grid.until_status(lost, TaskStatus.ACTIVE)
        grid.anvil.request("anvil_mine", hex(REMEMBERED_BLOCKS + 40))

        async def read() -> bool:
            return (grid.service._store.position() or 0) >= 0 and grid.service.figures.chain_time > 0

        await grid.until(read)
        first = int(grid.anvil.request("eth_blockNumber"), 16)
        assert fork.take_back(replay=False) > REMEMBERED_BLOCKS
        grid.anvil.request("anvil_mine", hex(first))
        await grid.until_phase(lost, "abandoned")
        new = task_id(await grid.deal(1), 0)
        async with worker.connected():
            await _finishes(grid, new)
    assert await grid.chain.view_deal(lost) is None


async def test_a_rewrite_while_the_pool_was_away_is_noticed_by_the_block_it_remembers(grid: AnvilGrid) -> None:
    grid.anvil.request("anvil_mine", hex(20))
    fork = Fork(grid)
    async with grid.pool():
        lost = task_id(await grid.deal(4), 0)
        await grid.until_phase(lost, "sealing")
        grid.anvil.request("anvil_mine", hex(300))
        later = task_id(await grid.deal(4), 0)
        await grid.until_phase(later, "sealing")

        async def anchored() -> bool:
            await grid.service._watcher._remember_anchor()
            anchor = grid.service._watcher._memory.anchor()
            return anchor is not None and anchor.number > 300

        await grid.until(anchored)
    fork.take_back(replay=False)
    missed = task_id(await grid.deal(4), 0)
    grid.anvil.request("anvil_mine", hex(400))
    async with grid.pool():
        await grid.until_phase(lost, "abandoned")
        await grid.until_status(missed, TaskStatus.ACTIVE)


class Exchanged:
    """The chain, but from some moment on the node is that of another one, which begins with another block."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.exchanged = False
        self.sent = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    async def block_hash(self, number: int) -> str | None:
        return "0x" + "ee" * 32 if self.exchanged else await self._chain.block_hash(number)

    async def broadcast_all(self, transactions: Any) -> Any:
        self.sent += len(transactions)
        return await self._chain.broadcast_all(transactions)


async def test_a_node_that_went_over_to_another_chain_ends_the_pool_before_anything_is_sent(
    grid: AnvilGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairgrid.pool.onchain.watcher.LOCAL_CHAIN_ID", 1)  # as if it were no local chain
    chain = Exchanged(grid.chain)
    with pytest.raises(UsageError, match="this pool's database to one that begins with 0x"):
        async with grid.pool(chain=chain):
            await grid.until_status(task_id(await grid.deal(4), 0), TaskStatus.ACTIVE)
            sent = chain.sent
            chain.exchanged = True
            lost = task_id(await grid.deal(4), 0)
            await grid.until_status(lost, TaskStatus.ACTIVE, seconds=10)
    assert chain.sent == sent
    with pytest.raises(UsageError, match="another --dir"):
        async with grid.pool(chain=chain):
            pass
    async with grid.pool():
        await grid.until_status(lost, TaskStatus.ACTIVE)
