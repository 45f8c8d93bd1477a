"""A real node, a real scheduler, real agents: people with money, a pool and storage, for tests of whole circles."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.decode import created_address
from fairgrid.chain.deploy import deploy
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.app import pool_application
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import keccak
from fairgrid.protocol.typed_data import Domain
from fairgrid.protocol.views import Task, TaskStatus
from fairgrid.protocol.wire import MAX_FRAME_BYTES
from fairgrid.runtime.interface import SandboxJob
from fairgrid.seams.clock import SystemClock
from fairgrid.seams.service import serving
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore
from fairgrid.wallet.keys import KeySigner
from tests.worker.world import (
    ADMIN,
    DEPOSIT,
    INTERPRETER,
    INTERPRETER_SHA256,
    OTHER,
    REQUESTER,
    RUNTIME,
    SCHEDULER,
    WORKER,
    AgentSetting,
    World,
)

__all__ = ["AnvilWorld", "anvil_world", "until"]


@dataclass
class AnvilWorld:
    """People, a pool and storage on a node; ``world`` is what agents are built on."""

    anvil: AnvilProcess
    world: World
    folder: Path

    @property
    def chain(self) -> JsonRpcChain:
        return cast(JsonRpcChain, self.world.chain)

    def put(self, code: str) -> str:
        """A contract with this runtime code; its address."""
        address = "0x" + keccak(code.encode())[:20].hex()
        self.anvil.request("anvil_setCode", address, code)
        return address

    def word(self, contract: str, slot: int) -> str:
        return str(self.anvil.request("eth_getStorageAt", contract, hex(slot), "latest"))

    def sent_by(self, signer: KeySigner) -> int:
        return int(self.anvil.request("eth_getTransactionCount", signer.address, "latest"), 16)

    @contextlib.asynccontextmanager
    async def pool(
        self,
        policy: Policy,
        *,
        sponsor: Sponsor | None = None,
        store: PoolStore | None = None,
        chain: JsonRpcChain | None = None,
    ) -> AsyncIterator[tuple[PoolService, str]]:
        """``chain`` is the pool's own connection to the node; None: everybody's."""
        opened = store or PoolStore.open(self.folder / "pool.db")
        try:
            async with (
                PoolService(
                    chain=chain or self.chain,
                    signer=SCHEDULER,
                    workerpool=self.world.workerpool,
                    store=opened,
                    storage=self.world.storage,
                    policy=policy,
                    clock=SystemClock(),
                    scratch=self.folder / "uploads",
                    sponsor=sponsor,
                ).running() as service,
                serving(pool_application(service), ws_max_size=MAX_FRAME_BYTES) as url,
            ):
                yield service, url
        finally:
            opened.close()

    def agent(self, url: str, function: Callable[[SandboxJob], Any], signer: KeySigner = WORKER) -> AgentSetting:
        own = self.folder / signer.address
        own.mkdir(exist_ok=True)
        made = AgentSetting(own, url, signer=signer, function=function)
        return replace(made, options=replace(made.options, slots=2, poll_s=0.2, receipt_poll_s=0.05, retry_for_s=30.0))

    async def completed(self, task: str) -> Task:
        async def is_completed() -> bool:
            return (await self.chain.view_task(task)).status is TaskStatus.COMPLETED

        await until(is_completed)
        return await self.chain.view_task(task)


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 50) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def anvil_world(anvil: AnvilProcess, folder: Path) -> AsyncIterator[AnvilWorld]:
    """Everybody has a deposit; the workerpool asks a stake of 30 % and keeps 10 %."""
    deployed = await deploy(anvil.rpc_url)
    chain = JsonRpcChain(anvil.rpc_url, chain_id=deployed.chain_id, hub=deployed.hub, rlc=deployed.rlc)
    async with chain, serving(storage_application(MemoryStore())) as url, StorageClient(url) as storage:
        await chain.transact(calls.approve(deployed.rlc, deployed.hub, 10**15), ADMIN)
        for signer in (SCHEDULER, REQUESTER, WORKER, OTHER):
            await chain.transact(calls.deposit_for(deployed.hub, DEPOSIT, signer.address), ADMIN)
        interpreter = f"/ipfs/{cid_of(INTERPRETER)}".encode()
        create = calls.create_app(
            deployed.app_registry, ADMIN.address, RUNTIME, "WASM", interpreter, INTERPRETER_SHA256
        )
        app = created_address(await chain.transact(create, ADMIN), deployed.app_registry)
        create = calls.create_workerpool(deployed.workerpool_registry, SCHEDULER.address, "pool")
        workerpool = created_address(await chain.transact(create, ADMIN), deployed.workerpool_registry)
        await chain.transact(calls.change_policy(workerpool, stake_ratio=30, scheduler_ratio=10), SCHEDULER)
        domain = Domain(deployed.chain_id, deployed.hub)
        yield AnvilWorld(anvil, World(cast(Any, chain), storage, app, workerpool, domain), folder)
