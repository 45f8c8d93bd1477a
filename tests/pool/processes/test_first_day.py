"""The first day of a pool, by the commands alone, on a real node: init, register, start, look."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain.network import load_network, save_network
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.core.policy import Policy
from fairgrid.wallet.keystore import open_or_create_key
from tests.pool.anvil_grid import anvil_grid

pytestmark = pytest.mark.timeout(240)


async def _process(*arguments: object) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "fairgrid", "pool", *map(str, arguments)]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)


async def _fairgrid(*arguments: object) -> dict[str, Any]:
    process = await _process(*arguments, "--json")
    output, errors = await process.communicate()
    assert process.returncode == 0, output.decode() + errors.decode()
    return dict(json.loads(output))


async def test_a_pool_is_made_registered_once_started_and_looked_at(anvil: AnvilProcess, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    owner = open_or_create_key(folder)
    async with anvil_grid(anvil, tmp_path, policy=Policy()) as grid:
        grid.deposit(owner.address)
        save_network(grid.network(), tmp_path / "net.json")
        init = (
            "init",
            "--dir",
            folder,
            "--network",
            tmp_path / "net.json",
            "--port",
            0,
            "--price",
            "1000 nRLC",
            "--yes",
        )
        first = await _fairgrid(*init, "--register", "My pool")
        assert first["owner"] == owner.address and first["new"] is True
        where = load_network(folder / "network.json")
        assert where.pool_address != grid.workerpool
        info = await grid.chain.view_workerpool(where.pool_address)
        assert info.owner == owner.address
        again = await _fairgrid(*init, "--register", "My pool")
        assert again["new"] is False and load_network(folder / "network.json") == where

        pool = await _process("start", "--dir", folder)
        try:
            assert pool.stdout is not None and pool.stderr is not None
            ready = (await pool.stdout.readline()).decode()
            assert ready.startswith("ready http://127.0.0.1:"), (await pool.stderr.read()).decode()
            status = (await _fairgrid("status", "--dir", folder))["answer"]
            assert (status["workerpool"], status["gas"]["address"]) == (where.pool_address, owner.address)
            assert status["epoch"] == 1 and status["leader"] == ready.split()[1] and status["draining"] is None
            # There is no market: the pool says so and goes on.
            async for line in pool.stderr:
                if b"the pool's offer cannot be kept on the market now" in line:
                    break
            else:
                pytest.fail("the pool ended without a word on its offer")
        finally:
            pool.terminate()
            _, told = await pool.communicate()
        assert pool.returncode == 0, told.decode()
