"""What a job will cost and how far it will be trusted, before anything is signed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from fairgrid.chain.interface import Chain
from fairgrid.chain.network import Network
from fairgrid.client.dependencies import check_dependency
from fairgrid.client.job import Job
from fairgrid.client.journal import Journal
from fairgrid.client.orders import Offer, find_app_order, find_workerpool_order, offer_of
from fairgrid.client.patience import trust_in_reach
from fairgrid.client.progress import OnProgress, ignore_progress
from fairgrid.errors import FundsError, OrderError, UsageError
from fairgrid.market.client import MarketClient
from fairgrid.pool.client import PoolClient
from fairgrid.protocol.orders import AppOrder, WorkerpoolOrder
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.trust import trust_from_confidence
from fairgrid.seams.clock import Clock, SystemClock

__all__ = ["BATCH_TAG", "DEFAULT_CATEGORY", "LaneWish", "Quote", "Quoter", "TrustWish", "wants_batch"]

BATCH_TAG = f"0x{LANE_MASK:064x}"
DEFAULT_CATEGORY = 0
_FEW_TASKS = 8


class LaneWish(StrEnum):
    """How the requester wants a bag settled."""

    AUTO = "auto"
    """Large bags in runs if the pool offers it, small ones task by task."""
    CLASSIC = "classic"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class TrustWish:
    """How sure the requester wants to be: a ``confidence`` (decimal text), and how many workers must agree at least.

    Raises:
        UsageError: no deal can carry the confidence (see `trust_from_confidence`).
    """

    confidence: str = "0.9"
    workers_at_least: int = 1

    def __post_init__(self) -> None:
        trust_from_confidence(self.confidence)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a job will cost and how far it will be trusted, before anything is signed."""

    offer: Offer
    trust: int
    category: int
    timeref: int
    stake: int
    """What the requester has in escrow, free to spend (nRLC)."""
    tasks: int = 1
    batch: bool = False
    """Whether its tasks are settled in runs, in the batch lane."""

    @property
    def price(self) -> int:
        """Price of the job (nRLC), of all its tasks together."""
        return self.offer.price * self.tasks


def wants_batch(lane: LaneWish, tasks: int) -> bool:
    """Whether a job of so many tasks is to be settled in runs, where the pool offers it."""
    return lane is LaneWish.BATCH or (lane is LaneWish.AUTO and tasks > _FEW_TASKS)


class Quoter:
    """Asks the pool, the market and the chain for one requester. Signs nothing and sends nothing."""

    def __init__(
        self,
        network: Network,
        requester: str,
        *,
        chain: Chain,
        market: MarketClient,
        pool: PoolClient,
        journal: Journal,
        clock: Clock | None = None,
    ) -> None:
        self._network = network
        self._requester = requester
        self._chain = chain
        self._market = market
        self._pool = pool
        self._journal = journal
        self._clock = clock or SystemClock()

    async def quote(
        self,
        job: Job,
        wish: TrustWish,
        *,
        category: int = DEFAULT_CATEGORY,
        lane: LaneWish = LaneWish.AUTO,
        on_progress: OnProgress = ignore_progress,
    ) -> Quote:
        """Find the orders, and refuse what cannot be reached or paid. Owners that the pool lost a moment ago are
        waited for, if the trust needs them.

        A bag of more than 8 tasks goes into the batch lane if the pool offers it, unless ``lane`` says otherwise.

        Raises:
            UsageError: an unknown trust or category, or a dependency that no job can use.
            TrustUnreachable: the pool's connected owners cannot reach the trust.
            FundsError: escrow and wallet together do not cover the price.
            OrderError: nobody offers what the job needs.
        """
        for reference in job.dependencies:
            await check_dependency(self._chain, self._pool, self._journal, reference)
        if category >= await self._chain.count_categories():
            raise UsageError(f"There is no category {category} on this hub.")
        trust = await self._reachable_trust(wish, on_progress)
        app = await find_app_order(
            self._market,
            self._chain,
            runtime=job.runtime,
            requester=self._requester,
            tasks=job.tasks,
            app=job.app,
        )
        workerpool, batch = await self._pool_order(job, app, trust, category, lane)
        offer = offer_of(app, workerpool)
        stake = await self._stake_that_covers(offer.price * job.tasks)
        timeref = (await self._chain.view_category(category)).timeref
        return Quote(offer, trust, category, timeref, stake, job.tasks, batch)

    async def _reachable_trust(self, wish: TrustWish, on_progress: OnProgress) -> int:
        asked = trust_from_confidence(wish.confidence)
        info = await self._pool.info()
        if info.hub != self._network.hub or info.workerpool != self._network.pool_address:
            raise UsageError(
                f"The pool at {self._network.pool} serves workerpool {info.workerpool} on hub {info.hub}, not the "
                f"ones of this network file. Fetch the right file from your operator."
            )
        return await trust_in_reach(
            self._pool,
            asked=asked,
            workers_at_least=wish.workers_at_least,
            clock=self._clock,
            on_progress=on_progress,
        )

    async def _pool_order(
        self, job: Job, app: AppOrder, trust: int, category: int, lane: LaneWish
    ) -> tuple[WorkerpoolOrder, bool]:
        """The pool's order, and whether the job's tasks are settled in runs."""
        find_pool = partial(
            find_workerpool_order,
            self._market,
            self._chain,
            workerpool=self._network.pool_address,
            category=category,
            trust=trust,
            app=app.app,
            requester=self._requester,
            tasks=job.tasks,
        )
        if lane is LaneWish.BATCH and job.dependencies:
            raise UsageError("A job that depends on other tasks cannot be in the batch lane. Leave `--lane batch` out.")
        if job.dependencies or not wants_batch(lane, job.tasks):
            return await find_pool(), False
        try:
            return await find_pool(tag=BATCH_TAG), True
        except OrderError:
            if lane is not LaneWish.AUTO:
                raise
            return await find_pool(), False

    async def _stake_that_covers(self, price: int) -> int:
        stake = (await self._chain.view_account(self._requester)).stake
        wallet = await self._chain.rlc_balance(self._requester)
        if stake + wallet < price:
            raise FundsError(
                f"The job costs {price} nRLC and {self._requester} has {stake} nRLC in escrow and {wallet} nRLC in "
                f"its wallet. Nothing was signed. Send it at least {price - stake - wallet} nRLC more."
            )
        if await self._chain.balance_wei(self._requester) == 0:
            raise FundsError(
                f"{self._requester} has no coin of chain {self._chain.chain_id} to pay gas with. Nothing was signed. "
                f"Send it some; a match takes about 400,000 gas."
            )
        return stake
