"""The pool dies at every point around a transaction, and comes back: nothing is lost, and nothing is sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairgrid.chain.fees import Fees
from fairgrid.chain.interface import Call, SignedTransaction
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import ContractReverted, FundsError, TransactionFailed
from fairgrid.pool.records.ledger import Ledger
from fairgrid.pool.records.ledger_entries import LedgerEffect
from fairgrid.pool.records.rows import EffectStatus
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import TaskStatus
from fairgrid.wallet.signer import Signer
from tests.pool.grid import Grid
from tests.pool.scripted import Scripted


class _Died(Exception):
    """The process ended here."""


class _Deadly:
    """The chain, but the process dies at one point of one function's first transaction."""

    def __init__(self, chain: ModelChain, function: str, point: str) -> None:
        self._chain = chain
        self._function = function
        self._point = point
        self._is_dead = False
        self.sent: list[SignedTransaction] = []

    async def count_transactions(self, address: str, *, pending: bool = False) -> int:
        if self._is_dead:  # no part of the process outlives another: who still looks for receipts finds none
            raise _Died
        return await self._chain.count_transactions(address, pending=pending)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    def sign(self, call: Call, signer: Signer, *, nonce: int, gas: int, fees: Fees) -> SignedTransaction:
        if self._point == "before signing" and call.function == self._function:
            raise _Died
        return self._chain.sign(call, signer, nonce=nonce, gas=gas, fees=fees)

    async def broadcast_all(
        self, transactions: Sequence[SignedTransaction]
    ) -> list[TransactionFailed | FundsError | None]:
        wanted = [transaction for transaction in transactions if transaction.function == self._function]
        self.sent += wanted
        if wanted and self._point == "before sending":
            raise _Died
        refusals = await self._chain.broadcast_all(transactions)
        if wanted and self._point == "after sending":
            self._is_dead = True
            raise _Died
        return refusals


def _stored(folder: Path, key: str) -> LedgerEffect:
    store = PoolStore.open(folder / "pool.db")
    try:
        return Ledger(store.engine).effects([key])[key]
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
    if point == "before sending":
        assert watching.sent == [before.transaction]
    if point == "after sending":  # it was mined while the pool was away: there is nothing to send
        assert watching.sent == []
    after = _stored(tmp_path, f"{task}/{function}")
    assert after.attempt == 1
    assert len([event for event in grid.chain.model.events if event.name == "TaskFinalize"]) == 1


class _Refusing(_Deadly):
    """Refuses to prepare a function some times."""

    def __init__(self, chain: ModelChain, function: str, times: int, error: TransactionFailed) -> None:
        super().__init__(chain, function, "never")
        self.times = times
        self._error = error

    async def estimate(self, calls: Sequence[Call], sender: str) -> list[int | TransactionFailed]:
        found = await self._chain.estimate(calls, sender)
        for place, call in enumerate(calls):
            if call.function == self._function and self.times:
                self.times -= 1
                found[place] = self._error
        return found


@pytest.mark.parametrize(
    "error", [ContractReverted("initialize", "(no data)"), TransactionFailed("initialize", "nonce too low")]
)
async def test_a_refused_transaction_is_tried_again_with_a_new_attempt(
    tmp_path: Path, error: TransactionFailed
) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(chain=_Refusing(grid.chain, "initialize", 1, error)):
        task = await grid.task(4)
        await grid.until_status(task, TaskStatus.ACTIVE)
        await grid.until_phase(task, "sealing")
        story = [line.text for line in await grid.service.inquiries.story(task)]
    assert any("was refused" in text for text in story)
    assert _stored(tmp_path, f"{task}/initialize").attempt == 2


async def test_a_task_that_somebody_else_initialised_is_taken_as_it_is(tmp_path: Path) -> None:
    from fairgrid.chain import calls

    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    deal = await grid.deal(1)
    await grid.chain.transact(calls.initialize(grid.chain.hub, deal, 0), grid.requester)
    async with grid.pool(), worker.connected():
        tasks = (await grid.service.inquiries.tasks_of_deal(deal, limit=1, offset=0))[1]
        while not tasks:
            await asyncio.sleep(0.05)
            tasks = (await grid.service.inquiries.tasks_of_deal(deal, limit=1, offset=0))[1]
        await grid.until_status(tasks[0][0], TaskStatus.COMPLETED)


