"""`fairgrid pool start`, killed with SIGKILL in the middle of a request or a message, on a real node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairgrid.chain.network import save_network
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.client import PoolClient
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol import pool_messages
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import TaskStatus
from fairgrid.wallet.keys import KeySigner
from fairgrid.wallet.keystore import open_or_create_key
from tests.pool.anvil_grid import AnvilGrid, NodeBetween, anvil_grid
from tests.pool.scripted import Scripted

POINTS = (
    "before sending initialize",
    "after sending finalize",
    "after a receipt",
    "after message authorisation",
    "after message upload_request",
)


class _Gun(NodeBetween):
    """Kills the pool's process at one point, once."""

    def __init__(self, node: str, point: str) -> None:
        super().__init__(node)
        self.point = point
        self.process: subprocess.Popen[str] | None = None
        self.fired = asyncio.Event()

    def at(self, point: str) -> None:
        if point == self.point and not self.fired.is_set():
            assert self.process is not None
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)
            self.fired.set()
            raise ConnectionError("the pool is gone")

    def before(self, function: str) -> None:
        self.at(f"before sending {function}")

    def after(self, function: str) -> None:
        self.at(f"after sending {function}")

    def receipt(self) -> None:
        self.at("after a receipt")


class _Target(Scripted):
    """A worker at whose side a message may be the last one."""

    gun: _Gun

    async def _act(self, message: pool_messages.PoolMessage) -> None:
        with contextlib.suppress(ConnectionError):
            self.gun.at(f"after message {message.kind}")
            await super()._act(message)


@contextlib.asynccontextmanager
async def _process(grid: AnvilGrid, gun: _Gun) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "fairgrid", "pool", "start", "--network", str(grid.folder / "net.json")]
    command += ["--dir", str(grid.folder / "pool"), "--policy", str(grid.folder / "policy.toml")]
    gun.process = process = _started(command, grid.folder / "pool.log")
    assert process.stdout is not None
    try:
        line = await asyncio.to_thread(process.stdout.readline)
        assert line.startswith("ready "), (grid.folder / "pool.log").read_text()[-3_000:]
        grid.url = line.split()[1]
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.communicate, None, 30)


def _started(command: list[str], log: Path) -> subprocess.Popen[str]:
    with log.open("a") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)


def _worker(grid: AnvilGrid, gun: _Gun) -> Scripted:
    worker = _Target(grid, "worker")
    worker.gun = gun
    return worker


@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_process_goes_on_where_it_was_and_every_transaction_is_mined_once(
    module_anvil: AnvilProcess, tmp_path: Path, point: str
) -> None:
    signer = open_or_create_key(tmp_path / "pool")
    assert isinstance(signer, KeySigner)
    (tmp_path / "policy.toml").write_text("reconnect_grace_s = 2\nrestart_grace_s = 3\n")
    async with anvil_grid(module_anvil, tmp_path, policy=Policy(), scheduler=signer) as grid:
        gun = _Gun(module_anvil.rpc_url, point)
        async with gun.serving() as rpc:
            save_network(grid.network(rpc=rpc), tmp_path / "net.json")
            first = grid.anvil.request("eth_blockNumber")
            async with _process(grid, gun), _worker(grid, gun).connected():
                task = task_id(await grid.deal(1), 0)
                async with asyncio.timeout(30):
                    await gun.fired.wait()
            async with _process(grid, gun), _worker(grid, gun).connected(), PoolClient(grid.url) as client:
                await grid.until_status(task, TaskStatus.COMPLETED)

                async def completed() -> bool:
                    return (await client.task(task)).phase == "completed"

                await grid.until(completed)
        assert _of_pool(grid, first) == ["initialize", "finalize"]
        assert (await grid.chain.view_account(signer.address)).locked == 0


def _of_pool(grid: AnvilGrid, first: str) -> list[str]:
    """Functions of the mined transactions of the pool's key, all of which must have succeeded."""
    found = []
    names = NodeBetween("")._selectors
    for number in range(int(first, 16), int(grid.anvil.request("eth_blockNumber"), 16) + 1):
        for transaction in grid.anvil.request("eth_getBlockByNumber", hex(number), True)["transactions"]:
            if transaction["from"].lower() == grid.scheduler.address.lower():
                receipt = grid.anvil.request("eth_getTransactionReceipt", transaction["hash"])
                assert receipt["status"] == "0x1"
                found.append(names[bytes.fromhex(transaction["input"][2:10])])
    return found
