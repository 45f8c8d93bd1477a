"""What the chain says of an order: may it be published, what is left of it, can it still be matched."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fairgrid.chain.interface import Chain
from fairgrid.errors import ContractReverted
from fairgrid.market.kinds import REQUEST, WORKERPOOL, Kind, kind_of
from fairgrid.market.refusals import Forbidden
from fairgrid.market.store import OrderBook, OrderStatus, StoredOrder
from fairgrid.protocol.orders import Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.typed_data import Domain, order_hash

__all__ = ["Checks"]

_POOL_STAKE_PERCENT = 30


class Checks:
    """The rules of publication, in their published order, over one chain and one book.

    Every method that asks the chain raises `ServiceUnavailable` when no node answers.
    """

    def __init__(self, chain: Chain, book: OrderBook, *, max_open: int = 50) -> None:
        self._chain = chain
        self._book = book
        self._max_open = max_open
        self._domain = Domain(chain.chain_id, chain.hub)

    async def publish(self, order: Order, wallet: str, now_ms: int) -> StoredOrder:
        """Check a signed order of ``wallet`` and put it into the book.

        Raises:
            Forbidden: a rule forbids it; the text says which.
        """
        kind = kind_of(order)
        identity = order_hash(order, self._domain)
        known = await asyncio.to_thread(self._book.get, identity)
        if known is not None and known.status is not OrderStatus.DEAD:
            raise Forbidden("order already published")
        signer = await self._owner(kind, order)
        if signer is None:
            raise Forbidden("Resource not deployed")
        if signer != wallet:
            raise Forbidden(f"only order signer {signer} can publish an order")
        if not await self.signed(signer, identity, order.sign):
            raise Forbidden("invalid sign")
        await asyncio.to_thread(self._book.refuse_too_many, kind, signer, self._max_open)
        remaining = order.volume - await self._chain.view_consumed(identity)
        if remaining <= 0:
            raise Forbidden("order already consumed")
        refusal = await self._stake_refusal(order, signer, remaining)
        if refusal is not None:
            raise Forbidden(refusal)
        if isinstance(order, RequestOrder):
            refusal = await asyncio.to_thread(self._book.counterpart_refusal, order)
            if refusal is not None:
                raise Forbidden(refusal)
        new = StoredOrder(
            order_hash=identity,
            kind=kind,
            order=order,
            signer=signer,
            status=OrderStatus.OPEN,
            remaining=remaining,
            published_ms=now_ms,
        )
        return await asyncio.to_thread(lambda: self._book.add(new, max_open=self._max_open))

    async def current(self, stored: StoredOrder, *, closed: bool = False) -> StoredOrder:
        """The order with the status and remaining volume that the chain gives it now.

        ``closed`` tells that its owner closed it, which consumes it wholly. A dead order stays dead.
        """
        consumed = await self._chain.view_consumed(stored.order_hash)
        remaining = max(stored.order.volume - consumed, 0)
        if not remaining:
            ended = closed or stored.status is OrderStatus.CANCELED
            return replace(stored, remaining=0, status=OrderStatus.CANCELED if ended else OrderStatus.FILLED)
        matchable = (
            stored.status is not OrderStatus.DEAD
            and await self._owner(stored.kind, stored.order) == stored.signer
            and await self._stake_refusal(stored.order, stored.signer, remaining) is None
        )
        return replace(stored, remaining=remaining, status=OrderStatus.OPEN if matchable else OrderStatus.DEAD)

    async def _owner(self, kind: Kind, order: Order) -> str | None:
        """Who may sign this order; None when its asset is not registered."""
        address = str(getattr(order, kind.resource_field))
        if kind is REQUEST:
            return address
        if not await self._chain.is_registered(kind.name, address):
            return None
        if kind is WORKERPOOL:
            return (await self._chain.view_workerpool(address)).owner
        if kind.name == "dataset":
            return (await self._chain.view_dataset(address)).owner
        return (await self._chain.view_app(address)).owner

    async def signed(self, signer: str, identity: str, signature: str) -> bool:
        """Whether the hub takes it for a signature of ``signer`` on this hash: of a key, or as a contract says."""
        try:
            return await self._chain.verify_signature(signer, identity, signature)
        except ContractReverted:
            # The hub reverts on a signature of an impossible length.
            return False

    async def _stake_refusal(self, order: Order, signer: str, remaining: int) -> str | None:
        if isinstance(order, WorkerpoolOrder):
            required = order.workerpoolprice * _POOL_STAKE_PERCENT // 100 * remaining
            if (await self._chain.view_account(signer)).stake < required:
                return "workerpool owner's stake is too low to cover required workerpool lock"
        if isinstance(order, RequestOrder):
            required = (order.appmaxprice + order.datasetmaxprice + order.workerpoolmaxprice) * remaining
            if (await self._chain.view_account(signer)).stake < required:
                return (
                    f"requester stake is too low to cover requestorder payment, "
                    f"minimum stake required is {required} nRLC"
                )
        return None
