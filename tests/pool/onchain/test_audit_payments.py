"""What auditors earn reaches them on chain, once, also when the pool has nothing to pay with at first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.chain import calls
from fairgrid.pool.records.ledger import Ledger
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import TaskStatus
from tests.pool.grid import Grid
from tests.pool.scripted import Scripted, all_connected


def _transfers(grid: Grid) -> list[str]:
    made = [transaction for block in grid.chain._blocks for transaction in block.transactions]
    return [one.hash for one in made if one.function == "transfer" and one.sender == grid.scheduler.address]


async def test_an_auditor_is_paid_as_soon_as_the_pool_has_the_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairgrid.pool.errands._PAY_AGAIN_S", 2.0)
    grid = Grid(tmp_path)
    grid.policy = replace(grid.policy, audit_share=1.0, audit_payment_nrlc=1)
    workers = [Scripted(grid, "worker"), Scripted(grid, "auditor")]
    before = {worker.address: (await grid.chain.view_account(worker.address)).stake for worker in workers}
    deal = await grid.deal(1)
    free = (await grid.chain.view_account(grid.scheduler.address)).stake
    await grid.chain.transact(calls.withdraw(grid.chain.hub, free), grid.scheduler)
    async with grid.pool(), all_connected(workers):
        task = task_id(deal, 0)
        await grid.until_status(task, TaskStatus.COMPLETED)
        assert sum(standing.payments for standing in grid.service.machine.standings.values()) == 1
        grid.deposit(grid.scheduler.address)

        async def paid() -> bool:
            return bool(_transfers(grid))

        await grid.until(paid, what="the payment")
        (auditor,) = [standing for standing in grid.service.machine.standings.values() if standing.payments]
        account = await grid.chain.view_account(auditor.worker)
        assert account.stake - before[auditor.worker] == auditor.paid_nrlc > 0
        assert auditor.owed_nrlc == 0
        (effect,) = Ledger(grid.service._store.engine).effects([f"{auditor.worker}/audits/0"]).values()
        assert effect.attempt > 1, "it was refused at first"
    async with grid.pool(), all_connected([Scripted(grid, "worker"), Scripted(grid, "auditor")]):
        await grid.service._clock.sleep(20)
    assert len(_transfers(grid)) == 1
