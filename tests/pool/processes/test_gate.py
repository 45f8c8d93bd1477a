"""A process's turns: it leads, stands by and says who leads; on a real PostgreSQL, with stand-ins for the scheduler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.pool.core.instructions import Claim
from fairgrid.pool.processes.gate import PoolGate
from fairgrid.pool.processes.leadership import Leader, Leadership, LeadershipLost
from fairgrid.pool.records.rows import Commit
from fairgrid.pool.records.store import PoolStore
from fairgrid.seams.clock import SystemClock
from fairgrid.seams.service import serving
from tests.pool.fakes import digest_of
from tests.postgres import PostgresServer


@dataclass
class _Desk:
    """What leads in this test: it answers every request with its process's name, and writes while it leads."""

    name: str
    store: PoolStore
    terms: list[int] = field(default_factory=list)
    drained: int = 0
    fails_with: BaseException | None = None

    @property
    def application(self) -> Starlette:
        async def answer(_: object) -> PlainTextResponse:
            return PlainTextResponse(self.name)

        return Starlette(routes=[Route("/{path:path}", answer)])

    async def drain(self) -> None:
        self.drained += 1

    @asynccontextmanager
    async def lead(self, leader: Leader) -> AsyncIterator[_Desk]:
        if self.fails_with is not None:
            raise self.fails_with
        self.terms.append(leader.epoch)
        await asyncio.to_thread(self.write)
        yield self

    def write(self) -> None:
        task = digest_of(f"{self.name} {len(self.terms)}")
        self.store.commit(Commit(at=1.0, instructions=[Claim(task)]))


@asynccontextmanager
async def _process(database: str, name: str) -> AsyncIterator[tuple[PoolGate, _Desk, str]]:
    store = await asyncio.to_thread(PoolStore.open, database)
    desk = _Desk(name, store)
    try:
        gate = PoolGate(Leadership(store.engine, address=f"http://{name}"), lead=desk.lead, clock=SystemClock())
        async with gate.running(), serving(gate) as url:
            yield gate, desk, url
    finally:
        store.close()


async def _until(condition: object, within_s: float = 8) -> None:
    assert callable(condition)
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_who_stands_by_says_who_leads_and_sends_workers_away(postgres_url: str) -> None:
    async with (
        _process(postgres_url, "first") as (first, _, url),
        _process(postgres_url, "second") as (second, _, other),
    ):
        assert first.leads and not second.leads
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{url}/info")).text == "first"
            refused = await http.get(f"{other}/info")
            health = await http.get(f"{other}/health")
        assert refused.status_code == 503 and refused.headers["retry-after"] == "2"
        assert refused.json()["leader"] == "http://first" and "first leads" in refused.json()["error"]
        assert (health.status_code, health.json()["status"]) == (200, "standing by")
        with pytest.raises(InvalidStatus) as turned:
            await connect(other.replace("http", "ws") + "/worker", proxy=None)
        assert turned.value.response.status_code == 503


async def test_a_handover_lets_the_other_lead_and_not_the_same_again(postgres_url: str) -> None:
    async with (
        _process(postgres_url, "first") as (first, desk, _),
        _process(postgres_url, "second") as (second, other, _),
    ):
        with pytest.raises(UsageError, match="does not lead"):
            await second.hand_over()
        assert (await first.hand_over()).address == "http://second"
        await _until(lambda: second.leads)
        assert desk.drained == 1 and (desk.terms, other.terms) == ([1], [2])
        await asyncio.sleep(1)
        assert second.leads and not first.leads
        with pytest.raises(LeadershipLost):
            await asyncio.to_thread(desk.write)


async def test_nothing_is_handed_over_to_nobody(postgres_url: str) -> None:
    async with _process(postgres_url, "first") as (first, _, _):
        with pytest.raises(UsageError, match="No other process"):
            await first.hand_over()
        assert first.leads


async def test_a_leader_that_lost_its_session_stops_and_another_goes_on(postgres_url: str) -> None:
    async with (
        _process(postgres_url, "first") as (first, desk, _),
        _process(postgres_url, "second") as (second, other, _),
    ):
        with second._leadership.unfenced() as connection:
            ended = connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            ).all()
        assert len(ended) == 1
        await _until(lambda: sorted(desk.terms + other.terms) == [1, 2] and first.leads != second.leads)


async def test_a_database_that_comes_back_is_taken_up_again_without_hands(postgres: PostgresServer) -> None:
    with postgres.fresh_database() as url:
        async with _process(url, "first") as (first, desk, _):
            await asyncio.to_thread(postgres.kill)
            try:
                await _until(lambda: not first.leads)
            finally:
                await asyncio.to_thread(postgres.start)
            await _until(lambda: first.leads, within_s=20)
            assert desk.terms == [1, 2]


async def test_what_fails_at_the_first_start_ends_the_process(postgres_url: str) -> None:
    store = await asyncio.to_thread(PoolStore.open, postgres_url)
    desk = _Desk("first", store, fails_with=ServiceUnavailable("chain", "http://chain", "it is down"))
    gate = PoolGate(Leadership(store.engine, address="http://first"), lead=desk.lead, clock=SystemClock())
    with pytest.raises(ServiceUnavailable, match="it is down"):
        async with gate.running():
            pass
    store.close()


async def test_what_fails_later_for_good_ends_the_process_with_its_error(postgres_url: str) -> None:
    with pytest.raises(UsageError, match="no more"):
        async with _process(postgres_url, "first") as (first, desk, _):
            desk.fails_with = UsageError("It can be done no more.")
            with contextlib.suppress(LeadershipLost):
                first._leadership.resign()
            await asyncio.sleep(30)
