"""A pool at work: the scheduler on the chain's twin, behind a real socket, with storage."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar, cast

import httpx

from fairgrid.chain import calls
from fairgrid.chain.interface import Chain
from fairgrid.chain.twin import ModelChain
from fairgrid.pool.administration.access import AccessGate, AccessStore
from fairgrid.pool.app import pool_application
from fairgrid.pool.client import PoolClient
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.records.sponsor_store import SponsorStore
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol import pool_messages, wire
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources, TaskRef, params_for
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.typed_data import Domain, order_typed_data
from fairgrid.protocol.views import AppInfo, TaskStatus
from fairgrid.seams.service import serving
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore
from fairgrid.wallet.keys import KeySigner

_AnyOrder = TypeVar("_AnyOrder", bound=Order)
DEPOSIT = 10**12
PRICE = 1_000


def key(name: str) -> KeySigner:
    return KeySigner(keccak(b"fairgrid/pool-test/" + name.encode()))


class FastClock:
    """Ten of its seconds are one of ours."""

    def now(self) -> float:
        return time.time() * 10

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 10)


class Grid:
    """Chain, storage, a workerpool and people with money. `pool` runs its scheduler."""

    def __init__(self, folder: Path, *, policy: Policy | None = None, keep_states: int = 0) -> None:
        self.folder = folder
        self.policy = policy or Policy(
            seal_window_min_s=100,
            lease_ttl_s=1_000,
            restart_grace_s=1_000,
            fill_wait_s=1_000,
            authorisation_timeout_s=1_000,
        )
        self.admin, self.scheduler, self.requester = key("admin"), key("scheduler"), key("requester")
        self.chain = ModelChain.fresh(owner=self.admin.address, keep_states=keep_states)
        self.domain = Domain(self.chain.chain_id, self.chain.hub)
        for name in (self.scheduler, self.requester):
            self.deposit(name.address)
        registries = self.chain.model.registries
        self.app = registries.apps.create(AppInfo(self.admin.address, "app", "WASM", b"", ZERO32, b""))
        self.workerpool = registries.workerpools.create(self.scheduler.address, "pool")
        self.chain.mine()
        storage = storage_application(MemoryStore())
        self.storage = StorageClient("http://storage", transport=httpx.ASGITransport(storage))
        self.service: PoolService
        self.client: PoolClient
        self.url = ""
        self.runs: dict[str, pool_messages.Lease] = {}
        """Leases of runs by run id, of all workers: every task of one has the same result."""
        self._salt = 0

    def deposit(self, address: str) -> None:
        model, admin = self.chain.model, self.admin.address
        model.token.approve(admin, model.address, DEPOSIT)
        model.deposit_for(admin, DEPOSIT, address)

    @contextlib.asynccontextmanager
    async def pool(
        self, *, chain: Chain | None = None, sponsor_key: KeySigner | None = None, port: int | None = None
    ) -> AsyncIterator[Grid]:
        """The scheduler and its HTTP service, on the same folder each time; ``port`` None: a free one."""
        store = PoolStore.open(self.folder / "pool.db")
        try:
            async with PoolService(
                chain=chain or self.chain,
                signer=self.scheduler,
                workerpool=self.workerpool,
                store=store,
                storage=self.storage,
                policy=self.policy,
                clock=FastClock(),
                scratch=self.folder / "uploads",
                access=AccessGate(AccessStore(store.engine), chain or self.chain),
                sponsor=await self._sponsor(sponsor_key, store) if sponsor_key is not None else None,
            ).running() as self.service:
                application = pool_application(self.service)
                async with (
                    serving(application, port=port or 0, ws_max_size=wire.MAX_FRAME_BYTES) as self.url,
                    PoolClient(self.url) as self.client,
                ):
                    yield self
        finally:
            store.close()

    async def _sponsor(self, signer: KeySigner, store: PoolStore) -> Sponsor:
        sponsor = Sponsor(
            chain=self.chain,
            signer=signer,
            rlc=self.chain.rlc,
            store=SponsorStore(store.engine),
            terms=self.policy.sponsor_terms,
            clock=FastClock(),
        )
        await sponsor.allow()
        return sponsor

    async def deal(
        self,
        trust: int,
        *,
        volume: int = 1,
        callback: str = ZERO_ADDRESS,
        tag: str = ZERO32,
        params: str = "{}",
    ) -> str:
        """Match a deal; gives its id."""
        self._salt += 1
        salt = f"0x{self._salt:064x}"
        app = AppOrder(self.app, 0, 100, tag=tag, salt=salt)
        workerpool = WorkerpoolOrder(self.workerpool, PRICE, 100, tag=tag, trust=1_000, salt=salt)
        request = RequestOrder(
            self.app,
            0,
            ZERO_ADDRESS,
            0,
            ZERO_ADDRESS,
            PRICE,
            self.requester.address,
            volume,
            trust=trust,
            beneficiary=self.requester.address,
            callback=callback,
            params=params,
            tag=tag,
            salt=salt,
        )
        call = calls.match_orders(
            self.chain.hub,
            self._signed(app, self.admin),
            NULL_DATASET_ORDER,
            self._signed(workerpool, self.scheduler),
            self._signed(request, self.requester),
        )
        receipt = await self.chain.transact(call, self.requester)
        return str(next(event.arguments["dealid"] for event in receipt.events if event.name == "SchedulerNotice"))

    async def params(self, *items: tuple[str, ...]) -> str:
        """Params of a manifest in storage, whose task i reads the results of the tasks ``items[i]``."""
        manifest = Manifest(
            script=FileRef("job.py", cid_of(b"x"), 1),
            runtime="wasm/py",
            resources=Resources(fuel=1),
            items=tuple(
                Item(dependencies=tuple(TaskRef(f"d{place}", task) for place, task in enumerate(tasks)))
                for tasks in items
            ),
        )
        return params_for("http://storage", await self.storage.add_bytes(manifest.to_bytes()))

    async def task(self, trust: int, *, callback: str = ZERO_ADDRESS, tag: str = ZERO32) -> str:
        """Match a deal for one task; gives the task's id."""
        return task_id(await self.deal(trust, callback=callback, tag=tag), 0)

    def _signed(self, order: _AnyOrder, signer: KeySigner) -> _AnyOrder:
        return cast(_AnyOrder, order.signed(signer.sign_typed_data(order_typed_data(order, self.domain))))

    async def until(self, condition: Callable[[], Awaitable[bool]], *, what: str = "it", seconds: float = 40) -> None:
        """Wait until ``condition`` holds."""
        deadline = time.monotonic() + seconds
        while not await condition():
            assert time.monotonic() < deadline, f"{what} did not happen"
            await asyncio.sleep(0.02)

    async def until_status(self, task: str, status: TaskStatus, *, seconds: float = 40) -> None:
        async def reached() -> bool:
            return (await self.chain.view_task(task)).status is status

        await self.until(reached, what=f"task {status.name}", seconds=seconds)

    async def until_phase(self, task: str, phase: str) -> None:
        async def reached() -> bool:
            stored = await self.service.inquiries.task(task)
            return stored is not None and stored.state.phase == phase

        await self.until(reached, what=f"phase {phase}")
