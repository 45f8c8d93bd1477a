"""Which orders to take: the cheapest that fit, from an order book that is never believed without looking."""

from __future__ import annotations

from dataclasses import dataclass

from fairgrid.chain.interface import Chain
from fairgrid.client.job import JobRuntime
from fairgrid.errors import OrderError
from fairgrid.market.client import MarketClient, PublishedOrder
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, to_hex32
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.tags import covers, has_lane
from fairgrid.protocol.typed_data import Domain, order_hash

__all__ = [
    "Offer",
    "find_app_order",
    "find_workerpool_order",
    "offer_of",
    "open_to",
    "request_for",
]

"""Type of the generic app whose jobs are manifests (decision 44)."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The three signed orders that a request is matched with, and what one task costs (nRLC)."""

    app: AppOrder
    dataset: DatasetOrder
    workerpool: WorkerpoolOrder

    @property
    def offers_batch_lane(self) -> bool:
        """Whether the pool settles runs of many tasks as one, if the request asks for it."""
        return has_lane(self.workerpool.tag)

    @property
    def price(self) -> int:
        """Price of one task."""
        return self.app.appprice + self.dataset.datasetprice + self.workerpool.workerpoolprice


async def open_to(chain: Chain, restriction: str, account: str) -> bool:
    """True if an order that names ``restriction`` admits the account: anybody, itself, or a member of that group."""
    return restriction in (ZERO_ADDRESS, account) or await chain.is_member(restriction, account)


async def find_app_order(
    market: MarketClient, chain: Chain, *, runtime: JobRuntime, requester: str, tasks: int = 1, app: str = ""
) -> AppOrder:
    """The cheapest order of an app that is this runtime: named so, of its type, with this very content.

    With ``app`` the cheapest of that app, whatever its content. It is good for ``tasks`` more uses.

    Raises:
        OrderError: nobody offers one.
    """
    published = await market.app_orders(app or "any", requester="any")
    for candidate in sorted(published, key=lambda entry: entry.order.appprice):
        order = candidate.order
        if not _usable(candidate, chain) or order.tag != ZERO32:
            continue
        if not await open_to(chain, order.requesterrestrict, requester):
            continue
        if app and order.app != app:
            continue
        if not app and not await _is_runtime(chain, order.app, runtime):
            continue
        if await chain.view_consumed(order_hash(order, _domain(chain))) + tasks <= order.volume:
            return order
    if app:
        raise OrderError(
            f"Nobody offers {tasks} task(s) of the app {app} to {requester} on this market. Its owner lists it with "
            f"`fairgrid app publish --volume N`."
        )
    raise OrderError(
        f"No app on this market is the runtime {runtime.runtime_id} as this version knows it. "
        f"Ask the network's operator to publish one, or choose a runtime that it has."
    )


async def find_workerpool_order(
    market: MarketClient,
    chain: Chain,
    *,
    workerpool: str,
    category: int,
    trust: int,
    app: str,
    requester: str,
    tasks: int = 1,
    tag: str = ZERO32,
) -> WorkerpoolOrder:
    """The cheapest order of ``workerpool`` in this category that offers ``tag`` and ``trust`` to ``tasks`` tasks.

    Raises:
        OrderError: the pool offers none.
    """
    published = await market.workerpool_orders(category=category, workerpool=workerpool, requester="any")
    for candidate in sorted(published, key=lambda entry: entry.order.workerpoolprice):
        order = candidate.order
        if (
            _usable(candidate, chain)
            and order.workerpool == workerpool
            and order.category == category
            and order.trust >= trust
            and await open_to(chain, order.apprestrict, app)
            and await open_to(chain, order.datasetrestrict, ZERO_ADDRESS)
            and await open_to(chain, order.requesterrestrict, requester)
            and covers(order.tag, tag)
            and await chain.view_consumed(order_hash(order, _domain(chain))) + tasks <= order.volume
        ):
            return order
    if has_lane(tag) and not any(has_lane(entry.order.tag) for entry in published):
        raise OrderError(f"The workerpool {workerpool} does not offer the batch lane. Ask for `--lane classic`.")
    if published and not [
        entry for entry in published if await open_to(chain, entry.order.requesterrestrict, requester)
    ]:
        groups = ", ".join(dict.fromkeys(entry.order.requesterrestrict for entry in published))
        raise OrderError(
            f"The workerpool {workerpool} is private: its orders are for {groups} only, and {requester} is not one of "
            f"them. Ask its operator to take you into the group."
        )
    best = max((entry.order.trust for entry in published), default=None)
    hint = f"its best offer is trust {best}" if best is not None else "it has no open order in this category"
    raise OrderError(
        f"The workerpool {workerpool} offers no trust {trust} in category {category}: {hint}. Ask for less."
    )


async def _is_runtime(chain: Chain, app: str, runtime: JobRuntime) -> bool:
    info = await chain.view_app(app)
    return (info.type, info.name, info.checksum) == (runtime.app_type, runtime.runtime_id, runtime.checksum)


def _domain(chain: Chain) -> Domain:
    return Domain(chain.chain_id, chain.hub)


def _usable(entry: PublishedOrder[Order], chain: Chain) -> bool:
    return entry.remaining > 0 and entry.order_hash == order_hash(entry.order, _domain(chain))


def request_for(
    offer: Offer,
    *,
    requester: str,
    category: int,
    trust: int,
    params: str,
    salt: bytes,
    volume: int = 1,
    tag: str = ZERO32,
) -> RequestOrder:
    """The unsigned request that this offer fulfils exactly: same app and pool, same prices, nobody else."""
    return RequestOrder(
        app=offer.app.app,
        appmaxprice=offer.app.appprice,
        dataset=ZERO_ADDRESS,
        datasetmaxprice=0,
        workerpool=offer.workerpool.workerpool,
        workerpoolmaxprice=offer.workerpool.workerpoolprice,
        requester=requester,
        volume=volume,
        tag=tag,
        category=category,
        trust=trust,
        beneficiary=requester,
        callback=ZERO_ADDRESS,
        params=params,
        salt=to_hex32(salt),
    )


def offer_of(app: AppOrder, workerpool: WorkerpoolOrder) -> Offer:
    """An offer without a dataset."""
    return Offer(app, NULL_DATASET_ORDER, workerpool)
