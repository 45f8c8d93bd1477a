"""The pool's figures, read as Prometheus reads them, from pools that really work."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from fairgrid.chain.client import JsonRpcChain
from fairgrid.pool.app import pool_application
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.sponsoring import DebtSums
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.metrics import Metered
from fairgrid.seams.service import serving
from tests.pool.grid import Grid
from tests.pool.scripted import Script, Scripted, all_connected, at_the_door

Figures = dict[tuple[str, ...], float]


async def scrape(url: str) -> Figures:
    """Value by name and label values. A text that Prometheus could not parse raises."""
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{url}/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def measured(grid: Grid) -> Any:
    application = Metered(pool_application(grid.service), grid.service.meter.registry)
    return serving(application)


async def test_figures_tell_what_workers_and_tasks_did(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    workers = [Scripted(grid, f"worker {number}") for number in range(3)]
    async with grid.pool(), measured(grid) as url:
        before = await scrape(url)
        assert before["fairgrid_pool_workers", "idle"] == 0
        async with all_connected(workers):
            task = await grid.task(4)
            await grid.until_status(task, TaskStatus.COMPLETED)
            await grid.until_phase(task, "completed")

            async def all_mined() -> bool:
                seen = await scrape(url)
                return seen["fairgrid_pool_transactions_under_way",] == 0 and seen["fairgrid_pool_connections",] == 3

            await grid.until(all_mined, what="the last receipt")
            after = await scrape(url)
    assert after["fairgrid_pool_leads",] == 1
    assert sum(value for name, value in _of(after, "fairgrid_pool_workers")) == 3
    assert after["fairgrid_pool_tasks", "completed"] == 1
    assert after["fairgrid_pool_tasks_finished_total", "completed"] == 1
    assert after["fairgrid_pool_leases_total", "first"] == 2
    assert after["fairgrid_pool_dispatch_seconds_count",] == 1
    assert after["fairgrid_pool_replica_seconds_count",] == 2
    assert after["fairgrid_pool_commit_seconds_count",] >= 5
    assert after["fairgrid_pool_events_total", "SealReceived"] == 2
    assert after["fairgrid_pool_instructions_total", "Finalize"] == 1
    mined = after["fairgrid_pool_transactions_total", "mined"]
    assert mined == after["fairgrid_pool_transactions_total", "signed"] == 2
    assert after["fairgrid_pool_gas_total",] > 0
    assert after["fairgrid_pool_gas_spent_wei_total",] > after["fairgrid_pool_gas_total",]
    assert after["fairgrid_pool_balance_wei",] > 0
    assert after["fairgrid_websockets",] >= 0
    assert after["fairgrid_pool_queue_age_seconds",] == 0


async def test_a_queue_has_a_depth_and_an_age_and_a_lost_lease_is_replaced(tmp_path: Path) -> None:
    policy = Policy(seal_window_min_s=1_000, reconnect_grace_s=1.0, lease_ttl_s=1_000, max_active_tasks=1)
    grid = Grid(tmp_path, policy=policy)
    lazy, good = Scripted(grid, "lazy", Script(seals=False)), Scripted(grid, "good")
    async with grid.pool(), measured(grid) as url:
        await grid.deal(1, volume=3)

        async def waits() -> bool:
            seen = await scrape(url)
            return seen["fairgrid_pool_tasks_waiting",] == 1 and seen["fairgrid_pool_tasks_unbegun",] == 2

        await grid.until(waits, what="a task without workers")
        await asyncio.sleep(0.2)
        assert (await scrape(url))["fairgrid_pool_queue_age_seconds",] >= 1, "ten of the pool's seconds are one of ours"
        async with lazy.connected():

            async def leased() -> bool:
                return (await scrape(url))["fairgrid_pool_leases_out",] == 1

            await grid.until(leased, what="a lease")
        async with good.connected():

            async def replaced() -> bool:
                seen = await scrape(url)
                return seen["fairgrid_pool_leases_total", "replacement"] == 1

            await grid.until(replaced, what="a replacement")
            assert (await scrape(url))["fairgrid_pool_lease_ends_total", "lost"] == 1


async def test_refused_connections_count_by_why(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(), measured(grid) as url:
        async with at_the_door(grid) as connection:
            await connection.recv()
            await connection.send("{}")
            await connection.wait_closed()
        async with at_the_door(grid) as connection:
            await connection.recv()
            await connection.send(b"\x00")
            await connection.wait_closed()
        seen = await scrape(url)
    assert seen["fairgrid_pool_refused_total", "schema"] == 2


async def test_audits_count_by_outcome(tmp_path: Path) -> None:
    policy = Policy(seal_window_min_s=1_000, lease_ttl_s=1_000, audit_share=1.0)
    grid = Grid(tmp_path, policy=policy)
    workers = [Scripted(grid, f"worker {number}") for number in range(3)]
    async with grid.pool(), measured(grid) as url, all_connected(workers):
        task = await grid.task(1)
        await grid.until_status(task, TaskStatus.COMPLETED)

        async def audited() -> bool:
            return (await scrape(url))["fairgrid_pool_audits_total", "agreed"] >= 1

        await grid.until(audited, what="an audit")


async def test_a_process_that_stands_by_tells_only_that(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        meter = grid.service.meter
    assert meter.measured is None
    names = {family.name for family in meter.registry.collect()}
    assert "fairgrid_pool_leads" in names
    assert "fairgrid_pool_workers" not in names


async def test_labels_name_nobody(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with grid.pool(), measured(grid) as url, worker.connected():
        task = await grid.task(1)
        await grid.until_status(task, TaskStatus.COMPLETED)
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"{url}/metrics")).text
    assert not re.search(r"0x[0-9a-fA-F]{8}", text)
    for family in text_string_to_metric_families(text):
        assert len(family.samples) <= 120, family.name


def _of(figures: Figures, name: str) -> list[tuple[str, float]]:
    return [(key[1], value) for key, value in figures.items() if key[0] == name]


async def test_what_the_node_was_asked_is_told_by_method_and_a_chain_in_memory_was_asked_nothing(
    tmp_path: Path,
) -> None:
    def node(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": json.loads(request.content)["id"], "result": "0x7"})

    grid = Grid(tmp_path)
    async with grid.pool(), measured(grid) as url:
        assert not [value for name, value in _of(await scrape(url), "fairgrid_pool_rpc_calls_total")]
        chain = JsonRpcChain("http://node", chain_id=1, hub=grid.chain.hub, rlc="", transport=httpx.MockTransport(node))
        async with chain:
            for _ in range(3):
                await chain.rpc.request("eth_blockNumber")
            grid.service.figures._chain = chain
            assert _of(await scrape(url), "fairgrid_pool_rpc_calls_total") == [("eth_blockNumber", 3.0)]


async def test_a_pool_whose_workers_owe_nothing_says_so(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(), measured(grid) as url:
        figures = await scrape(url)
        grid.service._repayments.sums = DebtSums(debtors=2, owed_nrlc=70, repaid_nrlc=30)
        owing = await scrape(url)
    names = [f"fairgrid_pool_sponsored_{name}" for name in ("debtors", "owed_nrlc", "repaid_nrlc")]
    assert [figures[name,] for name in names] == [0, 0, 0]
    assert [owing[name,] for name in names] == [2, 70, 30]
