"""A deployed chain with a storage, and `fairgrid worker` as a process on it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.network import Network, save_network
from fairgrid.cli.main import main
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.manifest import FileRef, Manifest, Resources, params_for
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.pool_messages import Authorisation, Lease
from fairgrid.protocol.typed_data import Domain, order_typed_data
from fairgrid.runtime.wasm.interpreters import (
    default_runtime_id,
)
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.keys import dev_signer
from fairgrid.wallet.keystore import open_or_create_key
from tests.worker.fake_pool import FakePool

OWNER = dev_signer(0)
STAKE = 30
_created = 0


@dataclass
class Place:
    """A deployed chain with app and workerpool, a storage, and a folder."""

    anvil: AnvilProcess
    chain: JsonRpcChain
    storage: StorageClient
    network: Network
    app: str
    folder: Path

    async def lease(self, script: bytes) -> Lease:
        """A task that runs ``script`` on no input, as a lease."""
        global _created
        _created += 1
        salt = f"0x{_created:064x}"
        name = FileRef("job.py", await self.storage.add_bytes(script), len(script))
        manifest = Manifest(script=name, runtime=default_runtime_id(), resources=Resources(fuel=300 * 10**9))
        params = params_for(self.network.storage, await self.storage.add_bytes(manifest.to_bytes()))
        pool = self.network.pool_address
        request = RequestOrder(
            self.app,
            0,
            ZERO_ADDRESS,
            0,
            pool,
            100,
            OWNER.address,
            1,
            beneficiary=OWNER.address,
            params=params,
            salt=salt,
        )
        orders = (
            self._signed(AppOrder(self.app, 0, 1, salt=salt)),
            NULL_DATASET_ORDER,
            self._signed(WorkerpoolOrder(pool, 100, 1, trust=1, salt=salt)),
            self._signed(request),
        )
        receipt = await self.chain.transact(calls.match_orders(self.chain.hub, *orders), OWNER)
        deal_id = next(str(event.arguments["dealid"]) for event in receipt.events if event.name == "OrdersMatched")
        await self.chain.transact(calls.initialize(self.chain.hub, deal_id, 0), OWNER)
        return Lease(f"l{_created}", deal_id, ids.task_id(deal_id, 0), 0, 0, 30.0)

    def _signed(self, order: Order) -> Any:
        domain = Domain(self.network.chain_id, self.network.hub)
        return order.signed(OWNER.sign_typed_data(order_typed_data(order, domain)))

    def authorisation(self, lease: Lease, worker: str) -> Authorisation:
        """The scheduler's signature."""
        signature = OWNER.sign_message(ids.authorisation_message(worker, lease.task_id))
        return Authorisation(lease.lease_id, lease.task_id, ZERO_ADDRESS, signature)

    async def fund(self, address: str, *, wei: int = 10**18, deposit: int = 1_000) -> None:
        """Give coins and a deposit."""
        self.anvil.request("anvil_setBalance", address, hex(wei))
        await self.chain.transact(calls.deposit_for(self.chain.hub, deposit, address), OWNER)


@contextlib.contextmanager
def worker(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`fairgrid worker …`, killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fairgrid", "worker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def network_file(network: Network, folder: Path, **change: Any) -> str:
    """A network file, with changes."""
    path = folder / "net.json"
    save_network(replace(network, **change), path)
    return str(path)


def run_worker(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that ends by itself, run in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["worker", *arguments])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, " ".join(captured.err.split())


async def ends(process: subprocess.Popen[str], number: signal.Signals) -> tuple[float, str]:
    """Seconds until the process ended after a signal, and its stderr."""
    began = time.monotonic()
    process.send_signal(number)
    _, error = await asyncio.to_thread(process.communicate, None, 60)
    return time.monotonic() - began, error


def start_options(place: Place, pool: FakePool) -> tuple[str, tuple[str, ...]]:
    """A new worker's address, and how to start it at ``pool``."""
    folder = place.folder / "worker"
    options = ("--network", network_file(place.network, place.folder), "--dir", str(folder), "--pool", pool.url)
    return open_or_create_key(folder).address, ("start", *options)
