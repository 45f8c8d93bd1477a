"""The requester's side of the network, as one object: quote, sign, match, follow, collect, take the money back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.interface import Chain
from fairgrid.chain.network import Network
from fairgrid.chain.network_names import find_network
from fairgrid.chain.rpc import JsonRpc
from fairgrid.client.bags import BagFollower, TaskOutcome, collect_bag
from fairgrid.client.certificates import make_certificate
from fairgrid.client.claims import Materialised, claim_bag, materialise
from fairgrid.client.deal_making import DealMaker, RunPart
from fairgrid.client.facets.datasets import Datasets
from fairgrid.client.facets.deals import Deals
from fairgrid.client.facets.orders import Orders
from fairgrid.client.facets.tasks import Tasks
from fairgrid.client.follow import Ending, follow_task
from fairgrid.client.job import Job
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.client.ledger import Bag
from fairgrid.client.private_runs import PrivateRuns
from fairgrid.client.progress import OnProgress, Phase, Progress, ignore_progress
from fairgrid.client.quotes import DEFAULT_CATEGORY, LaneWish, Quote, Quoter, TrustWish
from fairgrid.client.registration import RegistryChain
from fairgrid.client.results import CollectedResult, collect_result
from fairgrid.client.settlement import GasLine, Settlement, collect_settlement
from fairgrid.errors import ServiceError, UsageError
from fairgrid.market.client import MarketClient
from fairgrid.pool.client import LiveOutput, LiveProgress, PartialView, PoolClient
from fairgrid.protocol.access import PoolPlace
from fairgrid.protocol.certificate import Certificate
from fairgrid.protocol.views import Account, TaskStatus
from fairgrid.seams import tracing
from fairgrid.seams.clock import Clock, SystemClock
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.secret_store import SecretStore
from fairgrid.wallet.signer import Signer

__all__ = ["Client", "LaneWish", "Quote", "RunPart", "TrustWish"]


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
        self._quoter = Quoter(
            network, signer.address, chain=chain, market=market, pool=pool, journal=journal, clock=self._clock
        )
        self.orders = Orders(chain, market, signer)
        """Sign, publish, find and cancel orders."""
        # The chain that `connect` makes is one. A test's may be none: only the data sets ask its registries.
        self.datasets = Datasets(cast(RegistryChain, chain), storage, self.orders, signer)
        """Register data sets, offer them, list and show them."""
        self._secrets = SecretStore(signer.address, signer.sign_message)
        self.private = PrivateRuns(chain, storage, pool, signer)
        """What this requester encrypts and decrypts."""
        self.deals = Deals(chain, journal, signer)
        """Show deals, make them of signed orders, take money back."""
        self.tasks = Tasks(self)
        """How far tasks are, why they have no result yet, and their results."""
        self._maker = DealMaker(
            network, signer, chain=chain, storage=storage, private=self.private, journal=journal, clock=self._clock
        )

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, network: Network | str | Path, signer: Signer, *, journal_folder: Path | None = None
    ) -> AsyncIterator[Client]:
        """Connect to every service of ``network``; the chain is checked against the network file.

        ``network`` may be a name, as in `fairgrid network list`, a network file, or a folder with one. Deals are kept
        in ``journal_folder``; without one where `fairgrid run` keeps those of this signer on that network.

        Raises:
            UsageError: there is no such network, or only ``journal_folder`` could say where deals are kept.
            ServiceUnavailable, VerificationError: the chain does not answer, or is not the one of the network.
        """
        if not isinstance(network, Network):
            found = find_network(network)
            network, journal_folder = found.network, journal_folder or found.folder / "deals" / signer.address
        if journal_folder is None:
            raise UsageError("Say where deals are kept: give journal_folder, or name the network.")
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
    def secrets(self) -> SecretStore:
        """The named secrets of this requester's account, encrypted on this machine."""
        return self._secrets

    def secrets_named(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Names and values of secrets, for `Job.hidden`.

        Raises:
            UsageError: there is none of a name.
            VerificationError: one was changed.
        """
        return [(name, self._secrets.get(name)) for name in names]

    @property
    def market(self) -> MarketClient:
        """The order book."""
        return self._market

    @property
    def journal(self) -> Journal:
        """The deals of this requester."""
        return self._journal

    async def account(self, address: str = "") -> Account:
        """What an account has in escrow, free and locked; the requester's own without an ``address``.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        return await self.chain.view_account(address or self.address)

    async def quote(
        self,
        job: Job,
        wish: TrustWish,
        *,
        category: int = DEFAULT_CATEGORY,
        lane: LaneWish = LaneWish.AUTO,
        on_progress: OnProgress = ignore_progress,
    ) -> Quote:
        """Find the orders, and refuse what cannot be reached or paid. Nothing is signed or sent. Owners that the pool
        lost a moment ago are waited for (90 s at most), if the trust needs them.

        A bag of more than 8 tasks goes into the batch lane if the pool offers it, unless ``lane`` says otherwise.

        Raises:
            UsageError: an unknown trust or category, or a dependency that no job can use.
            TrustUnreachable: the pool's connected owners cannot reach the trust.
            FundsError: escrow and wallet together do not cover the price.
            OrderError: nobody offers what the job needs.
        """
        return await self._quoter.quote(job, wish, category=category, lane=lane, on_progress=on_progress)

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
            self._maker.called_from(record.deal_id, tracing.context_of(told))
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
        quote = await self.quote(job, wish, category=category, lane=lane, on_progress=on_progress)
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
        return await self._maker.sign(job, quote, on_progress, part=part)

    async def match(
        self, record: DealRecord, on_progress: OnProgress = ignore_progress, *, timeout_s: float = 120
    ) -> DealRecord:
        """Send the match of a signed deal and wait until it is mined; one that is on chain is given back at once.

        The same bytes are sent again while they are not mined, or when a reorganisation took them back.

        Raises:
            TransactionFailed: it was not mined in time, and may still be.
            DealLost: it reverted, or another transaction took its place.
        """
        return await self._maker.match(record, on_progress, timeout_s=timeout_s)

    async def follow(self, record: DealRecord, *, on_progress: OnProgress = ignore_progress) -> Ending:
        """Wait until the deal's task is COMPLETED, FAILED, or past its final deadline (chain time).

        For bags, see `bag`. A pool that does not answer is waited for; the chain is what counts.
        """
        record = await self.match(record, on_progress)
        async with self._kept(record):
            return await follow_task(self.chain, self.pool, record, clock=self._clock, on_progress=on_progress)

    @asynccontextmanager
    async def _kept(self, record: DealRecord) -> AsyncIterator[None]:
        """While the block runs, a deal that the chain takes back is sent again."""
        keeping = asyncio.ensure_future(self._maker.keep(record))
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

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
            return await collect_result(self.storage, task, record.task_ids[0], out, key=self.private.result_key)

    @asynccontextmanager
    async def bag(self, record: DealRecord) -> AsyncIterator[BagFollower]:
        """Follow a bag's ledger on chain while the block runs; a deal that a reorganisation took back is sent again.

        Raises:
            UsageError: the hub does not know the deal.
            ServiceUnavailable: the chain does not answer.
            everything of `match`.
        """
        record = await self.match(record)
        async with self._kept(record):
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
                self.chain,
                self.storage,
                record.deal_id,
                follower.deal,
                bag,
                out,
                on_progress,
                first=record.first,
                key=self.private.result_key,
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

    async def certificate(self, deal_id: str, index: int, *, files: Sequence[str] | None = None) -> Certificate:
        """The certificate of a finished task, of anybody's deal; as `fairgrid.client.certificates.make_certificate`."""
        async with JsonRpc(self.network.rpc) as rpc:
            return await make_certificate(
                self.chain, rpc, self.storage, deal_id, index, files=files, key=self.private.result_key
            )

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
