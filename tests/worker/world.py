"""A chain, a storage and a task in memory, and agents that work on it with a function as their sandbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.decode import created_address
from fairgrid.chain.deploy import deploy
from fairgrid.chain.interface import Chain
from fairgrid.chain.twin import ModelChain
from fairgrid.protocol import ids, runs
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources, params_for
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.pool_messages import Authorisation, Lease
from fairgrid.protocol.run_results import RunResults, parse_run_results
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.typed_data import Domain, order_typed_data
from fairgrid.protocol.views import AppInfo
from fairgrid.runtime.interface import Sandbox, SandboxJob
from fairgrid.runtime.twin import FunctionSandbox
from fairgrid.seams.clock import SystemClock
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore
from fairgrid.wallet.keys import KeySigner, dev_signer
from fairgrid.worker.agent import AgentOptions, WorkerAgent
from fairgrid.worker.computing.gpus import Gpus
from fairgrid.worker.computing.running import LocalRuntime
from fairgrid.worker.computing.work import LocalWork
from fairgrid.worker.connection.cache_report import CacheReporter
from fairgrid.worker.connection.link import LinkOptions
from fairgrid.worker.onchain.ownership import Ownership
from fairgrid.worker.owner.owner_watch import OwnerWatch
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.records.store import WorkerStore

RUNTIME = "wasmtime-49/py312/deterministic"
INTERPRETER = b"an interpreter"
INTERPRETER_SHA256 = "0x" + "1e" * 32
SCRIPT = b"print('hello')"
INPUT = b"1,2,3\n"
DEPOSIT = 10_000
STAKE = 30
ADMIN, SCHEDULER, REQUESTER, WORKER, OTHER, THIRD = (dev_signer(index) for index in range(6))


def honest(job: SandboxJob) -> bytes:
    """The job: copies its input in capitals, and says so."""
    text = (job.input_folder / "data.csv").read_text()
    (job.output_folder / "out.txt").write_text(f"{text.upper()} {' '.join(job.arguments)}")
    return b"done\n"


@dataclass
class Announced:
    """Remembers what the owner was told."""

    ready_urls: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def ready(self, url: str) -> None:
        self.ready_urls.append(url)

    def waiting(self, reason: str) -> None:
        self.reasons.append(reason)


class World:
    """Everything but the pool's service. Money is in nRLC; each task costs 100 and locks a stake of `STAKE`."""

    def __init__(
        self,
        chain: ModelChain | JsonRpcChain,
        storage: StorageClient,
        app: str,
        workerpool: str,
        domain: Domain | None = None,
    ) -> None:
        """A node needs its ``domain``; what only the twin can do is not to be asked of it then."""
        self.chain = cast(ModelChain, chain)
        self.domain = domain or self.chain.model.domain
        self.storage = storage
        self.app = app
        self.workerpool = workerpool
        self._salts = 0

    async def deal(
        self,
        *,
        trust: int = 1,
        volume: int = 1,
        manifest: Manifest | None = None,
        manifest_bytes: bytes | None = None,
        lane: bool = False,
        boost: bool = False,
        **request: Any,
    ) -> str:
        """Match a request for the job, in the batch lane if ``lane``, by boost matching if ``boost``; its deal id."""
        tag = f"0x{LANE_MASK if lane else 0:064x}"
        data = manifest_bytes or (manifest or await self.manifest()).to_bytes()
        cid = await self.storage.add_bytes(data)
        self._salts += 1
        salt = f"0x{self._salts:064x}"
        app = AppOrder(self.app, 0, volume, salt=salt)
        pool = WorkerpoolOrder(self.workerpool, 100, volume, tag=tag, trust=1_000, salt=salt)
        wanted = RequestOrder(
            self.app,
            0,
            ZERO_ADDRESS,
            0,
            self.workerpool,
            100,
            REQUESTER.address,
            volume,
            tag=tag,
            trust=trust,
            beneficiary=REQUESTER.address,
            params=params_for("http://storage", cid),
            salt=salt,
        )
        wanted = replace(wanted, **request)
        orders = (
            self._signed(app, ADMIN),
            NULL_DATASET_ORDER,
            self._signed(pool, SCHEDULER),
            self._signed(wanted, REQUESTER),
        )
        call = calls.match_orders(self.chain.hub, *orders)
        if boost:
            call = replace(call, function="matchOrdersBoost")
        receipt = await self.chain.transact(call, REQUESTER)
        return next(str(event.arguments["dealid"]) for event in receipt.events if event.name == "OrdersMatched")

    def _signed(self, order: Order, signer: KeySigner) -> Any:
        return order.signed(signer.sign_typed_data(order_typed_data(order, self.domain)))

    async def manifest(self, **change: Any) -> Manifest:
        """The job of `honest`: a script and an input, both in storage."""
        script = FileRef("job.py", await self.storage.add_bytes(SCRIPT), len(SCRIPT))
        data = FileRef("data.csv", await self.storage.add_bytes(INPUT), len(INPUT))
        base = Manifest(
            script=script, runtime=RUNTIME, resources=Resources(fuel=10**9), arguments=("go",), inputs=(data,)
        )
        return replace(base, **change)

    async def task(self, *, index: int = 0, **deal: Any) -> Lease:
        """A deal and its initialized task, as a lease."""
        deal_id = await self.deal(**deal)
        return await self.lease(deal_id, index)

    async def lease(self, deal_id: str, index: int = 0) -> Lease:
        """Initialize a task of a deal; the lease of it."""
        await self.chain.transact(calls.initialize(self.chain.hub, deal_id, index), SCHEDULER)
        task_id = ids.task_id(deal_id, index)
        return Lease(f"lease-{task_id[2:10]}", deal_id, task_id, index, 0, 30.0)

    async def run(self, deal_id: str, count: int) -> Lease:
        """Open the next ``count`` tasks of a batch-lane deal as a run; the lease of it."""
        first = (await self.chain.view_lane(deal_id)).cursor
        await self.chain.transact(calls.open_run(self.chain.hub, deal_id, count), SCHEDULER)
        run_id = runs.run_id(deal_id, first, count)
        return Lease(f"lease-{run_id[2:10]}", deal_id, run_id, first, 0, 30.0, count)

    async def split(self, lease: Lease, left: int) -> tuple[Lease, Lease]:
        """Split a run; the leases of its halves."""
        await self.chain.transact(calls.split_run(self.chain.hub, lease.task_id, left), SCHEDULER)
        halves = ((lease.index, left), (lease.index + left, lease.count - left))
        ids_ = [runs.run_id(lease.deal_id, first, count) for first, count in halves]
        one, other = (
            Lease(f"lease-{run_id[2:10]}", lease.deal_id, run_id, first, 0, 30.0, count)
            for run_id, (first, count) in zip(ids_, halves, strict=True)
        )
        return one, other

    async def results(self, lease: Lease, cid: str) -> RunResults:
        """The results of a run that were uploaded as ``cid``."""
        data = await self.storage.fetch_bytes(cid, max_bytes=1 << 20)
        return parse_run_results(data, first=lease.index, count=lease.count)

    def authorisation(self, lease: Lease, worker: KeySigner = WORKER, *, by: KeySigner = SCHEDULER) -> Authorisation:
        """The scheduler's signature for a worker."""
        return self.authorisation_for(lease, worker.address, by=by)

    def authorisation_for(self, lease: Lease, worker: str, *, by: KeySigner = SCHEDULER) -> Authorisation:
        """The same for any address."""
        message = ids.authorisation_message(worker, lease.task_id)
        return Authorisation(lease.lease_id, lease.task_id, ZERO_ADDRESS, by.sign_message(message))

    async def contribute(self, lease: Lease, digest: str, worker: KeySigner = OTHER) -> None:
        """Another worker contributes."""
        call = calls.contribute(
            self.chain.hub,
            lease.task_id,
            ids.result_hash(lease.task_id, digest),
            ids.result_seal(worker.address, lease.task_id, digest),
            self.authorisation(lease, worker).signature,
        )
        await self.chain.transact(call, worker)

    async def reveal(self, lease: Lease, digest: str, worker: KeySigner = OTHER) -> None:
        """The other worker reveals."""
        await self.chain.transact(calls.reveal(self.chain.hub, lease.task_id, digest), worker)

    async def finalize(self, lease: Lease, results: bytes = b"") -> None:
        """The scheduler ends the task."""
        await self.chain.transact(calls.finalize(self.chain.hub, lease.task_id, results), SCHEDULER)


