"""The requester's side of the network: quote, sign, match, follow, collect, and take the money back."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.interface import Chain, SignedTransaction
from fairgrid.chain.network import Network
from fairgrid.chain.sender import NonceTaken
from fairgrid.client.bags import BagFollower, TaskOutcome, collect_bag
from fairgrid.client.claims import Materialised, claim_bag, materialise
from fairgrid.client.dependencies import check_dependency
from fairgrid.client.follow import Ending, follow_task
from fairgrid.client.job import Job, PreparedJob, prepare_job
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.client.ledger import Bag
from fairgrid.client.orders import Offer, find_app_order, find_workerpool_order, offer_of, request_for
from fairgrid.client.progress import OnProgress, Phase, Progress, ignore_progress
from fairgrid.client.results import CollectedResult, collect_result
from fairgrid.client.settlement import GasLine, Settlement, collect_settlement
from fairgrid.errors import (
    DealLost,
    FundsError,
    OrderError,
    ServiceError,
    TransactionFailed,
    TrustUnreachable,
    UsageError,
)
from fairgrid.market.client import MarketClient
from fairgrid.pool.client import LiveOutput, LiveProgress, PartialView, PoolClient
from fairgrid.protocol.access import PoolPlace
from fairgrid.protocol.hexes import ZERO32, from_hex
from fairgrid.protocol.ids import deal_id as deal_id_of
from fairgrid.protocol.ids import task_id as task_id_of
from fairgrid.protocol.manifest import params_for
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.trust import trust_for_workers, trust_from_confidence
from fairgrid.protocol.typed_data import Domain, order_hash, order_typed_data
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams import tracing
from fairgrid.seams.clock import Clock, SystemClock
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["Client", "LaneWish", "Quote", "RunPart", "TrustWish"]

BATCH_TAG = f"0x{LANE_MASK:064x}"
_FEW_TASKS = 8

DEFAULT_CATEGORY = 0
_REBROADCAST_S = 10.0


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


@dataclass(frozen=True, slots=True)
class RunPart:
    """A deal's place in a run of several deals: of its first task; ``burst`` if it was bought from another pool."""

    first: int
    burst: bool = False


