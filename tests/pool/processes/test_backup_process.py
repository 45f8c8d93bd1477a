"""An old backup of a pool on a real node: the pool worked on, was killed, is restored, and the chain's facts win."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from fairgrid.chain.network import save_network
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.client import PoolClient
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol import pool_messages, worker_messages
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import TaskStatus
from fairgrid.wallet.keys import KeySigner
from fairgrid.wallet.keystore import open_or_create_key
from tests.pool.anvil_grid import AnvilGrid, anvil_grid
from tests.pool.processes.test_kill_process import _of_pool, _started
from tests.pool.scripted import Script, Scripted, all_connected

_POLICY = "reconnect_grace_s = 2\nrestart_grace_s = 3\n"


class _Pool:
    """`fairgrid pool start` on a folder, until it is killed."""

    def __init__(self, grid: AnvilGrid, folder: Path) -> None:
        command = ["pool", "start", "--network", str(grid.folder / "net.json"), "--dir", str(folder)]
        command += ["--policy", str(folder / "policy.toml")]
        self.process = _started([sys.executable, "-m", "fairgrid", *command], grid.folder / "pool.log")
        self._grid = grid

    async def ready(self) -> None:
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        assert line.startswith("ready "), (self._grid.folder / "pool.log").read_text()[-3_000:]
        self._grid.url = line.split()[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)


class _Remembers(Scripted):
    """A worker that names the leases it has had, as one does that was restarted."""

    held: tuple[worker_messages.HeldLease, ...] = ()

    def leases(self) -> tuple[worker_messages.HeldLease, ...]:
        """What it was given."""
        given = (message for message in self.received if isinstance(message, pool_messages.Lease))
        return tuple(worker_messages.HeldLease(lease.lease_id, lease.task_id, "contributing") for lease in given)

    def again(self) -> _Remembers:
        """The same worker, started anew."""
        other = _Remembers(self.grid, self.name)
        other.held = self.leases()
        return other

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(1)
            with contextlib.suppress(ConnectionClosed):
                await self.say(worker_messages.Heartbeat(held=self.held, free_slots=1))


class _Stops(_Remembers):
    """A worker that contributes and does not upload, as if it were killed right then."""

    async def _act(self, message: pool_messages.PoolMessage) -> None:
        if not isinstance(message, pool_messages.UploadRequest):
            await super()._act(message)


class _StopsMining(_Remembers):
    """A worker after whose upload no block is made: what the pool sends then waits."""

    async def _act(self, message: pool_messages.PoolMessage) -> None:
        if isinstance(message, pool_messages.UploadRequest):
            self.grid.anvil.request("evm_setAutomine", False)  # type: ignore[attr-defined]
        await super()._act(message)


async def _fairgrid(*words: object) -> dict[str, object]:
    """One command of the program; gives its JSON object."""

    def call() -> dict[str, object]:
        command = [sys.executable, "-m", "fairgrid", *(str(word) for word in words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    return await asyncio.to_thread(call)


@pytest.mark.timeout(300)
async def test_a_pool_restored_from_an_old_backup_catches_up_and_pays_nothing_twice(
    module_anvil: AnvilProcess, tmp_path: Path
) -> None:
    signer = open_or_create_key(tmp_path / "pool")
    assert isinstance(signer, KeySigner)
    (tmp_path / "pool" / "policy.toml").write_text(_POLICY)
    (tmp_path / "passphrase").write_text("a passphrase for tests\n")
    (tmp_path / "passphrase").chmod(0o600)
    secret = ("--passphrase-file", tmp_path / "passphrase")
    async with anvil_grid(module_anvil, tmp_path, policy=Policy(), scheduler=signer) as grid:
        save_network(grid.network(), tmp_path / "net.json")
        first = grid.anvil.request("eth_blockNumber")
        before = await grid.chain.view_account(signer.address)

        old = _Pool(grid, tmp_path / "pool")
        await old.ready()
        done, slow = Scripted(grid, "worker"), Scripted(grid, "slow", Script(seals=False))
        async with done.connected():
            early = task_id(await grid.deal(1), 0)
            await grid.until_status(early, TaskStatus.COMPLETED)
        async with slow.connected():
            begun = task_id(await grid.deal(1), 0)
            await grid.until_status(begun, TaskStatus.ACTIVE)
            backup = await _fairgrid("pool", "backup", tmp_path / "file", "--dir", tmp_path / "pool", *secret)
        # All of this the backup does not know: a task that it saw begin ends, one comes and goes, one is half done.
        async with done.connected():
            await grid.until_status(begun, TaskStatus.COMPLETED)
            later = task_id(await grid.deal(1), 0)
            await grid.until_status(later, TaskStatus.COMPLETED)
        killed, last = _Stops(grid, "killed"), _StopsMining(grid, "last")
        async with killed.connected():
            half = task_id(await grid.deal(1), 0)
            await grid.until_status(half, TaskStatus.REVEALING)
        unseen = task_id(await grid.deal(1), 0)
        async with last.connected():
            sent = task_id(await grid.deal(1), 0)

            async def in_the_mempool() -> bool:
                return int(grid.anvil.request("txpool_status")["pending"], 16) > 0

            await grid.until(in_the_mempool, seconds=60)
        old.kill()
        assert backup["rows"]["pool_deal"] == 2  # type: ignore[index]

        there = tmp_path / "again"
        await _fairgrid(
            "pool", "restore", tmp_path / "file", "--dir", there, "--network", tmp_path / "net.json", *secret
        )
        new = _Pool(grid, there)
        try:
            await new.ready()
            grid.anvil.request("evm_setAutomine", True)
            grid.anvil.request("evm_mine")
            async with all_connected([killed.again(), last.again(), Scripted(grid, "other")]):
                for task in (half, unseen, sent):
                    await grid.until_status(task, TaskStatus.COMPLETED, seconds=60)
                new_one = task_id(await grid.deal(1), 0)
                await grid.until_status(new_one, TaskStatus.COMPLETED, seconds=60)
                async with PoolClient(grid.url) as client:

                    async def all_known() -> bool:
                        told = [await client.task(task) for task in (early, begun, later, half, unseen, sent, new_one)]
                        return {view.phase for view in told} == {"completed"}

                    await grid.until(all_known, seconds=60)
        finally:
            new.kill()
        functions = _of_pool(grid, first)
        assert functions.count("finalize") == functions.count("initialize") == 7, functions
        after = await grid.chain.view_account(signer.address)
        assert after.locked == 0
        assert after.stake >= before.stake