@asynccontextmanager
async def new_world(**chain_options: Any) -> AsyncIterator[World]:
    """A fresh world; everybody has a deposit."""
    chain = ModelChain.fresh(owner=ADMIN.address, **chain_options)
    transport = httpx.ASGITransport(storage_application(MemoryStore()))
    async with StorageClient("http://storage", transport=transport) as storage:
        await chain.transact(calls.approve(chain.rlc, chain.hub, 10**15), ADMIN)
        for signer in (SCHEDULER, REQUESTER, WORKER, OTHER, THIRD):
            await chain.transact(calls.deposit_for(chain.hub, DEPOSIT, signer.address), ADMIN)
        registries = chain.model.registries
        app = registries.apps.create(
            AppInfo(ADMIN.address, RUNTIME, "WASM", f"/ipfs/{cid_of(INTERPRETER)}".encode(), INTERPRETER_SHA256, b"")
        )
        workerpool = registries.workerpools.create(SCHEDULER.address, "pool")
        await chain.transact(calls.change_policy(workerpool, stake_ratio=STAKE, scheduler_ratio=10), SCHEDULER)
        yield World(chain, storage, app, workerpool)


@asynccontextmanager
async def real_world(rpc_url: str) -> AsyncIterator[World]:
    """A fresh world on a node's empty chain, with the compiled contracts; everybody has a deposit."""
    deployed = await deploy(rpc_url, ADMIN)
    transport = httpx.ASGITransport(storage_application(MemoryStore()))
    async with (
        JsonRpcChain(rpc_url, chain_id=deployed.chain_id, hub=deployed.hub, rlc=deployed.rlc) as chain,
        StorageClient("http://storage", transport=transport) as storage,
    ):
        await chain.transact(calls.approve(chain.rlc, chain.hub, 10**15), ADMIN)
        for signer in (SCHEDULER, REQUESTER, WORKER, OTHER, THIRD):
            await chain.transact(calls.deposit_for(chain.hub, DEPOSIT, signer.address), ADMIN)
        multiaddr = f"/ipfs/{cid_of(INTERPRETER)}".encode()
        create = calls.create_app(deployed.app_registry, ADMIN.address, RUNTIME, "WASM", multiaddr, INTERPRETER_SHA256)
        app = created_address(await chain.transact(create, ADMIN), deployed.app_registry)
        create = calls.create_workerpool(deployed.workerpool_registry, SCHEDULER.address, "pool")
        workerpool = created_address(await chain.transact(create, SCHEDULER), deployed.workerpool_registry)
        await chain.transact(calls.change_policy(workerpool, stake_ratio=STAKE, scheduler_ratio=10), SCHEDULER)
        yield World(chain, storage, app, workerpool, Domain(chain.chain_id, chain.hub))


