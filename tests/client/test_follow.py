"""Waiting for a task, on virtual time: the chain decides, the pool only tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairgrid.client.follow import CHAIN_PATIENCE_S, Ending, follow_task
from fairgrid.client.journal import DealRecord
from fairgrid.client.progress import Phase, Progress
from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.pool.client import PoolClient
from fairgrid.seams.clock import VirtualClock
from tests.client.deals import Deals

FINAL_DEADLINE_S = 10 * 300


@dataclass
class Waiting:
    """A requester that waits, and what it is shown."""

    clock: VirtualClock
    task: asyncio.Task[Ending]
    shown: list[Progress] = field(default_factory=list)

    async def after(self, seconds: float) -> Ending | None:
        """How it ended within so many seconds of its clock; None if it still waits. Raises what it raises."""
        await self.clock.advance(seconds)
        return self.task.result() if self.task.done() else None

    def phase(self) -> Phase:
        """The newest phase that it was shown."""
        return self.shown[-1].phase

    def notes(self) -> list[str]:
        """What it was told, without repetitions."""
        return list(dict.fromkeys(progress.note for progress in self.shown))


PoolAnswer = Callable[[httpx.Request], httpx.Response]


def answers(phase: str, *replicas: dict[str, str]) -> PoolAnswer:
    """A pool that says so of every task."""

    def answer(request: httpx.Request) -> httpx.Response:
        document: dict[str, Any] = {
            "taskId": request.url.path.rpartition("/")[2],
            "dealId": "0x",
            "index": 0,
            "phase": phase,
            "round": 0,
            "trust": 1,
            "contributionDeadline": 0,
            "finalDeadline": 0,
            "createdAt": 0,
            "updatedAt": 0,
            "replicas": list(replicas),
        }
        return httpx.Response(200, content=_pieces(document))

    return answer


def refuses(request: httpx.Request) -> httpx.Response:
    return httpx.Response(404, content=_pieces({"error": "This pool has no such task."}))


async def _pieces(document: dict[str, Any]) -> AsyncIterator[bytes]:
    yield json.dumps(document).encode()


def is_away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody there")


@asynccontextmanager
async def waiting(deals: Deals, record: DealRecord, pool: PoolAnswer) -> AsyncIterator[Waiting]:
    clock = VirtualClock()
    shown: list[Progress] = []
    async with PoolClient("http://pool", transport=httpx.MockTransport(pool), clock=clock) as client:
        following = follow_task(deals.chain, client, record, clock=clock, on_progress=shown.append)
        task = asyncio.create_task(following)
        yield Waiting(clock, task, shown)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def deals(tmp_path: Path) -> Deals:
    return Deals(tmp_path)


async def test_waiting_ends_when_the_task_completes_and_not_before(deals: Deals) -> None:
    record = await deals.record(1)
    async with waiting(deals, record, answers("sealing", {"worker": "1", "phase": "computing"})) as requester:
        assert await requester.after(600) is None
        assert requester.phase() is Phase.WAITING
        assert [(worker.worker, worker.phase) for worker in requester.shown[-1].workers] == [("1", "computing")]
        await deals.initialize(record)
        assert await requester.after(1) is None
        assert (requester.phase(), requester.shown[-1].note) == (Phase.COMPUTING, "sealing")
        worker = deals.worker("quick")
        await deals.contribute(worker, record.task_ids[0])
        assert await requester.after(1) is None
        assert requester.phase() is Phase.REVEALING
        await deals.reveal(worker, record.task_ids[0])
        await deals.finalize(record.task_ids[0])
        assert await requester.after(1) is Ending.COMPLETED


async def test_claimed_task_has_failed(deals: Deals) -> None:
    record = await deals.record(1)
    await deals.initialize(record)
    deals.chain.skip(FINAL_DEADLINE_S)
    await deals.claim(record.task_ids[0])
    async with waiting(deals, record, refuses) as requester:
        assert await requester.after(1) is Ending.FAILED


async def test_task_is_overdue_by_the_chains_time_not_by_ours(deals: Deals) -> None:
    record = await deals.record(1)
    async with waiting(deals, record, refuses) as requester:
        assert await requester.after(2 * FINAL_DEADLINE_S) is None
        deal = await deals.chain.view_deal(record.deal_id)
        assert deal is not None
        last_second = deal.start_time + FINAL_DEADLINE_S - 1
        deals.chain.skip(last_second - (await deals.chain.head()).timestamp)
        assert await requester.after(1) is None
        deals.chain.skip(1)
        assert await requester.after(1) is Ending.OVERDUE


async def test_task_that_completed_late_is_completed_and_not_overdue(deals: Deals) -> None:
    record = await deals.record(1)
    await deals.complete(record)
    deals.chain.skip(2 * FINAL_DEADLINE_S)
    async with waiting(deals, record, refuses) as requester:
        assert await requester.after(1) is Ending.COMPLETED


@pytest.mark.parametrize(("pool", "says"), [(is_away, "does not answer"), (refuses, "has not seen the deal")])
async def test_pool_that_is_away_or_ignorant_is_told_and_waited_for(deals: Deals, pool: PoolAnswer, says: str) -> None:
    record = await deals.record(1)
    async with waiting(deals, record, pool) as requester:
        assert await requester.after(300) is None
        assert says in requester.shown[-1].note
        await deals.complete(record)
        assert await requester.after(10) is Ending.COMPLETED


async def test_chain_that_comes_back_in_time_is_waited_for(deals: Deals) -> None:
    record = await deals.record(1)
    async with waiting(deals, record, answers("sealing")) as requester:
        for _ in range(3):  # patience begins anew each time that the chain answers
            deals.chain.down = True
            assert await requester.after(CHAIN_PATIENCE_S - 5) is None
            deals.chain.down = False
            assert await requester.after(5) is None
        assert "the chain does not answer; waiting for it" in requester.notes()
        await deals.complete(record)
        assert await requester.after(5) is Ending.COMPLETED


async def test_chain_that_stays_away_ends_the_waiting(deals: Deals) -> None:
    record = await deals.record(1)
    async with waiting(deals, record, answers("sealing")) as requester:
        deals.chain.down = True
        assert await requester.after(CHAIN_PATIENCE_S - 5) is None
        with pytest.raises(ServiceUnavailable, match="chain"):
            await requester.after(10)


async def test_deal_of_another_network_is_refused(deals: Deals) -> None:
    record = replace(await deals.record(1), deal_id="0x" + "77" * 32)
    async with waiting(deals, record, refuses) as requester:
        with pytest.raises(UsageError, match="does not know deal"):
            await requester.after(1)
