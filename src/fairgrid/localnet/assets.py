"""What a local network has to offer: the generic Python app (decision 44), a workerpool, and their orders."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.decode import created_address
from fairgrid.chain.network import Network
from fairgrid.errors import HostFailure
from fairgrid.localnet.folder import url_answers
from fairgrid.market.client import MarketClient
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.orders import AppOrder, WorkerpoolOrder
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.typed_data import Domain, order_hash, order_typed_data
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.levels import RuntimeInfo
from fairgrid.runtime.wasm.interpreters import find_runtime
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["Terms", "offer", "publish_orders", "register_app", "register_workerpool", "upload_content"]

_Sold = TypeVar("_Sold", AppOrder, WorkerpoolOrder)

_POOL_DESCRIPTION = "Fairgrid local pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the local network asks for one task. Prices are nRLC, ratios percent."""

    app_price: int = 1_000_000
    pool_price: int = 100_000_000
    worker_stake_ratio: int = 30
    """Percent of the pool's price that a worker stakes on its result."""
    scheduler_reward_ratio: int = 5
    """Percent of the pool's price that the scheduler keeps."""
    category: int = 0
    trust: int = 1_000_000
    """The pool takes deals up to this trust; what its workers reach is another matter (`GET /trust`)."""
    app_volume: int = 1_000_000_000
    pool_volume: int = 100_000
    """Tasks of one order of the pool; its owner's deposit must cover the scheduler's stake (30 %) of all of them."""


async def register_app(chain: JsonRpcChain, owner: Signer, runtime: RuntimeInfo) -> str:
    """The address of the generic app that runs any program in ``runtime``; created if it is not there."""
    registry = await chain.registry("app")
    multiaddr, checksum = f"/ipfs/{runtime.content.cid}".encode(), runtime.content.sha256
    arguments = (owner.address, runtime.runtime_id, runtime.app_type, multiaddr, checksum, b"")
    address = str(await chain.read("app_registry", registry, "predictApp", *arguments))
    if await chain.is_registered("app", address):
        return address
    return created_address(await chain.transact(calls.create_app(registry, *arguments), owner), registry)


async def register_workerpool(chain: JsonRpcChain, owner: Signer, terms: Terms) -> str:
    """The address of the owner's workerpool, with the policy that ``terms`` say; created if it is not there."""
    registry = await chain.registry("workerpool")
    arguments = (owner.address, _POOL_DESCRIPTION)
    address = str(await chain.read("workerpool_registry", registry, "predictWorkerpool", *arguments))
    if not await chain.is_registered("workerpool", address):
        receipt = await chain.transact(calls.create_workerpool(registry, *arguments), owner)
        address = created_address(receipt, registry)
    info = await chain.view_workerpool(address)
    wanted = (terms.worker_stake_ratio, terms.scheduler_reward_ratio)
    if (info.worker_stake_ratio, info.scheduler_reward_ratio) != wanted:
        policy = calls.change_policy(address, stake_ratio=wanted[0], scheduler_ratio=wanted[1])
        await chain.transact(policy, owner)
    return address


async def upload_content(storage: StorageClient, runtime: RuntimeInfo) -> None:
    """Offer what the generic app names, so that other machines can fetch it by the app's multiaddr.

    An interpreter that is not installed here is not offered.
    """
    if await storage.kept(runtime.content.cid) is not None:
        return
    if runtime.description:
        await storage.add_bytes(runtime.description)
        return
    with contextlib.suppress(HostFailure):
        await storage.add_file(find_runtime(runtime.runtime_id).wasm)


async def publish_orders(
    market: MarketClient,
    chain: JsonRpcChain,
    terms: Terms,
    *,
    apps: Sequence[str],
    app_owner: Signer,
    workerpool: str,
    pool_owner: Signer,
) -> None:
    """Publish the order of each app and the pool's, unless they are on the market."""
    domain = Domain(chain.chain_id, chain.hub)
    workerpool_order = WorkerpoolOrder(
        workerpool=workerpool,
        workerpoolprice=terms.pool_price,
        volume=terms.pool_volume,
        tag=f"0x{LANE_MASK:064x}",
        category=terms.category,
        trust=terms.trust,
        apprestrict=ZERO_ADDRESS,
        datasetrestrict=ZERO_ADDRESS,
        requesterrestrict=ZERO_ADDRESS,
        salt=ZERO32,
    )
    await asyncio.gather(*(_publish_app(market, chain, terms, app, app_owner) for app in apps))
    pool_orders, workerpool_order = await asyncio.gather(
        market.workerpool_orders(category=terms.category, workerpool=workerpool),
        _unused(chain, workerpool_order, domain),
    )
    signed_pool = workerpool_order.signed(pool_owner.sign_typed_data(order_typed_data(workerpool_order, domain)))
    if signed_pool not in [published.order for published in pool_orders]:
        await market.publish(signed_pool, pool_owner)


async def offer(
    network: Network, terms: Terms, *, apps: Sequence[str], app_owner: Signer, pool_owner: Signer, within_s: float
) -> None:
    """Upload the interpreters and publish the orders, as soon as storage and market answer.

    Raises:
        ServiceUnavailable: storage or market does not answer within ``within_s`` seconds.
    """

    async def upload() -> None:
        await url_answers(network.storage, within_s=within_s)
        async with StorageClient(network.storage) as storage:
            for info in CATALOGUE.values():
                await upload_content(storage, info)

    async def publish() -> None:
        await url_answers(network.market, within_s=within_s)
        async with (
            await JsonRpcChain.connect(network) as chain,
            MarketClient(network.market, network.chain_id, hub=network.hub) as market,
        ):
            await publish_orders(
                market,
                chain,
                terms,
                apps=apps,
                app_owner=app_owner,
                workerpool=network.pool_address,
                pool_owner=pool_owner,
            )

    await asyncio.gather(upload(), publish())


async def _publish_app(market: MarketClient, chain: JsonRpcChain, terms: Terms, app: str, owner: Signer) -> None:
    domain = Domain(chain.chain_id, chain.hub)
    wanted = AppOrder(
        app=app,
        appprice=terms.app_price,
        volume=terms.app_volume,
        tag=ZERO32,
        datasetrestrict=ZERO_ADDRESS,
        workerpoolrestrict=ZERO_ADDRESS,
        requesterrestrict=ZERO_ADDRESS,
        salt=ZERO32,
    )
    published, order = await asyncio.gather(market.app_orders(app), _unused(chain, wanted, domain))
    signed = order.signed(owner.sign_typed_data(order_typed_data(order, domain)))
    if signed not in [entry.order for entry in published]:
        await market.publish(signed, owner)


async def _unused(chain: JsonRpcChain, order: _Sold, domain: Domain) -> _Sold:
    """The order with the first salt that has volume left: published again it is the same order, not another one."""
    for number in itertools.count(1):
        salted = replace(order, salt=to_hex32(keccak(f"fairgrid/local/{number}".encode())))
        if await chain.view_consumed(order_hash(salted, domain)) < order.volume:
            return salted
    raise AssertionError("numbers do not end")