@dataclass
class AgentSetting:
    """How to build an agent; the defaults make an honest one that is fast."""

    folder: Path
    url: str
    signer: KeySigner = WORKER
    function: Callable[[SandboxJob], Any] = honest
    sandbox: Sandbox | None = None
    """Runs the jobs instead of ``function``."""
    policy: WorkerPolicy = field(default_factory=WorkerPolicy)
    options: AgentOptions = field(
        default_factory=lambda: AgentOptions(
            poll_s=0.03, receipt_poll_s=0.01, settled_poll_s=0.05, retry_for_s=1.0, keep_blocks=3
        )
    )
    store: type[WorkerStore] = WorkerStore
    announced: Announced = field(default_factory=Announced)
    policy_now: Callable[[], WorkerPolicy] | None = None
    """Asked each time, instead of ``policy``."""
    owner: OwnerWatch | None = None
    ownership: Ownership | None = None
    chain: Chain | None = None
    """The agent's own view of the chain; None: that of the world."""
    claims: Callable[[], Machine] | None = None
    """What it says of its machine; None: nothing."""
    gpus: Gpus | None = None


async def stored(setting: AgentSetting) -> Any:
    """What an agent that is running has on disk of the tasks that it holds."""
    store = setting.store.open(setting.folder / "worker.sqlite")
    try:
        return await asyncio.to_thread(store.load)
    finally:
        store.close()


def build_agent(world: World, setting: AgentSetting) -> tuple[WorkerAgent, WorkerStore]:
    """An agent and its open store."""
    store = setting.store.open(setting.folder / "worker.sqlite")
    store.bind(
        chain_id=world.chain.chain_id,
        hub=world.chain.hub,
        worker=setting.ownership.worker if setting.ownership else setting.signer.address,
    )
    chain = setting.chain or world.chain
    tally: Counter[str] = Counter()
    sandbox = setting.sandbox or FunctionSandbox(setting.function, runtime_id=RUNTIME)
    work = LocalWork(
        setting.folder,
        chain=chain,
        storage=world.storage,
        runtimes={RUNTIME: LocalRuntime(cid_of(INTERPRETER), INTERPRETER_SHA256, sandbox)},
        policy=setting.policy_now or (lambda: setting.policy),
        misbehaviour=setting.options.misbehaviour,
        slots=setting.options.slots,
        tally=tally,
        gpus=setting.gpus,
    )
    link = LinkOptions(
        url=setting.url,
        chain_id=world.chain.chain_id,
        hub=world.chain.hub,
        workerpool=world.workerpool,
        runtimes=(RUNTIME,),
        slots=setting.options.slots,
        claims=setting.claims,
        first_pause_s=0.02,
        longest_pause_s=0.1,
    )
    agent = WorkerAgent(
        link=link,
        chain=chain,
        signer=setting.signer,
        store=store,
        work=work,
        policy=setting.policy_now or (lambda: setting.policy),
        clock=SystemClock(),
        announcer=setting.announced,
        options=setting.options,
        owner=setting.owner,
        ownership=setting.ownership,
        tally=tally,
    )
    talk = agent.talk
    work.live.listen(talk.tell)
    talk.partials = work.live.partial
    work.private.ask, work.private.forget = talk.keys.keys_of, talk.keys.forget
    now = setting.policy_now or (lambda: setting.policy)
    talk.cache = CacheReporter(work.cached, tell=talk.tell, allowed=lambda: now().tell_cached)
    return agent, store


@asynccontextmanager
async def running(world: World, setting: AgentSetting) -> AsyncIterator[WorkerAgent]:
    """An agent that works while the block runs; stopped as by SIGTERM afterwards."""
    agent, store = build_agent(world, setting)
    task = asyncio.create_task(agent.run())
    try:
        yield agent
        agent.stop()
        await asyncio.wait_for(task, 60)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
        store.close()


def bag(manifest: Manifest, count: int) -> Manifest:
    """The same job with other arguments for each of ``count`` tasks."""
    return replace(manifest, items=tuple(Item(arguments=(str(number),)) for number in range(count)))
