"""Put a pool's process together: database, place among the other processes, chain, storage, scheduler, HTTP rim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.interface import Chain
from fairgrid.chain.network import Network
from fairgrid.chain.patience import when_up
from fairgrid.errors import FundsError, TransactionFailed, UsageError
from fairgrid.market.client import MarketClient
from fairgrid.pool.administration.access import AccessGate, AccessStore
from fairgrid.pool.administration.administration import administration
from fairgrid.pool.administration.operating import PoolOperator, policy_in_force
from fairgrid.pool.administration.operations import Operations
from fairgrid.pool.administration.operator_access import OperatorAccess
from fairgrid.pool.administration.operator_client import Reach, note_reach
from fairgrid.pool.app import pool_application
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.observability.meter import PoolMeter
from fairgrid.pool.onchain.offering import OfferKeeper
from fairgrid.pool.onchain.ownership import check_ownership
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.processes.collector import collecting_rarely
from fairgrid.pool.processes.gate import PoolGate
from fairgrid.pool.processes.leadership import Leader, Leadership
from fairgrid.pool.processes.pool_file import Offer
from fairgrid.pool.records.chain_memory import ChainMemory
from fairgrid.pool.records.sponsor_store import SponsorStore
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.records.task_lists import TaskLists
from fairgrid.pool.service import PoolService
from fairgrid.seams.clock import SystemClock
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.keystore import open_or_create_key
from fairgrid.wallet.signer import Signer

__all__ = ["PoolOptions", "opened_pool"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """What one process of a pool is started with."""

    network: Network
    directory: Path
    """Key, uploads that are being checked, and whatever belongs to this machine only."""
    database: str | Path
    """A path for SQLite; a URL for PostgreSQL, which several processes may share."""
    policy: Policy
    offer: Offer | None = None
    """What the pool keeps on the network's market; None: nothing."""
    meter: PoolMeter | None = None
    """What measures this process; None: nobody asks."""


@dataclass(frozen=True, slots=True)
class _Term:
    """The pool during one term of this process's lead."""

    service: PoolService
    application: Any

    async def drain(self) -> None:
        await self.service.drain()


@asynccontextmanager
async def opened_pool(options: PoolOptions, *, signer: Signer, address: str) -> AsyncIterator[PoolGate]:
    """A pool's process; ``address`` is its own URL. It leads or stands by when the block is entered.

    A pool that has served before waits for a chain that does not answer.

    Raises:
        UsageError: the key does not own the workerpool, or the database cannot be used.
        ServiceUnavailable: the database does not answer, or at the first start the chain.
    """
    network, clock = options.network, SystemClock()
    store = await asyncio.to_thread(PoolStore.open, options.database)
    try:
        served_before = await asyncio.to_thread(ChainMemory(store.engine).is_bound)
        connect = partial(JsonRpcChain.connect, network)
        async with (
            await when_up(connect, served_before=served_before) as chain,
            StorageClient(network.storage) as storage,
        ):
            owned = partial(check_ownership, chain, network.pool_address, signer)
            await when_up(owned, served_before=served_before)
            leadership = Leadership(store.engine, address=address)

            @asynccontextmanager
            async def lead(leader: Leader) -> AsyncIterator[_Term]:
                # A store remembers what it wrote; what others wrote since this process led last, only a new one sees.
                own_store = PoolStore(store.engine)
                operations = Operations(store.engine)
                lists = TaskLists(store.engine, catch_up=own_store.catch_up)
                policy = policy_in_force(options.policy, await asyncio.to_thread(operations.settings))
                async with PoolService(
                    chain=chain,
                    signer=signer,
                    workerpool=network.pool_address,
                    store=own_store,
                    storage=storage,
                    policy=policy,
                    clock=clock,
                    scratch=options.directory / "uploads",
                    epoch=leader.epoch,
                    meter=options.meter,
                    sponsor=await _sponsor(options, policy, chain, own_store),
                    access=AccessGate(AccessStore(store.engine), chain),
                ).running() as service:
                    operator = PoolOperator(service, operations, lists, base=options.policy, leadership=leadership)
                    await operator.begin()
                    access = OperatorAccess(service.identity, operator.is_operator, clock.now)
                    admin = administration(operator, operations, lists, access, hand_over=hand_over)
                    application = pool_application(service, network=network, administration=admin)
                    async with _offering(options, service, operator, chain, signer):
                        yield _Term(service, application)

            async def hand_over(note: Callable[[], Awaitable[None]]) -> str:
                return (await gate.hand_over(note)).address

            identity = PoolIdentity(chain.chain_id, chain.hub, network.pool_address)
            await asyncio.to_thread(note_reach, options.directory, Reach(address, identity))
            gate = PoolGate(leadership, lead=lead, clock=clock, patient=served_before)
            with collecting_rarely():
                async with gate.running():
                    yield gate
    finally:
        store.close()


@asynccontextmanager
async def _offering(
    options: PoolOptions, service: PoolService, operator: PoolOperator, chain: Chain, signer: Signer
) -> AsyncIterator[None]:
    """Keep the offer on the market while the block runs, if there is one."""
    if options.offer is None:
        yield
        return
    identity, clock = service.identity, SystemClock()
    async with MarketClient(options.network.market, identity.chain_id, hub=identity.hub) as market:
        keeper = OfferKeeper(
            market=market,
            signer=signer,
            identity=identity,
            offer=options.offer,
            consumed=chain.view_consumed,
            wanted=lambda: not operator.is_draining,
            clock=clock,
        )
        keeping = asyncio.create_task(keeper.keep(), name="offer")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def _sponsor(options: PoolOptions, rules: Policy, chain: Chain, store: PoolStore) -> Sponsor | None:
    """Who helps newcomers; None unless the policy gives them anything."""
    if not rules.sponsor_terms.gives_anything:
        return None
    sponsor = Sponsor(
        chain=chain,
        signer=open_or_create_key(options.directory / "sponsor"),
        rlc=options.network.rlc,
        store=SponsorStore(store.engine),
        terms=rules.sponsor_terms,
        clock=SystemClock(),
    )
    try:
        await sponsor.allow()
    except (FundsError, TransactionFailed) as error:
        raise UsageError(
            f"The policy sponsors newcomers, but {sponsor.address} cannot pay for it ({error}). Send it RLC and coins "
            f"for what may be given, or set sponsor_stake_nrlc and sponsor_coins_wei to 0."
        ) from error
    _log.info("newcomers are sponsored", sponsor=sponsor.address)
    return sponsor
