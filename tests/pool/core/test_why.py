"""Why a worker gets no work: each rule is told with its numbers, and no task or other worker is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fairgrid.pool.core.why import why
from fairgrid.pool.core.worker_state import WorkerState
from fairgrid.protocol import pool_messages, worker_messages
from tests.pool.grid import Grid
from tests.pool.scripted import Scripted

IDLE = WorkerState("0xW", "0xO", slots=2, score=0, weight=2, stake=100, free_slots=2, ready=True)


def verdicts(answer: pool_messages.Why) -> dict[str, bool]:
    return {reason.rule: reason.allowed for reason in answer.reasons}


def test_a_worker_without_fault_learns_that_nothing_waits() -> None:
    answer = why(IDLE, ())
    assert answer.waiting_tasks == 0
    assert [rule for rule, allowed in verdicts(answer).items() if not allowed] == ["waiting_tasks"]


def test_each_fault_of_a_worker_is_told() -> None:
    assert not verdicts(why(IDLE, (), banned=True))["banned"]
    assert not verdicts(why(replace(IDLE, ready=False), ()))["ready"]
    assert not verdicts(why(replace(IDLE, free_slots=0), ()))["free_slots"]


async def test_a_connected_worker_that_asks_is_answered_and_learns_which_rule_stands_against_it(
    tmp_path: Path,
) -> None:
    grid = Grid(tmp_path)
    first, poor = Scripted(grid, "first"), Scripted(grid, "poor")

    async with grid.pool(), first.connected(), poor.connected():
        task = await grid.task(4)

        async def both_leased() -> bool:
            return "lease" in first.kinds() and "lease" in poor.kinds()

        await grid.until(both_leased)
        await poor.say(worker_messages.WhyRequest())

        async def answered() -> bool:
            return "why" in poor.kinds()

        await grid.until(answered)
    answer = next(message for message in poor.received if isinstance(message, pool_messages.Why))
    assert not verdicts(answer)["waiting_tasks"] and verdicts(answer)["banned"]
    text = " ".join(reason.text for reason in answer.reasons)
    assert task not in text and first.address not in text


async def test_a_task_that_lacks_workers_counts_as_waiting_and_its_owner_rule_is_told(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    only = Scripted(grid, "only")
    async with grid.pool(), only.connected():
        await grid.task(100)

        async def leased() -> bool:
            return "lease" in only.kinds()

        await grid.until(leased)
        answer = grid.service.why(only.address)
    assert answer.waiting_tasks == 1
    assert not verdicts(answer)["owner"], "its owner has a replica already"
    assert not verdicts(grid.service.why("0x" + "11" * 20))["joined"]
