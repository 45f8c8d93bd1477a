"""What a worker's process stands on: a real chain with the contracts, a real storage, a pool that does as told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import Deployment, deploy
from fairgrid.chain.network import Network
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol.hexes import checksum
from fairgrid.runtime.wasm.interpreters import (
    default_runtime_id,
    install_interpreter,
    interpreter_cid,
    interpreter_sha256,
)
from fairgrid.storage.client import StorageClient
from tests.worker.fake_pool import FakePool
from tests.worker.process.place import OWNER, STAKE, Place


@pytest.fixture(scope="module")
def deployment(module_anvil: AnvilProcess) -> Deployment:
    install_interpreter(default_runtime_id())
    return asyncio.run(deploy(module_anvil.rpc_url))


@pytest.fixture(scope="module")
def storage_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    command = [sys.executable, "-m", "fairgrid", "storage", "start", "--port", "0", "--dir"]
    process = subprocess.Popen(
        [*command, str(tmp_path_factory.mktemp("storage"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().split()[1]
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def assets(module_anvil: AnvilProcess, deployment: Deployment) -> tuple[str, str]:
    """App and workerpool."""

    async def make() -> tuple[str, str]:
        chain = JsonRpcChain(module_anvil.rpc_url, chain_id=deployment.chain_id, hub=deployment.hub, rlc=deployment.rlc)
        async with chain:
            await chain.transact(calls.approve(deployment.rlc, deployment.hub, 10**12), OWNER)
            await chain.transact(calls.deposit(deployment.hub, 10**9), OWNER)
            app = calls.create_app(
                deployment.app_registry,
                OWNER.address,
                default_runtime_id(),
                "WASM",
                f"/ipfs/{interpreter_cid(default_runtime_id())}".encode(),
                interpreter_sha256(default_runtime_id()),
            )
            app_address = await _created_address(chain, app)
            pool = calls.create_workerpool(deployment.workerpool_registry, OWNER.address, "test pool")
            pool_address = await _created_address(chain, pool)
            await chain.transact(calls.change_policy(pool_address, stake_ratio=STAKE, scheduler_ratio=10), OWNER)
            return app_address, pool_address

    return asyncio.run(make())


async def _created_address(chain: JsonRpcChain, call: Any) -> str:
    receipt = await chain.transact(call, OWNER)
    transfer = next(event for event in receipt.events if event.name == "Transfer")
    return checksum(f"0x{int(transfer.arguments['tokenId']):040x}")


@pytest.fixture
def network(module_anvil: AnvilProcess, deployment: Deployment, storage_url: str, assets: tuple[str, str]) -> Network:
    return Network(
        name="test",
        chain_id=deployment.chain_id,
        rpc=module_anvil.rpc_url,
        hub=deployment.hub,
        hub_code_hash=deployment.hub_code_hash,
        rlc=deployment.rlc,
        market="http://127.0.0.1:1",
        storage=storage_url,
        pool="http://127.0.0.1:1",
        pool_address=assets[1],
    )


@pytest.fixture
async def place(
    module_anvil: AnvilProcess, network: Network, assets: tuple[str, str], tmp_path: Path
) -> AsyncIterator[Place]:
    async with await JsonRpcChain.connect(network) as chain, StorageClient(network.storage) as storage:
        yield Place(module_anvil, chain, storage, network, assets[0], tmp_path)


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[FakePool]:
    network = place.network
    async with FakePool(chain_id=network.chain_id, hub=network.hub, workerpool=network.pool_address) as opened:
        yield opened
