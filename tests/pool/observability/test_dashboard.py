"""Live numbers: what they say, that many may look on, and that the page brings everything it needs along."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx

from fairgrid.pool.core.events import WorkerJoined, WorkerReady
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.sponsoring import DebtSums
from fairgrid.pool.observability.dashboard import Dashboard, Totals
from fairgrid.pool.observability.numbers import PoolNumbers, numbers_of
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import address
from tests.pool.grid import PRICE, Grid
from tests.pool.scripted import Scripted, all_connected
from tests.pool.support import IDENTITY


class Pool:
    """A pool with as many workers as are wanted."""

    transactions_under_way = 0
    chain_silence_s = 0.0
    chain_time = 1
    debts = DebtSums(debtors=2, owed_nrlc=70, repaid_nrlc=30)

    def __init__(self, workers: int) -> None:
        self.machine = PoolMachine(IDENTITY, Policy())
        self.totals = Totals()
        self.at = 1_000.0
        for number in range(workers):
            worker = address(f"worker {number}")
            self.machine.handle(WorkerJoined(worker, worker, 2, 0, 1_000), now=1.0)
            self.machine.handle(WorkerReady(worker, (), 2), now=1.0)

    def numbers(self) -> PoolNumbers:
        return numbers_of(self.machine, now=self.at)

    def now(self) -> float:
        return self.at


def board(pool: Pool) -> Dashboard:
    return Dashboard(pool, sleep=asyncio.sleep)


def test_rates_are_those_of_the_last_minute() -> None:
    pool = Pool(0)
    dashboard = board(pool)
    for second in range(0, 200, 2):
        pool.at = 1_000.0 + second
        pool.totals.completed += 10 if second >= 100 else 0
        pool.totals.paid_nrlc += 7
        dashboard.sample()
    document = dashboard.document()
    assert document["tasksPerS"] == 5.0
    told = (document["debtors"], document["sponsoredOwedNrlc"], document["sponsoredRepaidNrlc"])
    assert told == (2, "70", "30")
    assert document["paidNrlcPerHour"] == str(round(7 / 2 * 3_600))
    history = document["history"]
    assert {len(values) for values in history.values()} == {100}
    assert history["tasksPerS"][10] == 0 and history["tasksPerS"][-1] == 5.0


def test_ten_thousand_workers_are_counted_in_a_moment_and_the_document_stays_small() -> None:
    pool = Pool(10_000)
    dashboard = board(pool)
    began = time.perf_counter()
    dashboard.sample()
    took = time.perf_counter() - began
    document = dashboard.document()
    assert document["workers"]["idle"] == document["owners"] == 10_000
    assert len(json.dumps(document)) < 2_000
    assert took < 1.0, "every two seconds, on the scheduler's own thread"
    for _ in range(4_000):
        dashboard._samples.append(dashboard._samples[-1])
    assert len(json.dumps(dashboard.document())) < 120_000, "an hour of samples and no more"


async def test_page_numbers_and_stream_tell_what_happens(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(), all_connected([Scripted(grid, "one"), Scripted(grid, "two")]), httpx.AsyncClient() as http:
        task = await grid.task(4)
        async with http.stream("GET", f"{grid.url}/dashboard/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            first = json.loads((await anext(lines)).removeprefix("data: "))
            assert "history" in first
            await grid.until_status(task, TaskStatus.COMPLETED)
            async for line in lines:
                if line and (seen := json.loads(line.removeprefix("data: ")))["completed"] == 1:
                    break
        assert "history" not in seen
        document = (await http.get(f"{grid.url}/dashboard/numbers")).json()
    assert document["paidNrlc"] == str(PRICE)
    assert 0 < int(document["earnedNrlc"]) <= PRICE
    assert sum(document["workers"].values()) == 2
    assert not re.search(r"0x[0-9a-fA-F]{8}", json.dumps(document)), "numbers name nobody"


async def test_spectators_are_limited_and_told(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(), httpx.AsyncClient() as http:
        grid.service.dashboard.spectators = 200
        answer = await http.get(f"{grid.url}/dashboard/events")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert (await http.get(f"{grid.url}/dashboard/numbers")).status_code == 200


async def test_streams_end_when_the_pool_does() -> None:
    dashboard = board(Pool(1))
    keeping = asyncio.create_task(dashboard.keep())
    stream = dashboard.stream()
    assert "history" in await anext(stream)
    following = asyncio.create_task(_all_of(stream))
    await asyncio.sleep(0.05)
    keeping.cancel()
    async with asyncio.timeout(5):
        await following
    assert dashboard.spectators == 0


async def _all_of(stream: Any) -> list[str]:
    return [item async for item in stream]


async def test_the_page_is_self_contained_and_may_do_nothing_else(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(), httpx.AsyncClient() as http:
        page = await http.get(f"{grid.url}/dashboard")
        assets = {
            name: await http.get(f"{grid.url}/{name}") for name in re.findall(r'(?:src|href)="([^"]+)"', page.text)
        }
        missing = await http.get(f"{grid.url}/dashboard/other.js")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert set(assets) == {"dashboard/dashboard.css", "dashboard/dashboard.js"}
    assert all(answer.status_code == 200 for answer in assets.values())
    assert missing.status_code == 404
    for text in (page.text, *(answer.text for answer in assets.values())):
        assert not re.search(r"https?://|//[a-z]+\.|@import|<script>|\son\w+=|innerHTML|eval\(", text)
    named = set(re.findall(r'(?:say\("|byId\("|draw\(")([\w-]+)"', assets["dashboard/dashboard.js"].text))
    assert named <= set(re.findall(r'id="([\w-]+)"', page.text)), "the script fills what the page has"


def test_every_number_that_the_script_reads_is_in_the_document(tmp_path: Path) -> None:
    script = (Path(__file__).parents[3] / "src/fairgrid/pool/observability/pages/dashboard.js").read_text()
    dashboard = board(Pool(1))
    dashboard.sample()
    document = dashboard.document()
    read = set(re.findall(r"numbers\.(\w+)", script))
    assert read <= set(document), read - set(document)
    assert set(re.search(r"history = \{(.*?)\}", script)[1].replace(": []", "").replace(" ", "").split(",")) == set(  # type: ignore[index]
        document["history"]
    )
