"""``client.orders``: sign, publish, find and cancel orders of every kind."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any, TypeVar

from fairgrid.chain import calls
from fairgrid.chain.interface import Chain
from fairgrid.client.order_book import KINDS, check_kind, find_published, open_orders_of, search_book
from fairgrid.client.order_desk import (
    Standing,
    check_signer,
    identity_of,
    parse_tag,
    parse_trust,
    signed_order,
    standing_of,
)
from fairgrid.errors import OrderError, ServiceRefused, UsageError
from fairgrid.market.client import MarketClient, PublishedOrder
from fairgrid.protocol.amounts import parse_rlc
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.wallet.signer import Signer

__all__ = ["Cancelled", "Orders"]

_AnyOrder = TypeVar("_AnyOrder", AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of an order that was cancelled."""

    order_hash: str
    left: int
    """How many tasks it was still good for."""
    tx_hash: str
    """The cancellation on chain; empty if it was only taken off the market."""
    off_market: bool
    """False if the market did not list it (any more)."""


class Orders:
    """The orders of one account. A signed order is a promise: whoever has it may use it until its volume is gone, or
    until it is cancelled on chain.

    Prices are whole nRLC a task, or text with a unit as ``"0.1 RLC"``. ``tag`` is words as ``"tee,batch"``, or 0x and
    64 digits. ``for_app``, ``for_dataset``, ``for_workerpool`` and ``for_requester`` restrict an order to an address,
    or to the members of a group; empty means anybody. Signing costs no gas.
    """

    def __init__(self, chain: Chain, market: MarketClient, signer: Signer) -> None:
        self._chain = chain
        self._market = market
        self._signer = signer

    async def app(
        self,
        app: str,
        *,
        price: int | str = 0,
        volume: int = 1,
        tag: str = "",
        for_dataset: str = "",
        for_workerpool: str = "",
        for_requester: str = "",
    ) -> AppOrder:
        """Sign an offer of ``volume`` runs of an app that the account owns.

        Raises:
            UsageError: the app is not registered, or not the account's; a price or a tag is none.
            OrderError: an address or a number is none.
        """
        order = AppOrder(
            app=app,
            appprice=_nrlc(price),
            datasetrestrict=for_dataset or ZERO_ADDRESS,
            workerpoolrestrict=for_workerpool or ZERO_ADDRESS,
            requesterrestrict=for_requester or ZERO_ADDRESS,
            **_common(volume, tag),
        )
        return await self._signed(order)

    async def dataset(
        self,
        dataset: str,
        *,
        price: int | str = 0,
        volume: int = 1,
        tag: str = "",
        for_app: str = "",
        for_workerpool: str = "",
        for_requester: str = "",
    ) -> DatasetOrder:
        """Sign an offer of ``volume`` uses of a data set that the account owns.

        Raises:
            as `app`.
        """
        order = DatasetOrder(
            dataset=dataset,
            datasetprice=_nrlc(price),
            apprestrict=for_app or ZERO_ADDRESS,
            workerpoolrestrict=for_workerpool or ZERO_ADDRESS,
            requesterrestrict=for_requester or ZERO_ADDRESS,
            **_common(volume, tag),
        )
        return await self._signed(order)

    async def workerpool(
        self,
        workerpool: str,
        *,
        price: int | str = 0,
        volume: int = 1,
        category: int = 0,
        trust: int | str = 1,
        tag: str = "",
        for_app: str = "",
        for_dataset: str = "",
        for_requester: str = "",
    ) -> WorkerpoolOrder:
        """Sign an offer of ``volume`` tasks of a category on a pool that the account owns, up to ``trust``: the chain's
        number, or a confidence as ``"0.99"``. Each deal locks 30 % of the price of its tasks as the pool's stake.

        Raises:
            as `app`.
        """
        order = WorkerpoolOrder(
            workerpool=workerpool,
            workerpoolprice=_nrlc(price),
            category=category,
            trust=parse_trust(trust),
            apprestrict=for_app or ZERO_ADDRESS,
            datasetrestrict=for_dataset or ZERO_ADDRESS,
            requesterrestrict=for_requester or ZERO_ADDRESS,
            **_common(volume, tag),
        )
        return await self._signed(order)

    async def request(
        self,
        app: str,
        *,
        price: int | str = 0,
        app_price: int | str = 0,
        dataset: str = "",
        dataset_price: int | str = 0,
        volume: int = 1,
        category: int = 0,
        trust: int | str = 1,
        tag: str = "",
        for_workerpool: str = "",
        params: str = "",
        beneficiary: str = "",
        callback: str = "",
    ) -> RequestOrder:
        """Sign a request for ``volume`` tasks of an app. ``price``, ``app_price`` and ``dataset_price`` are the most
        that pool, app and data set may cost a task; whoever matches it locks up to their sum a task of this account's
        escrow. The ``beneficiary`` is the account itself if none is named.

        Raises:
            as `app`; the app is anybody's.
        """
        own = self._signer.address
        order = RequestOrder(
            app=app,
            appmaxprice=_nrlc(app_price),
            dataset=dataset or ZERO_ADDRESS,
            datasetmaxprice=_nrlc(dataset_price),
            workerpool=for_workerpool or ZERO_ADDRESS,
            workerpoolmaxprice=_nrlc(price),
            requester=own,
            category=category,
            trust=parse_trust(trust),
            beneficiary=beneficiary or own,
            callback=callback or ZERO_ADDRESS,
            params=params,
            **_common(volume, tag),
        )
        return await self._signed(order)

    async def publish(self, order: Order) -> str:
        """Put a signed order on the network's market, with a log-in that moves no money; gives its hash.

        Raises:
            OrderError: the order can make no deal now; nothing was published.
            ServiceRefused, ServiceUnavailable: the market does not take it.
        """
        standing = await self.standing(order)
        if standing.problems:
            raise OrderError(f"The order makes no deal: {' '.join(standing.problems)} It was not published.")
        return await self._market.publish(order, self._signer)

    async def standing(self, order: Order) -> Standing:
        """What the chain says of anybody's order: who may sign it, what is used of it, why it makes no deal now."""
        return await standing_of(self._chain, order)

    async def find(self, order_hash: str) -> PublishedOrder[Any]:
        """The order of a hash on the market, whatever its kind and status.

        Raises:
            UsageError: the market does not have it.
            ServiceUnavailable: the market does not answer.
        """
        found = await find_published(self._market, order_hash)
        if found is None:
            raise UsageError(f"The market has no order {order_hash}. Whoever signed it may not have published it.")
        return found

    async def of(self, owner: str, kind: str | None = None) -> list[PublishedOrder[Any]]:
        """The open orders of anybody on the market: of one ``kind`` (``app``, ``dataset``, ``workerpool``,
        ``request``), or of all.

        Raises:
            UsageError: there is no such kind.
            ServiceUnavailable: the market does not answer.
        """
        kinds = list(KINDS) if kind is None else [check_kind(kind)]
        return [entry for one in kinds for entry in await open_orders_of(self._market, one, owner)]

    async def mine(self, kind: str | None = None) -> list[PublishedOrder[Any]]:
        """The account's own open orders on the market; as `of`."""
        return await self.of(self._signer.address, kind)

    async def book(
        self,
        kind: str = "workerpool",
        *,
        category: int | None = None,
        trust: int | str | None = None,
        tag: str = "",
        max_price: int | str | None = None,
        min_volume: int | None = None,
        app: str | None = None,
        dataset: str | None = None,
        workerpool: str | None = None,
        restricted: bool = False,
        limit: int = 50,
    ) -> list[PublishedOrder[Any]]:
        """The open orders of a kind that fit, the cheapest first; of requests the best paid. A market is not believed:
        `standing` asks the chain.

        ``trust`` is the least that a pool offers, or the most that a request asks for; ``app``, ``dataset`` and
        ``workerpool`` choose orders of, or for, these. Orders for some only are left out unless ``restricted``.

        Raises:
            UsageError: there is no such kind, price or tag.
            ServiceUnavailable: the market does not answer.
        """
        return await search_book(
            self._market,
            check_kind(kind),
            category=category,
            trust=None if trust is None else parse_trust(trust),
            tag=parse_tag(tag) if tag else None,
            max_price=None if max_price is None else _nrlc(max_price),
            min_volume=min_volume,
            app=app,
            dataset=dataset,
            workerpool=workerpool,
            restricted=restricted,
            limit=limit,
        )

    async def cancel(self, order: Order, *, market_only: bool = False) -> Cancelled:
        """Cancel an order for good: on chain, for gas, and off the market. Deals that were made of it go on.

        ``market_only`` takes it off the market alone, without gas: whoever has a copy can still use it.

        Raises:
            UsageError: it is not the account's, or used up, or cancelled already; nothing was signed.
            TransactionFailed: the cancellation reverted.
            ServiceUnavailable: the market does not answer; a cancellation on chain stands.
        """
        await check_signer(self._chain, order, self._signer.address)
        identity = identity_of(self._chain, order)
        left = order.volume - await self._chain.view_consumed(identity)
        if left <= 0:
            raise UsageError(f"Order {identity} is used up, or cancelled already. Nothing was signed.")
        tx_hash = ""
        if not market_only:
            call = calls.manage_order(self._chain.hub, order, calls.CLOSE)
            tx_hash = (await self._chain.transact(call, self._signer)).tx_hash
        try:
            await self._market.unpublish(order.KIND, identity, self._signer)
        except ServiceRefused:
            # It never was there, or the market saw the cancellation first.
            return Cancelled(identity, left, tx_hash, off_market=False)
        return Cancelled(identity, left, tx_hash, off_market=True)

    async def _signed(self, order: _AnyOrder) -> _AnyOrder:
        await check_signer(self._chain, order, self._signer.address)
        return await asyncio.to_thread(signed_order, self._chain, order, self._signer)


def _nrlc(price: int | str) -> int:
    return parse_rlc(price, "The price") if isinstance(price, str) else price


def _common(volume: int, tag: str) -> dict[str, Any]:
    if volume < 1:
        raise UsageError(f"An order is for 1 task or more, not for {volume}. Nothing was signed.")
    return {"volume": volume, "tag": parse_tag(tag), "salt": "0x" + secrets.token_hex(32)}
