"""The pool dies at every point around a transaction, and comes back: nothing is lost, and nothing is sent twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain.interface import Call, SignedTransaction
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import ContractReverted, TransactionFailed
from fairgrid.pool.store import EffectStatus, PoolStore, StoredEffect
from fairgrid.protocol.views import TaskStatus
from fairgrid.wallet.signer import Signer

from .grid import Grid, Scripted


class _Died(Exception):
    """The process ended here."""


class _Deadly:
    """The chain, but the process dies at one point of one function's first transaction."""

    def __init__(self, chain: ModelChain, function: str, point: str) -> None:
        self._chain = chain
        self._function = function
        self._point = point
        self.sent: list[SignedTransaction] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    async def prepare(self, call: Call, signer: Signer, *, nonce: int | None = None) -> SignedTransaction:
        if self._point == "before signing" and call.function == self._function:
            raise _Died
        return await self._chain.prepare(call, signer, nonce=nonce)

    async def broadcast(self, transaction: SignedTransaction) -> None:
        wanted = transaction.function == self._function
        if wanted:
            self.sent.append(transaction)
        if wanted and self._point == "before sending":
            raise _Died
        await self._chain.broadcast(transaction)
        if wanted and self._point == "after sending":
            raise _Died


def _stored(folder: Path, key: str) -> StoredEffect:
    store = PoolStore.open(folder / "pool.db")
    try:
        effect = store.effect(key)
        assert effect is not None
        return effect
    finally:
        store.close()


@pytest.mark.parametrize("function", ["initialize", "finalize"])
@pytest.mark.parametrize("point", ["before signing", "before sending", "after sending"])
async def test_after_a_crash_the_same_bytes_are_sent_again_and_the_task_completes(
    tmp_path: Path, function: str, point: str
) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    deadly = _Deadly(grid.chain, function, point)
    task = ""
    with pytest.raises(_Died):
        async with grid.pool(chain=deadly), worker.connected():
            task = await grid.task(1)
            await asyncio.sleep(20)
    before = _stored(tmp_path, f"{task}/{function}")
    assert before.status is (EffectStatus.PLANNED if point == "before signing" else EffectStatus.SIGNED)
    watching = _Deadly(grid.chain, function, "never")
    async with grid.pool(chain=watching), worker.connected():
        await grid.until_status(task, TaskStatus.COMPLETED)
        await grid.until_phase(task, "completed")
    if before.transaction is not None:
        assert watching.sent == [before.transaction]
    after = _stored(tmp_path, f"{task}/{function}")
    assert after.attempt == 1
    assert len([event for event in grid.chain.model.events if event.name == "TaskFinalize"]) == 1


class _Refusing(_Deadly):
    """Refuses to prepare a function some times."""

    def __init__(self, chain: ModelChain, function: str, times: int, error: Exception) -> None:
        super().__init__(chain, function, "never")
        self.times = times
        self._error = error

    async def prepare(self, call: Call, signer: Signer, *, nonce: int | None = None) -> SignedTransaction:
        if call.function == self._function and self.times:
            self.times -= 1
            raise self._error
        return await self._chain.prepare(call, signer, nonce=nonce)


@pytest.mark.parametrize(
    "error", [ContractReverted("initialize", "(no data)"), TransactionFailed("initialize", "nonce too low")]
)
async def test_a_refused_transaction_is_tried_again_with_a_new_attempt(tmp_path: Path, error: Exception) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(chain=_Refusing(grid.chain, "initialize", 1, error)):
        task = await grid.task(4)
        await grid.until_status(task, TaskStatus.ACTIVE)
        await grid.until_phase(task, "sealing")
        story = [line.text for line in await grid.service.story(task)]
    assert any("was refused" in text for text in story)
    assert _stored(tmp_path, f"{task}/initialize").attempt == 2


async def test_a_task_that_somebody_else_initialised_is_taken_as_it_is(tmp_path: Path) -> None:
    from fairgrid.chain import calls

    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    deal = await grid.deal(1)
    await grid.chain.transact(calls.initialize(grid.chain.hub, deal, 0), grid.requester)
    async with grid.pool(), worker.connected():
        tasks = (await grid.service.tasks_of_deal(deal, limit=1, offset=0))[1]
        while not tasks:
            await asyncio.sleep(0.05)
            tasks = (await grid.service.tasks_of_deal(deal, limit=1, offset=0))[1]
        await grid.until_status(tasks[0][0], TaskStatus.COMPLETED)
