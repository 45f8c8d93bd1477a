"""Keeps the pool's offer on the market: one open order on the operator's terms, and none while the pool is drained."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from fairgrid.errors import ServiceError
from fairgrid.market.client import MarketClient, PublishedOrder
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.processes.pool_file import Offer
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.orders import WorkerpoolOrder
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.typed_data import Domain, order_hash, order_typed_data
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer

__all__ = ["OfferKeeper"]

_log = structlog.get_logger(__name__)

_LOOK_S: Final = 15.0
_MOST_ORDERS: Final = 100


class OfferKeeper:
    """One pool's place on one market. ``wanted``: whether the pool takes new work now."""

    def __init__(
        self,
        *,
        market: MarketClient,
        signer: Signer,
        identity: PoolIdentity,
        offer: Offer,
        consumed: Callable[[str], Awaitable[int]],
        wanted: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """``consumed`` tells of an order's hash how many tasks of it the chain has matched."""
        self._market = market
        self._signer = signer
        self._identity = identity
        self._offer = offer
        self._consumed = consumed
        self._wanted = wanted
        self._clock = clock
        self._domain = Domain(identity.chain_id, identity.hub)
        self._told = ""

    async def keep(self) -> None:
        """Look now and then, for ever; a market that is away is asked again."""
        while True:
            try:
                await self.look()
                self._told = ""
            except ServiceError as error:
                if str(error) != self._told:
                    self._told = str(error)
                    _log.warning("the pool's offer cannot be kept on the market now", reason=self._told)
            await self._clock.sleep(_LOOK_S)

    async def look(self) -> None:
        """Put the offer there, or take it away, if it is not as it should be.

        Orders of the pool in the same category with other terms, such as yesterday's price, are withdrawn.

        Raises:
            ServiceError: market or chain do not answer, or the market refuses; the text says why.
        """
        listed = await self._market.workerpool_orders(
            workerpool=self._identity.workerpool, category=self._offer.category, limit=_MOST_ORDERS
        )
        there = False
        for published in listed:
            hashed = order_hash(published.order, self._domain)
            good = self._wanted() and self._has_these_terms(published)
            if good and await self._consumed(hashed) < published.order.volume:
                there = True
            elif not good:
                await self._market.unpublish("workerpool", hashed, self._signer)
                _log.info("offer withdrawn", order=hashed, drained=not self._wanted())
        if there or not self._wanted():
            return
        order = self._order(salt="0x" + secrets.token_hex(32))
        signed = order.signed(self._signer.sign_typed_data(order_typed_data(order, self._domain)))
        hashed = await self._market.publish(signed, self._signer)
        _log.info("offer published", order=hashed, price_nrlc=self._offer.price_nrlc, volume=self._offer.volume)

    def _has_these_terms(self, published: PublishedOrder[WorkerpoolOrder]) -> bool:
        order = published.order
        return order.signed("0x") == self._order(salt=order.salt)

    def _order(self, *, salt: str) -> WorkerpoolOrder:
        offer = self._offer
        return WorkerpoolOrder(
            workerpool=self._identity.workerpool,
            workerpoolprice=offer.price_nrlc,
            volume=offer.volume,
            tag=f"0x{LANE_MASK:064x}" if offer.batch_lane else ZERO32,
            category=offer.category,
            trust=offer.trust,
            apprestrict=offer.app,
            datasetrestrict=offer.dataset,
            requesterrestrict=offer.requester,
            salt=salt,
        )