class Client:
    """One requester on one network. Make it with `Client.connect`."""

    def __init__(
        self,
        network: Network,
        signer: Signer,
        *,
        chain: Chain,
        market: MarketClient,
        storage: StorageClient,
        pool: PoolClient,
        journal: Journal,
        clock: Clock | None = None,
    ) -> None:
        self.network = network
        self.chain = chain
        self.pool = pool
        self.storage = storage
        self._signer = signer
        self._market = market
        self._journal = journal
        self._clock = clock or SystemClock()
        self._calls: dict[str, tuple[Any, ...]] = {}

    @classmethod
    @asynccontextmanager
    async def connect(cls, network: Network, signer: Signer, *, journal_folder: Path) -> AsyncIterator[Client]:
        """Connect to every service of ``network``; the chain is checked against the network file (decision 31)."""
        place = PoolPlace(network.chain_id, network.hub, network.pool_address)
        async with AsyncExitStack() as stack:
            chain = await JsonRpcChain.connect(network)
            await stack.enter_async_context(chain)
            market = await stack.enter_async_context(MarketClient(network.market, network.chain_id, hub=network.hub))
            storage = await stack.enter_async_context(StorageClient(network.storage))
            pool = await stack.enter_async_context(PoolClient(network.pool, place=place))
            journal = Journal(journal_folder)
            yield cls(network, signer, chain=chain, market=market, storage=storage, pool=pool, journal=journal)

    @property
    def address(self) -> str:
        """The requester."""
        return self._signer.address

    @property
    def market(self) -> MarketClient:
        """The order book."""
        return self._market

    @property
    def journal(self) -> Journal:
        """The deals of this requester."""
        return self._journal

    async def quote(
        self, job: Job, wish: TrustWish, *, category: int = DEFAULT_CATEGORY, lane: LaneWish = LaneWish.AUTO
    ) -> Quote:
        """Find the orders, and refuse what cannot be reached or paid. Nothing is signed or sent.

        A bag of more than 8 tasks goes into the batch lane if the pool offers it, unless ``lane`` says otherwise.

        Raises:
            UsageError: an unknown trust or category, or a dependency that no job can use.
            TrustUnreachable: the pool's connected owners cannot reach the trust.
            FundsError: escrow and wallet together do not cover the price.
            OrderError: nobody offers what the job needs.
        """
        trust = trust_from_confidence(wish.confidence)
        for reference in job.dependencies:
            await check_dependency(self.chain, self.pool, self._journal, reference)
        if category >= await self.chain.count_categories():
            raise UsageError(f"There is no category {category} on this hub.")
        info = await self.pool.info()
        if info.hub != self.network.hub or info.workerpool != self.network.pool_address:
            raise UsageError(
                f"The pool at {self.network.pool} serves workerpool {info.workerpool} on hub {info.hub}, not the "
                f"ones of this network file. Fetch the right file from your operator."
            )
        listing = await self.pool.trust()
        weights = [owner.weight for owner in listing.owners]
        if wish.workers_at_least > 1:
            trust = max(trust, trust_for_workers(weights, wish.workers_at_least))
        if trust > max(listing.reachable, 1) or not weights:
            raise TrustUnreachable(asked=trust, reachable=listing.reachable, owners=len(weights))
        app = await find_app_order(
            self._market,
            self.chain,
            runtime=job.runtime,
            requester=self.address,
            tasks=job.tasks,
        )
        find_pool = partial(
            find_workerpool_order,
            self._market,
            self.chain,
            workerpool=self.network.pool_address,
            category=category,
            trust=trust,
            app=app.app,
            requester=self.address,
            tasks=job.tasks,
        )
        if lane is LaneWish.BATCH and job.dependencies:
            raise UsageError("A job that depends on other tasks cannot be in the batch lane. Leave `--lane batch` out.")
        wants_lane = job.tasks > _FEW_TASKS and not job.dependencies
        batch = lane is LaneWish.BATCH or (lane is LaneWish.AUTO and wants_lane)
        try:
            workerpool = await find_pool(tag=BATCH_TAG if batch else ZERO32)
        except OrderError:
            if lane is not LaneWish.AUTO or not batch:
                raise
            batch, workerpool = False, await find_pool()
        offer = offer_of(app, workerpool)
        price = offer.price * job.tasks
        stake = (await self.chain.view_account(self.address)).stake
        wallet = await self.chain.rlc_balance(self.address)
        if stake + wallet < price:
            raise FundsError(
                f"The job costs {price} nRLC and {self.address} has {stake} nRLC in escrow and {wallet} nRLC in "
                f"its wallet. Nothing was signed. Send it at least {price - stake - wallet} nRLC more."
            )
        if await self.chain.balance_wei(self.address) == 0:
            raise FundsError(
                f"{self.address} has no coin of chain {self.chain.chain_id} to pay gas with. Nothing was signed. "
                f"Send it some; a match takes about 400,000 gas."
            )
        timeref = (await self.chain.view_category(category)).timeref
        return Quote(offer, trust, category, timeref, stake, job.tasks, batch)

    async def submit(
        self,
        job: Job,
        wish: TrustWish,
        *,
        category: int = DEFAULT_CATEGORY,
        lane: LaneWish = LaneWish.AUTO,
        on_progress: OnProgress = ignore_progress,
    ) -> DealRecord:
        """`sign`, then `match`: one deal. Returns when the deal is mined.

        Raises:
            everything of the two.
        """
        signed = await self.sign(job, wish, category=category, lane=lane, on_progress=on_progress)
        return await self.match(signed, on_progress)

    async def sign(
        self,
        job: Job,
        wish: TrustWish,
        *,
        category: int = DEFAULT_CATEGORY,
        lane: LaneWish = LaneWish.AUTO,
        accept: Callable[[Quote], None] | None = None,
        on_progress: OnProgress = ignore_progress,
    ) -> DealRecord:
        """Upload, deposit what is missing, and sign the match of a deal; it is in the journal, not sent.

        From here on `match` can be called at any time, also by another process: a cut at any moment loses nothing.
        ``accept`` sees the quote before anything is sent or signed, and raises if it does not agree.

        Raises:
            everything of `quote` and ``accept``; ServiceUnavailable; ContractReverted.
        """
        with tracing.call("submit") as told:
            record = await self._sign(job, wish, category, lane, accept, on_progress)
            told.set(deal=record.deal_id)
            self._calls[record.deal_id] = tracing.context_of(told)
        return record

    async def _sign(
        self,
        job: Job,
        wish: TrustWish,
        category: int,
        lane: LaneWish,
        accept: Callable[[Quote], None] | None,
        on_progress: OnProgress,
    ) -> DealRecord:
        on_progress(Progress(Phase.PREPARING, "asking pool and market for an offer"))
        quote = await self.quote(job, wish, category=category, lane=lane)
        if accept is not None:
            accept(quote)
        return await self.sign_quote(job, quote, on_progress)

    async def sign_quote(
        self, job: Job, quote: Quote, on_progress: OnProgress = ignore_progress, *, part: RunPart | None = None
    ) -> DealRecord:
        """As `sign`, for a quote that was made already; ``part`` says of what run the deal is a part.

        Raises:
            ServiceUnavailable, ContractReverted.
        """
        on_progress(Progress(Phase.PREPARING, f"uploading {job.script.name} and {len(job.inputs)} input file(s)"))
        prepared = await prepare_job(job, self.storage, timeref=quote.timeref)
        await self._deposit_missing(quote, on_progress)
        bag = f"{quote.tasks} tasks in the {'batch' if quote.batch else 'classic'} lane, " if quote.tasks > 1 else ""
        on_progress(Progress(Phase.SIGNING, f"{bag}trust {quote.trust}, {quote.price} nRLC"))
        return await self._sign_match(quote, prepared, part)

    async def _deposit_missing(self, quote: Quote, on_progress: OnProgress) -> None:
        missing = quote.price - quote.stake
        if missing <= 0:
            return
        on_progress(Progress(Phase.PREPARING, f"depositing {missing} nRLC in escrow"))
        await self.chain.transact(calls.approve(self.network.rlc, self.network.hub, missing), self._signer)
        await self.chain.transact(calls.deposit(self.network.hub, missing), self._signer)

    async def _sign_match(self, quote: Quote, prepared: PreparedJob, part: RunPart | None = None) -> DealRecord:
        request = request_for(
            quote.offer,
            requester=self.address,
            category=quote.category,
            trust=quote.trust,
            params=params_for(self.network.storage, prepared.manifest_cid),
            salt=secrets.token_bytes(32),
            volume=quote.tasks,
            tag=BATCH_TAG if quote.batch else ZERO32,
        )
        domain = Domain(self.chain.chain_id, self.chain.hub)
        request = request.signed(self._signer.sign_typed_data(order_typed_data(request, domain)))
        match = calls.match_orders(
            self.network.hub, quote.offer.app, quote.offer.dataset, quote.offer.workerpool, request
        )
        transaction = await self.chain.prepare(match, self._signer)
        deal = deal_id_of(order_hash(request, domain), 0)
        record = DealRecord(
            deal_id=deal,
            task_ids=(task_id_of(deal, 0),),
            manifest_cid=prepared.manifest_cid,
            job_name=prepared.name,
            trust=quote.trust,
            price=quote.price,
            match_tx=transaction.hash,
            match_raw="0x" + transaction.raw.hex(),
            match_nonce=transaction.nonce,
            started_at=time.time(),
            tasks=quote.tasks,
            batch=quote.batch,
            part=part is not None,
            first=part.first if part is not None else 0,
            burst=part is not None and part.burst,
        )
        self._journal.write(record)
        return record

    async def match(
        self, record: DealRecord, on_progress: OnProgress = ignore_progress, *, timeout_s: float = 120
    ) -> DealRecord:
        """Send the match of a signed deal and wait until it is mined; a mined one is given back at once.

        The same bytes are sent again while they are not mined: a node that restarts forgets them.

        Raises:
            TransactionFailed: it was not mined in time, and may still be.
            DealLost: it reverted, or another transaction took its place.
        """
        if record.mined:
            return record
        on_progress(Progress(Phase.MATCHING, f"deal {record.deal_id}"))
        sent = SignedTransaction(
            from_hex(record.match_raw), record.match_tx, self.address, record.match_nonce, "matchOrders"
        )
        with tracing.span("match", record.deal_id) as told:
            told.transaction(record.match_tx)
            record = await self._matched(record, sent, timeout_s)
        # The first span of the deal's trace: it is told here, where the deal begins, and once only.
        tracing.record(
            "deal",
            record.deal_id,
            record.started_at,
            time.time(),
            under=None,
            place=tracing.DEAL,
            tx_hash=record.match_tx,
            linked=self._calls.pop(record.deal_id, ()),
            requester=self.address,
            job=record.job_name,
            tasks=record.tasks,
            trust=record.trust,
        )
        return record

    async def _matched(self, record: DealRecord, sent: SignedTransaction, timeout_s: float) -> DealRecord:
        waited, send_at = 0.0, 0.0
        while (receipt := await self.chain.receipt(record.match_tx)) is None:
            if waited >= timeout_s:
                reason = f"it was not mined within {timeout_s:.0f} s; `fairgrid result {record.deal_id[:12]}` goes on"
                raise TransactionFailed("matchOrders", reason, tx_hash=record.match_tx)
            if waited >= send_at:
                await self._send_match(sent)
                send_at = waited + _REBROADCAST_S
            await self._clock.sleep(0.1)
            waited += 0.1
        if not receipt.succeeded:
            raise DealLost("matchOrders", "it reverted on chain; nothing was locked", tx_hash=record.match_tx)
        return self._journal.mark_mined(record, receipt.block.number)

    async def _send_match(self, transaction: SignedTransaction) -> None:
        try:
            await self.chain.broadcast(transaction)
        except NonceTaken as error:
            if await self.chain.receipt(transaction.hash) is not None:
                return
            raise DealLost(
                "matchOrders",
                "another transaction of this account took its place; nothing was locked, run the job again",
                tx_hash=transaction.hash,
            ) from error

    async def follow(self, record: DealRecord, *, on_progress: OnProgress = ignore_progress) -> Ending:
        """Wait until the deal's task is COMPLETED, FAILED, or past its final deadline (chain time).

        For bags, see `bag`. A pool that does not answer is waited for; the chain is what counts.
        """
        record = await self.match(record, on_progress)
        return await follow_task(self.chain, self.pool, record, clock=self._clock, on_progress=on_progress)

    async def collect(
        self, record: DealRecord, out: Path, *, on_progress: OnProgress = ignore_progress
    ) -> CollectedResult:
        """Fetch the result of a COMPLETED task, compare its digest with the chain's, and only then write it to ``out``.

        Raises:
            VerificationError: it is not the result that was agreed; nothing was written.
            ServiceUnavailable: the storage is down; the result can be fetched later.
        """
        on_progress(Progress(Phase.FETCHING, "comparing the result with the digest on chain"))
        task = await self.chain.view_task(record.task_ids[0])
        with tracing.span("download", record.deal_id, tracing.task_place(record.task_ids[0])):
            return await collect_result(self.storage, task, record.task_ids[0], out)

    @asynccontextmanager
    async def bag(self, record: DealRecord) -> AsyncIterator[BagFollower]:
        """Follow a bag's ledger on chain while the block runs; the deal must be mined.

        Raises:
            UsageError: the hub does not know the deal.
            ServiceUnavailable: the chain does not answer.
        """
        follower = await BagFollower.open(self.chain, record)
        try:
            yield follower
        finally:
            await follower.close()

    async def collect_bag(
        self, record: DealRecord, follower: BagFollower, out: Path, *, on_progress: OnProgress = ignore_progress
    ) -> tuple[TaskOutcome, ...]:
        """Fetch the results of all tasks that are settled, verify every one, then write each into ``out/<index>``.

        Raises:
            VerificationError: something is not what was agreed; nothing was written.
            ServiceUnavailable, ServiceRefused: storage is down or lacks something; nothing was written.
        """
        bag = follower.ledger.bag()
        with tracing.span("download", record.deal_id):
            return await collect_bag(
                self.chain, self.storage, record.deal_id, follower.deal, bag, out, on_progress, first=record.first
            )

    async def bag_settlement(self, record: DealRecord, follower: BagFollower) -> Settlement:
        """Whom the bag paid, and the gas of every transaction of its life."""
        lines = []
        for tx_hash, step in {record.match_tx: "matchOrders", **follower.ledger.transactions()}.items():
            receipt = await self.chain.receipt(tx_hash)
            if receipt is not None:
                lines.append(GasLine(step, tx_hash, receipt.gas_used))
        return Settlement((), tuple(follower.ledger.payments()), tuple(lines))

    async def claim_bag(
        self, record: DealRecord, follower: BagFollower, *, on_progress: OnProgress = ignore_progress
    ) -> Bag:
        """Take the money of an overdue bag back: of every open run and task, and of all that was never opened.

        Raises:
            UsageError: the deadline has not passed, or nothing is left.
        """
        on_progress(Progress(Phase.REFUNDING, f"claiming deal {record.deal_id}"))
        return await claim_bag(self.chain, self._signer, record, follower)

    async def materialise(
        self, record: DealRecord, index: int, *, on_progress: OnProgress = ignore_progress
    ) -> Materialised:
        """Give one task of a bag in the batch lane its own place on chain, and its callback.

        Raises:
            UsageError: the deal is not in the batch lane, or the task is not in a settled run (yet).
            VerificationError: the run's results are not what its workers agreed on; nothing was sent.
            ContractReverted: the task was materialised before.
        """
        async with self.bag(record) as follower:
            on_progress(Progress(Phase.FETCHING, f"looking for the run of task {index}"))
            return await materialise(self.chain, self.storage, self._signer, record, follower, index)

    def live(self, task_id: str) -> AsyncIterator[LiveOutput | LiveProgress]:
        """What a running task of trust 1 prints and says of its progress; as `PoolClient.live`."""
        return self.pool.live(task_id, self._signer)

    async def partial(self, task_id: str) -> PartialView:
        """An unverified archive of what a running task of trust 1 has written so far; as `PoolClient.partial`."""
        return await self.pool.partial(task_id, self._signer)

    async def settlement(self, record: DealRecord) -> Settlement:
        """Who contributed what and who was paid, from the chain; digests of losers as the pool had them opened."""
        task = record.task_ids[0]
        settled = await collect_settlement(self.chain, task, from_block=record.block_number, match_tx=record.match_tx)
        try:
            view = await self.pool.task(task)
        except ServiceError:
            return settled
        openings = {replica.worker: replica.digest for replica in view.replicas if replica.digest}
        return settled.digests_opened(task, openings)

    async def claim(self, record: DealRecord, *, on_progress: OnProgress = ignore_progress) -> None:
        """Take the money of an overdue deal back: initialize the task if nobody did, then claim it.

        Raises:
            UsageError: the deadline has not passed, or the task has ended.
        """
        deal = await self.chain.view_deal(record.deal_id)
        if deal is None:
            raise UsageError(
                f"The hub does not know deal {record.deal_id}: nothing was locked, nothing is to be claimed."
            )
        task_id = record.task_ids[0]
        task = await self.chain.view_task(task_id)
        if task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
            raise UsageError(f"Task {task_id} is {task.status.name}: nothing is left to claim.")
        timeref = (await self.chain.view_category(deal.category)).timeref
        wait = deal.start_time + 10 * timeref - (await self.chain.head()).timestamp
        if wait > 0:
            raise UsageError(f"Task {task_id} still has {wait} s until its deadline. Claim it after that.")
        on_progress(Progress(Phase.REFUNDING, f"claiming task {task_id}"))
        if task.status is TaskStatus.UNSET:
            await self.chain.transact(calls.initialize(self.network.hub, record.deal_id, deal.bot_first), self._signer)
        await self.chain.transact(calls.claim(self.network.hub, task_id), self._signer)
