"""Opens everything that a worker needs: its folder, key, store, chain, storage and runtimes."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import structlog

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.interface import Chain
from fairgrid.chain.network import Network, save_network
from fairgrid.errors import UsageError
from fairgrid.protocol.machine import Benchmark, Machine
from fairgrid.runtime.engines.node import node_facts
from fairgrid.runtime.wasm.interpreters import default_runtime_id
from fairgrid.seams.addresses import AddressRule, GuardedTransport
from fairgrid.seams.clock import SystemClock
from fairgrid.storage.client import StorageClient
from fairgrid.storage.mirrors import MirroredStorage
from fairgrid.wallet.keystore import open_or_create_key
from fairgrid.wallet.signer import Signer
from fairgrid.worker.agent import AgentOptions, Announcer, WorkerAgent
from fairgrid.worker.computing.bandwidth import TokenBucket
from fairgrid.worker.computing.folders import PARTIAL_FOLDER
from fairgrid.worker.computing.misbehave import LOCAL_CHAIN_ID, allowed
from fairgrid.worker.computing.running import LocalRuntime
from fairgrid.worker.computing.work import LocalWork
from fairgrid.worker.connection.benchmark import benchmark_of
from fairgrid.worker.connection.cache_report import CacheReporter
from fairgrid.worker.connection.claims import claimed_gpus, machine_claims
from fairgrid.worker.connection.link import LinkOptions
from fairgrid.worker.connection.spot_answers import answer_check
from fairgrid.worker.onchain.ownership import OWNER_NAME, Ownership, check_ownership, load_ownership, own_key
from fairgrid.worker.owner.control import listening
from fairgrid.worker.owner.desk import Desk
from fairgrid.worker.owner.owner_watch import OwnerWatch
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile
from fairgrid.worker.owner.readings import MachineSensors
from fairgrid.worker.records.store import WorkerStore
from fairgrid.worker.setup.offering import Offer, offered

__all__ = [
    "DATABASE_NAME",
    "NETWORK_NAME",
    "POLICY_NAME",
    "exclusive",
    "open_agent",
    "open_storage",
]

DATABASE_NAME: Final = "worker.sqlite"
POLICY_NAME: Final = "policy.toml"
NETWORK_NAME: Final = "network.json"
"""A copy of the network file that the worker last started with, so that `fairgrid worker status` finds the chain."""

_log = structlog.get_logger(__name__)
_MAX_REDIRECTS: Final = 5


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the worker's folder; only one process may, because two would sign with one key's nonces.

    Raises:
        UsageError: another process holds it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"Another worker runs in {folder}. Stop it first, or give this one another --dir."
            ) from None
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def open_storage(
    network: Network, folder: Path, policy: Callable[[], WorkerPolicy]
) -> AsyncIterator[MirroredStorage]:
    """The network's storage and its mirrors, behind the rule of decision 15 and the owner's bandwidth.

    Mirrors and private networks are those of the policy at this moment; limits of bandwidth may change at any time.

    Raises:
        UsageError: the policy names a private network that is none.
    """
    down = TokenBucket(lambda: policy().download_bytes_per_s, clock=SystemClock())
    up = TokenBucket(lambda: policy().upload_bytes_per_s, clock=SystemClock())
    now = policy()
    rule = AddressRule.of(now.private_networks, allow_loopback=network.chain_id == LOCAL_CHAIN_ID)
    urls = dict.fromkeys(url.rstrip("/") for url in (network.storage, *network.storage_mirrors, *now.storage_mirrors))
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                StorageClient(url, transport=GuardedTransport(rule), max_redirects=_MAX_REDIRECTS, up=up)
            )
            for url in urls
        ]
        yield MirroredStorage(clients, partial_folder=folder / PARTIAL_FOLDER, limiter=down)


async def _ownership(network: Network, folder: Path, chain: Chain, signer: Signer) -> Ownership:
    """The owner's enrolment in the folder, if there is one; else the key is its own owner."""
    workerpool = network.pool_address
    if not (folder / OWNER_NAME).exists():
        return own_key(signer, workerpool, chain_id=network.chain_id, hub=network.hub)
    ownership = await asyncio.to_thread(load_ownership, folder / OWNER_NAME)
    await check_ownership(ownership, chain, key=signer.address, workerpool=workerpool)
    return ownership


def _check_answerer(folder: Path, runtimes: Mapping[str, LocalRuntime]) -> Callable[[int, int], Awaitable[int]] | None:
    """How the pool's tests of speed are answered: in the runtime that fuel is measured in; None without it."""
    measured = runtimes.get(default_runtime_id())
    if measured is None:
        return None

    async def answer(seed: int, rounds: int) -> int:
        return await answer_check(folder, measured.sandbox, seed=seed, rounds=rounds)

    return answer


