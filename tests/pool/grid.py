"""A pool at work: the scheduler on the chain's twin, behind a real socket, with storage and scripted workers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from fairgrid.chain import calls
from fairgrid.chain.interface import Chain
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import ContractReverted
from fairgrid.pool.administration.access import AccessGate, AccessStore
from fairgrid.pool.app import pool_application
from fairgrid.pool.client import PoolClient
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.records.sponsor_store import SponsorStore
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol import pool_messages, wire, worker_messages
from fairgrid.protocol.archive import archive_digest, write_archive
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, from_hex, keccak
from fairgrid.protocol.ids import result_hash, result_seal, task_id
from fairgrid.protocol.machine import Machine, machine_message
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources, TaskRef, params_for
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.results import results_text
from fairgrid.protocol.run_results import RunResults, TaskResult
from fairgrid.protocol.seals import challenge_message, seal_hash
from fairgrid.protocol.typed_data import Domain, enrolment_typed_data, order_typed_data
from fairgrid.protocol.usage import Usage
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


@contextlib.asynccontextmanager
async def at_the_door(grid: Grid) -> AsyncIterator[ClientConnection]:
    """A connection on which nothing was said yet."""
    async with connect(f"{grid.url.replace('http', 'ws')}/worker", proxy=None) as connection:
        yield connection


@dataclass
class Script:
    """What a scripted worker does otherwise than an honest one."""

    content: bytes = b"right"
    contributes: bytes | None = None
    uploads: bytes | None = None
    opens: bool = True
    seals: bool = True
    contributes_at_all: bool = True
    fast: bool = False
    """Contributes and finalizes in one transaction where it may."""
    settles: bool = False
    """Opens and ends runs in one transaction where it may."""
    reveals_after_s: float = 0.0
    usage: Usage | None = None
    """What it says that a task took."""


@dataclass
class Scripted:
    """A worker over a real websocket, with a real key, on the chain's twin."""

    grid: Grid
    name: str
    script: Script = field(default_factory=Script)
    received: list[pool_messages.PoolMessage] = field(default_factory=list)
    connection: ClientConnection | None = None

    def __post_init__(self) -> None:
        self.key = key(self.name)
        self.grid.deposit(self.key.address)

    @property
    def address(self) -> str:
        return self.key.address

    @property
    def salt(self) -> str:
        return "0x" + keccak(self.name.encode()).hex()

    def kinds(self) -> list[str]:
        return [message.kind for message in self.received]

    @contextlib.asynccontextmanager
    async def connected(self, **enrolment: object) -> AsyncIterator[Scripted]:
        """Enrolled, ready and at work."""
        async with connect(f"{self.grid.url.replace('http', 'ws')}/worker", proxy=None) as self.connection:
            able = {name: True for name in ("fast", "settles") if getattr(self.script, name)}
            await self.enrol(**able | enrolment)
            with contextlib.suppress(ConnectionClosed):  # One that is turned away may know it already.
                await self.say(worker_messages.Ready(held=(), free_slots=1))
            loops = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat())]
            try:
                yield self
            finally:
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)

    async def enrol(self, **changes: object) -> pool_messages.PoolMessage:
        """Answer the challenge; gives the pool's answer."""
        challenge = await self.hear()
        assert isinstance(challenge, pool_messages.Challenge)
        document = enrolment_typed_data(self.address, self.address, challenge.workerpool, self.grid.domain)
        values = {
            "owner": self.address,
            "worker": self.address,
            "owner_signature": self.key.sign_typed_data(document),
            "nonce_signature": self.key.sign_message(
                challenge_message(
                    challenge.chain_id, challenge.hub, challenge.workerpool, self.address, challenge.nonce
                )
            ),
            "runtimes": ("wasm/py",),
            "slots": 1,
            "version": wire.PROTOCOL_VERSION,
        } | changes
        if isinstance(machine := values.get("machine"), Machine) and "machine_signature" not in values:
            values["machine_signature"] = self.key.sign_message(
                machine_message(
                    challenge.chain_id, challenge.hub, challenge.workerpool, self.address, challenge.nonce, machine
                )
            )
        await self.say(worker_messages.Enrol(**values))  # type: ignore[arg-type]
        return await self.hear()

    async def say(self, message: worker_messages.WorkerMessage) -> None:
        assert self.connection is not None
        await self.connection.send(wire.encode(message))

    async def hear(self) -> pool_messages.PoolMessage:
        assert self.connection is not None
        async with asyncio.timeout(10):
            message = wire.decode_pool_message(await self.connection.recv())
        self.received.append(message)
        return message

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(1)
            with contextlib.suppress(ConnectionClosed):
                await self.say(worker_messages.Heartbeat(held=(), free_slots=1))

    async def _listen(self) -> None:
        assert self.connection is not None
        try:
            async for frame in self.connection:
                message = wire.decode_pool_message(frame)
                self.received.append(message)
                await self._act(message)
        except ConnectionClosed:
            return

    async def _act(self, message: pool_messages.PoolMessage) -> None:
        match message:
            case pool_messages.Lease():
                if message.count:
                    self.grid.runs[message.task_id] = message
                if self.script.seals:
                    await self.say(self.seal(message))
            case pool_messages.Authorisation() if self.script.contributes_at_all:
                await self._contribute(message)
            case pool_messages.RevealNotice():
                digest = self.digest(self.script.contributes or self.script.content, message.task_id)
                with contextlib.suppress(ContractReverted):
                    await asyncio.sleep(self.script.reveals_after_s)
                    await self.grid.chain.transact(calls.reveal(self.grid.chain.hub, message.task_id, digest), self.key)
            case pool_messages.OpeningRequest() if self.script.opens:
                await self.say(
                    worker_messages.Opening(
                        lease_id=message.lease_id,
                        task_id=message.task_id,
                        digest=self.digest(self.script.content, message.task_id),
                        salt=self.salt,
                        usage=self.script.usage,
                    )
                )
            case pool_messages.UploadRequest():
                archive = self._archive(self.script.uploads or self.script.content)
                cid = await self.grid.storage.add_file(archive)
                if message.task_id in self.grid.runs:
                    results = self.results(self.script.uploads or self.script.content, message.task_id)
                    cid = await self.grid.storage.add_bytes(results.to_bytes())
                digest = self.digest(self.script.content, message.task_id)
                opening = (digest, self.salt) if message.early else (None, None)
                await self.say(worker_messages.Uploaded(message.lease_id, message.task_id, cid, "0x", *opening))
            case _:
                return

    def seal(self, lease: pool_messages.Lease) -> worker_messages.Seal:
        chain = self.grid.chain
        digest = self.digest(self.script.content, lease.task_id)
        seal = seal_hash(chain.chain_id, chain.hub, lease.task_id, lease.round, self.address, digest, self.salt)
        return worker_messages.Seal(
            lease_id=lease.lease_id,
            task_id=lease.task_id,
            round=lease.round,
            seal=seal,
            signature=self.key.sign_message(from_hex(seal)),
            compute_s=0.1,
        )

    async def _contribute(self, message: pool_messages.Authorisation) -> None:
        digest = self.digest(self.script.contributes or self.script.content, message.task_id)
        if message.fast and message.task_id in self.grid.runs:
            run = self.results(self.script.contributes or self.script.content, message.task_id)
            lease = self.grid.runs[message.task_id]
            settle = calls.settle_run(
                self.grid.chain.hub, lease.deal_id, lease.count, run.root, run.results, message.signature
            )
            await self.grid.chain.transact(settle, self.key)
            return
        if message.fast:
            results = results_text(cid_of(self._archive(self.script.content).read_bytes()))
            at_once = calls.contribute_and_finalize(
                self.grid.chain.hub, message.task_id, digest, results, b"", message.signature
            )
            await self.grid.chain.transact(at_once, self.key)
            return
        call = calls.contribute(
            self.grid.chain.hub,
            message.task_id,
            result_hash(message.task_id, digest),
            result_seal(self.address, message.task_id, digest),
            message.signature,
        )
        await self.grid.chain.transact(call, self.key)

    def digest(self, content: bytes, task: str = "") -> str:
        if task in self.grid.runs:
            return self.results(content, task).digest
        return archive_digest(self._archive(content))

    def results(self, content: bytes, run: str) -> RunResults:
        """The results of a run whose every task gave ``content``."""
        lease, archive = self.grid.runs[run], self._archive(content)
        data = archive.read_bytes()
        return RunResults(lease.index, (TaskResult(archive_digest(archive), cid_of(data), len(data)),) * lease.count)

    def _archive(self, content: bytes) -> Path:
        folder = self.grid.folder / "results" / content.hex()
        archive = folder.with_suffix(".zip")
        if not archive.exists():
            folder.mkdir(parents=True)
            (folder / "answer.txt").write_bytes(content)
            write_archive(folder, archive)
        return archive


@contextlib.asynccontextmanager
async def all_connected(workers: list[Scripted]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker.connected())
        yield
