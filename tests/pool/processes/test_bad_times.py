"""A pool's bad times, on real components: no room on the disk, the database restarting, a node that talks nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from fairgrid.chain.network import save_network
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import TaskStatus
from fairgrid.wallet.keys import KeySigner
from fairgrid.wallet.keystore import open_or_create_key
from tests.pool.anvil_grid import AnvilGrid, NodeBetween, anvil_grid
from tests.pool.processes.test_backup_process import _Pool
from tests.pool.processes.test_kill_process import _of_pool
from tests.pool.scripted import Script, Scripted
from tests.postgres import running_postgres

_PATIENT = "reconnect_grace_s = 120\nrestart_grace_s = 120\nlease_ttl_s = 120\n"


@contextlib.asynccontextmanager
async def _grid(anvil: AnvilProcess, folder: Path) -> AsyncIterator[AnvilGrid]:
    signer = open_or_create_key(folder / "pool")
    assert isinstance(signer, KeySigner)
    (folder / "pool" / "policy.toml").write_text(_PATIENT)
    async with anvil_grid(anvil, folder, policy=Policy(), scheduler=signer) as grid:
        save_network(grid.network(), folder / "net.json")
        yield grid


async def _connected(grid: AnvilGrid, name: str, script: Script | None = None) -> Scripted:
    """A worker that is there for good: it comes again whenever the pool sent it away."""
    worker = Scripted(grid, name, script or Script())

    async def come_again() -> None:
        while True:
            with contextlib.suppress(OSError, AssertionError, Exception):
                async with worker.connected():
                    assert worker.connection is not None
                    await worker.connection.wait_closed()
            await asyncio.sleep(0.2)

    worker_loops.append(asyncio.ensure_future(come_again()))
    return worker


worker_loops: list[asyncio.Future[None]] = []


@contextlib.asynccontextmanager
async def _workers_end() -> AsyncIterator[None]:
    try:
        yield
    finally:
        for loop in worker_loops:
            loop.cancel()
        await asyncio.gather(*worker_loops, return_exceptions=True)
        worker_loops.clear()


@pytest.mark.timeout(240)
async def test_a_full_disk_stops_a_pool_in_the_middle_of_tasks_and_room_lets_it_go_on(
    module_anvil: AnvilProcess, tmp_path: Path
) -> None:
    async with _grid(module_anvil, tmp_path) as grid, _workers_end():
        first = grid.anvil.request("eth_blockNumber")
        pool = _Pool(grid, tmp_path / "pool")
        try:
            await pool.ready()
            await _connected(grid, "worker")
            before = task_id(await grid.deal(1), 0)
            await grid.until_status(before, TaskStatus.COMPLETED, seconds=60)

            # No file of the process may grow any more: every write of the database fails, as on a full disk.
            resource.prlimit(pool.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            task = task_id(await grid.deal(1), 0)
            async with httpx.AsyncClient() as http:

                async def stands_by() -> bool:
                    assert pool.process.poll() is None, (tmp_path / "pool.log").read_text()[-3_000:]
                    return (await http.get(f"{grid.url}/info")).status_code == 503

                await grid.until(stands_by, what="the pool stands by", seconds=60)
                await asyncio.sleep(3)  # it tries again and again, and may not end by that
                assert await stands_by()
            assert (await grid.chain.view_task(task)).status is TaskStatus.UNSET

            resource.prlimit(pool.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await grid.until_status(task, TaskStatus.COMPLETED, seconds=90)
        finally:
            pool.kill()
        assert _of_pool(grid, first) == ["initialize", "finalize"] * 2


async def _said(grid: AnvilGrid, text: str, *, seconds: float = 60) -> None:
    async def said() -> bool:
        return text in (grid.folder / "pool.log").read_text()

    await grid.until(said, what=f"{text!r} in the log", seconds=seconds)


@pytest.mark.timeout(240)
async def test_a_postgresql_that_restarts_while_tasks_run_costs_time_only(
    module_anvil: AnvilProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_postgres(durable=True) as server:
        monkeypatch.setenv("FAIRGRID_POOL_DATABASE", server.url())
        async with _grid(module_anvil, tmp_path) as grid, _workers_end():
            first = grid.anvil.request("eth_blockNumber")
            pool = _Pool(grid, tmp_path / "pool")
            try:
                await pool.ready()
                await _connected(grid, "worker")
                task = task_id(await grid.deal(1), 0)
                await grid.until_status(task, TaskStatus.ACTIVE, seconds=60)
                await asyncio.to_thread(server.kill)
                during = task_id(await grid.deal(1), 0)
                await _said(grid, "stands by")
                assert pool.process.poll() is None
                await asyncio.to_thread(server.start)
                for one in (task, during):
                    await grid.until_status(one, TaskStatus.COMPLETED, seconds=90)
            finally:
                pool.kill()
            assert sorted(_of_pool(grid, first)) == ["finalize", "finalize", "initialize", "initialize"]


class _Mad(NodeBetween):
    """A node that talks nonsense for a while: each answer another way of being wrong."""

    mad = False
    told = 0
    _WAYS: tuple[Any, ...] = (
        b"<html>504</html>",
        b"[" * 50_000,
        b"",
        {"result": "0x"},
        {"result": {"number": "x"}},
        {"result": [None]},
        {"result": -1},
        {"error": {"code": "?", "message": ["\x00"]}},
    )

    async def _answer(self, request: Request) -> Response:
        if not self.mad:
            return await super()._answer(request)
        self.told += 1
        way = self._WAYS[self.told % len(self._WAYS)]
        if isinstance(way, bytes):
            return Response(way, 200, media_type="application/json")
        asked = json.loads(await request.body())
        answers = [
            {"jsonrpc": "2.0", "id": call["id"], **way} for call in (asked if isinstance(asked, list) else [asked])
        ]
        return Response(json.dumps(answers if isinstance(asked, list) else answers[0]), media_type="application/json")


@pytest.mark.timeout(240)
async def test_a_node_that_talks_nonsense_for_a_while_ends_nothing_and_nothing_is_believed(
    module_anvil: AnvilProcess, tmp_path: Path
) -> None:
    async with _grid(module_anvil, tmp_path) as grid, _workers_end():
        between = _Mad(module_anvil.rpc_url)
        async with between.serving() as rpc:
            save_network(grid.network(rpc=rpc), tmp_path / "net.json")
            first = grid.anvil.request("eth_blockNumber")
            pool = _Pool(grid, tmp_path / "pool")
            try:
                await pool.ready()
                await _connected(grid, "worker")
                task = task_id(await grid.deal(1), 0)
                await grid.until_status(task, TaskStatus.ACTIVE, seconds=60)
                between.mad = True

                async def enough() -> bool:
                    return between.told >= 3 * len(between._WAYS)

                await grid.until(enough, what="nonsense", seconds=90)
                assert pool.process.poll() is None, (tmp_path / "pool.log").read_text()[-3_000:]
                between.mad = False
                await grid.until_status(task, TaskStatus.COMPLETED, seconds=90)
            finally:
                pool.kill()
        assert _of_pool(grid, first) == ["initialize", "finalize"]
