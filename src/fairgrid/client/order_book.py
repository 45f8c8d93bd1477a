"""What a market has: the orders of an account, the one of a hash, and those that fit a wish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import hex32
from fairgrid.protocol.orders import Order

if TYPE_CHECKING:
    from fairgrid.market.client import MarketClient, PublishedOrder

__all__ = ["KINDS", "check_kind", "find_published", "open_orders_of", "price_of", "search_book"]

KINDS: Final = ("app", "dataset", "workerpool", "request")
"""The kinds of orders that a deal is made of."""

_ANY: Final = "any"
_PRICES: Final = {name: f"{name}price" for name in KINDS[:3]} | {"request": "workerpoolmaxprice"}


def check_kind(kind: str) -> str:
    """``kind``, if it is one of orders.

    Raises:
        UsageError: it is none.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of orders. Choose one of {', '.join(KINDS)}.")
    return kind


def price_of(order: Order) -> int:
    """What one use or task costs (nRLC); of a request: the most that it pays the pool."""
    return int(getattr(order, _PRICES[order.KIND]))


async def open_orders_of(market: MarketClient, kind: str, owner: str) -> Sequence[PublishedOrder[Any]]:
    """The open orders of one account, restricted ones too."""
    if kind == "app":
        return await market.app_orders(None, app_owner=owner, dataset=_ANY, workerpool=_ANY, requester=_ANY)
    if kind == "dataset":
        return await market.dataset_orders(None, dataset_owner=owner, app=_ANY, workerpool=_ANY, requester=_ANY)
    if kind == "workerpool":
        return await market.workerpool_orders(workerpool_owner=owner, app=_ANY, dataset=_ANY, requester=_ANY)
    return await market.request_orders(requester=owner, workerpool=_ANY, app=_ANY, dataset=_ANY, beneficiary=_ANY)


async def find_published(market: MarketClient, order_hash: str) -> PublishedOrder[Any] | None:
    """The order of a hash, whatever its kind and status; None when the market does not have it."""
    for kind in KINDS:
        entry = await market.order(kind, hex32(order_hash))
        if entry is not None:
            return entry
    return None


async def search_book(
    market: MarketClient,
    kind: str,
    *,
    category: int | None = None,
    trust: int | None = None,
    tag: str | None = None,
    max_price: int | None = None,
    min_volume: int | None = None,
    app: str | None = None,
    dataset: str | None = None,
    workerpool: str | None = None,
    restricted: bool = False,
    limit: int = 50,
) -> list[PublishedOrder[Any]]:
    """The open orders of a kind that fit, the cheapest first; of requests the best paid.

    ``category`` and ``trust`` are of pools and requests: pools that offer this trust or more, requests that ask for no
    more. ``tag`` is 0x-hex: orders with all of its bits. ``max_price`` is nRLC a task. Orders that only some may use
    are left out unless ``restricted``.
    """
    chosen = {"app": app, "dataset": dataset, "workerpool": workerpool}
    filters: dict[str, Any] = {"min_volume": min_volume}
    if tag is not None:
        filters["min_tag"] = tag
    if restricted:
        filters |= {name: _ANY for name in (*chosen, "requester") if name != kind}
    if kind == "request":
        filters |= {"max_trust": trust, "app": _ANY, "dataset": _ANY}
    filters |= {name: address for name, address in chosen.items() if address is not None}
    found = await _asked(market, kind, filters, category, trust)
    wanted = int(tag or "0x0", 16)
    fitting = [entry for entry in found if max_price is None or price_of(entry.order) <= max_price]
    return [entry for entry in fitting if int(entry.order.tag, 16) & wanted == wanted][:limit]


async def _asked(
    market: MarketClient, kind: str, filters: dict[str, Any], category: int | None, trust: int | None
) -> Sequence[PublishedOrder[Any]]:
    if kind == "app":
        return await market.app_orders(filters.pop("app", _ANY), **filters)
    if kind == "dataset":
        return await market.dataset_orders(filters.pop("dataset", _ANY), **filters)
    if kind == "workerpool":
        return await market.workerpool_orders(category=category, min_trust=trust, **filters)
    filters.pop("requester", None)
    return await market.request_orders(category=category, **filters)