async def _claims(
    network: Network,
    folder: Path,
    policy: Callable[[], WorkerPolicy],
    offer: Offer,
    options: AgentOptions,
) -> Callable[[], Machine]:
    runtimes = offer.runtimes
    node = offer.node if offer.node is not None else await asyncio.to_thread(node_facts)
    networked = sorted(name for name, found in runtimes.items() if found.network)
    levels = sorted({found.level.value for found in runtimes.values()})
    benchmark: Benchmark | None = None
    measured = runtimes.get(default_runtime_id())
    # An engine's queue would make any claim of speed untrue.
    if options.benchmark and measured is not None and offer.node is None:
        benchmark = await benchmark_of(
            folder, measured.sandbox, storage=network.storage, cid=measured.cid, now=SystemClock().now()
        )

    def claims() -> Machine:
        now = policy()
        slots = now.slots or options.slots
        gpus = claimed_gpus(offer.gpus.given(), now)
        return machine_claims(
            now,
            slots=slots,
            folder=folder,
            runtimes=runtimes,
            levels=levels,
            gpus=gpus,
            benchmark=benchmark,
            node=node,
            network_runtimes=networked,
        )

    return claims


@asynccontextmanager
async def open_agent(
    network: Network,
    folder: Path,
    *,
    announcer: Announcer,
    options: AgentOptions,
    pool_url: str | None = None,
) -> AsyncIterator[WorkerAgent]:
    """A worker agent, ready to `run`; everything is closed when the block ends.

    ``pool_url`` overrides the network's pool service, not which workerpool it must be (decision 31).

    Raises:
        UsageError: folder, key, policy, pool URL or network file cannot be used, or the folder belongs to another
            network.
        HostFailure: no runtime is installed, or the policy's engine cannot be reached.
        ServiceUnavailable: the chain does not answer.
        VerificationError: the hub's code is not the pinned one.
    """
    allowed(options.misbehaviour, network.chain_id)
    signer = open_or_create_key(folder)

    async with AsyncExitStack() as stack:
        stack.enter_context(exclusive(folder))
        policy_file = PolicyFile(folder / POLICY_NAME)
        policy = policy_file.current
        tally: Counter[str] = Counter()
        offer = await stack.enter_async_context(
            offered(
                policy(),
                folder,
                address=signer.address,
                tally=tally,
                slots=options.slots,
                current=policy,
                is_local=network.chain_id == LOCAL_CHAIN_ID,
            )
        )
        runtimes = offer.runtimes
        link = LinkOptions(
            url=(pool_url or network.pool).rstrip("/"),
            chain_id=network.chain_id,
            hub=network.hub,
            workerpool=network.pool_address,
            runtimes=tuple(runtimes),
            slots=options.slots,
            claims=await _claims(network, folder, policy, offer, options),
            longest_pause_s=2.0 if network.chain_id == LOCAL_CHAIN_ID else 5.0,
        )
        async with await JsonRpcChain.connect(network) as chain, open_storage(network, folder, policy) as storage:
            store = WorkerStore.open(folder / DATABASE_NAME)
            try:
                ownership = await _ownership(network, folder, chain, signer)
                store.bind(chain_id=network.chain_id, hub=network.hub, worker=ownership.worker)
                save_network(network, folder / NETWORK_NAME)
                clock = SystemClock()
                if offer.cells is not None:
                    offer.cells.keep_in(store)
                work = LocalWork(
                    folder,
                    chain=chain,
                    storage=storage,
                    runtimes=runtimes,
                    policy=policy,
                    misbehaviour=options.misbehaviour,
                    slots=options.slots,
                    tally=tally,
                    where=offer.cells.where if offer.cells is not None else None,
                    is_local=network.chain_id == LOCAL_CHAIN_ID,
                    gpus=offer.gpus,
                )
                owner = OwnerWatch(folder, policy_file, MachineSensors(folder), clock=clock)
                agent = WorkerAgent(
                    link=link,
                    chain=chain,
                    signer=signer,
                    store=store,
                    work=work,
                    policy=policy,
                    clock=clock,
                    announcer=announcer,
                    options=options,
                    owner=owner,
                    ownership=ownership,
                    check=_check_answerer(folder, runtimes) if offer.node is None else None,
                    tally=tally,
                )
                talk = agent.talk
                work.live.listen(talk.tell)
                talk.partials = work.live.partial
                work.private.ask, work.private.forget = talk.keys.keys_of, talk.keys.forget
                talk.cache = CacheReporter(work.cached, tell=talk.tell, allowed=lambda: policy().tell_cached)
                assert agent.heed is not None
                desk = Desk(agent, owner, agent.heed, clock=clock)
                async with listening(folder, desk.handle):
                    yield agent
            finally:
                store.close()