def _sent_functions(grid: Grid) -> list[str]:
    mined = [transaction for block in grid.chain._blocks for transaction in block.transactions]
    return [transaction.function for transaction in mined if transaction.sender == grid.scheduler.address]


async def test_the_tasks_of_a_bag_begin_in_one_transaction(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        deal = await grid.deal(4, volume=20)
        for index in range(20):
            await grid.until_status(task_id(deal, index), TaskStatus.ACTIVE)
    assert _sent_functions(grid) == ["initializeArray"]


async def test_one_task_that_cannot_begin_does_not_hold_the_others_of_its_bag(tmp_path: Path) -> None:
    grid = Grid(tmp_path)

    class Unwilling(_Deadly):
        """Says that nothing with task 3 of the deal in it can begin, the first four times."""

        times = 4

        async def estimate(self, calls: Sequence[Call], sender: str) -> list[int | TransactionFailed]:
            found = await self._chain.estimate(calls, sender)
            for place, call in enumerate(calls):
                indexes = call.arguments[1] if call.function == "initializeArray" else (call.arguments[1],)
                if 3 in indexes and self.times:
                    self.times -= 1
                    found[place] = ContractReverted(call.function, "(no data)")
            return found

    async with grid.pool(chain=Unwilling(grid.chain, "", "never")):
        deal = await grid.deal(4, volume=6)
        await grid.until_status(task_id(deal, 5), TaskStatus.ACTIVE)
        assert (await grid.chain.view_task(task_id(deal, 3))).status is TaskStatus.UNSET
        for index in range(6):
            await grid.until_status(task_id(deal, index), TaskStatus.ACTIVE)
    assert _sent_functions(grid) == ["initializeArray", "initialize"]
    assert _stored(tmp_path, f"{task_id(deal, 2)}/initialize").attempt == 1
    assert _stored(tmp_path, f"{task_id(deal, 3)}/initialize").attempt > 1


async def test_transactions_wait_while_gas_is_dearer_than_the_cap(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    grid.policy = replace(grid.policy, max_fee_gwei=2.0)
    grid.chain.base_fee_wei = 3 * 10**9
    async with grid.pool():
        task = await grid.task(4)
        await grid.until_phase(task, "initializing")
        await asyncio.sleep(0.5)
        assert _sent_functions(grid) == []
        grid.chain.base_fee_wei = 10**9
        await grid.until_status(task, TaskStatus.ACTIVE)


async def test_coins_that_run_out_are_told_before_and_refused_transactions_are_tried_again_when_there_are_some(
    tmp_path: Path,
) -> None:
    grid = Grid(tmp_path)
    grid.chain.set_balance(grid.scheduler.address, 10**9 * 250_000 * 150)
    async with grid.pool():

        async def low() -> bool:
            async with httpx.AsyncClient(trust_env=False) as http:
                return bool((await http.get(f"{grid.url}/health")).json()["gasMoney"]["low"])

        await grid.until(low, what="the warning")
        assert grid.service.figures.gas_money.transactions_left == 150
        task = await grid.task(4)
        await grid.until_status(task, TaskStatus.ACTIVE)
        grid.chain.set_balance(grid.scheduler.address, 1)
        later = await grid.task(4)

        async def told() -> bool:
            return any("cannot pay the gas" in line.text for line in await grid.service.inquiries.story(later))

        await grid.until(told, what="the reason")
        grid.chain.set_balance(grid.scheduler.address, 10**18)
        await grid.until_status(later, TaskStatus.ACTIVE)
        await grid.until(lambda: _not(low()), what="the end of the warning")


async def _not(answer: Awaitable[bool]) -> bool:
    return not await answer
