"""Tasks on a network: deals through the client, followed on chain, every result verified before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Final

from fairgrid.chain.network import Network
from fairgrid.client.apps.fetching import fetch_app
from fairgrid.client.bags import BagFollower, collect_bag
from fairgrid.client.client import Client, Quote, TrustWish
from fairgrid.client.job import Job, JobRuntime
from fairgrid.client.journal import DealRecord
from fairgrid.client.ledger import Bag
from fairgrid.client.progress import ignore_progress
from fairgrid.client.quotes import DEFAULT_CATEGORY
from fairgrid.errors import (
    BudgetExceeded,
    ContractReverted,
    DealLost,
    OrderError,
    ServiceError,
    ServiceUnavailable,
    TransactionFailed,
    UsageError,
    VerificationError,
)
from fairgrid.executors.backend import AppProgram, DealJob, DealVoid, SignedDeal, TaskEnding, Terms
from fairgrid.executors.here import job_of
from fairgrid.executors.quoting import workers_for_trust
from fairgrid.executors.verification import Verification, VerificationKind, audits_too_little
from fairgrid.protocol.certificate import Certificate
from fairgrid.protocol.deadlines import final_deadline
from fairgrid.protocol.tags import requires_tee
from fairgrid.runtime.wasm.interpreters import default_runtime_id
from fairgrid.wallet.signer import Signer

__all__ = ["GridBackend"]

_POLL_S: Final = 0.5
_RETRY_S: Final = 2.0


class GridBackend:
    """Deals of one requester on one network. ``patience_s``: how long services may be away."""

    def __init__(
        self,
        network: Network,
        signer: Signer,
        *,
        journal_folder: Path,
        wish: TrustWish,
        patience_s: float = 600.0,
        client: Client | None = None,
        runtime_id: str = "",
        verification: Verification | None = None,
        reach: tuple[str, ...] = (),
        private: bool = False,
        secrets: tuple[str, ...] = (),
        keep_days: int | None = None,
    ) -> None:
        """``client`` is one that is connected already; else `open` connects. ``private`` deals are encrypted;
        ``secrets`` are names of the requester's, which every deal gets. ``keep_days`` as `Job.keep_days`."""
        self._keep_days = keep_days
        self._private = private
        self._secrets = secrets
        self._network = network
        self._signer = signer
        self._journal_folder = journal_folder
        self._wish = wish
        self._verification = verification
        self._runtime_id = runtime_id or default_runtime_id()
        self._reach = reach
        self.patience_s = patience_s
        self._stack = AsyncExitStack()
        self._client = client
        self._records: dict[str, DealRecord] = {}
        self._apps: dict[str, AppProgram] = {}

    async def open(self) -> None:
        """Connect.

        Raises:
            ServiceUnavailable: something does not answer.
            VerificationError: the chain is not that of the network file.
        """
        connecting = Client.connect(self._network, self._signer, journal_folder=self._journal_folder)
        self._client = await self._stack.enter_async_context(connecting)

    async def close(self) -> None:
        """Disconnect."""
        await self._stack.aclose()

    async def app(self, address: str) -> AppProgram:
        """Fetched once, beside the deals of this network, and checked against what the chain says of it.

        Raises:
            UsageError, ManifestError, VerificationError, ServiceUnavailable, ServiceRefused: as `fetch_app`.
        """
        if address not in self._apps:
            client, place = self._connected, self._journal_folder.parent.parent / "apps"
            found = await fetch_app(client.chain, client.storage, address, place)
            document = found.document
            self._apps[address] = AppProgram(
                address, found.program, found.inputs, document.runtime, document.memory_bytes, document.reach
            )
        return self._apps[address]

    async def price(self, app: str = "") -> int:
        """What one task costs now (nRLC).

        Raises:
            TrustUnreachable, FundsError, OrderError, ServiceUnavailable: see `Client.quote`.
        """
        await self.check_reachable()
        return (await self._quote(1, app)).offer.price

    async def terms(self, tasks: int, app: str = "") -> Terms:
        """As the market, the pool and the chain have it.

        Raises:
            as `price`; FundsError also if escrow and wallet do not cover all of the tasks.
        """
        quote = await self._quote(tasks, app)
        info, listing = await asyncio.gather(self._connected.pool.info(), self._connected.pool.trust())
        return Terms(
            quote.offer.price,
            quote.trust,
            (await self.app(app)).runtime if app else self._runtime_id,
            escrow=quote.stake,
            workers=info.workers,
            workers_per_task=workers_for_trust([owner.weight for owner in listing.owners], quote.trust),
            batch=quote.batch,
            on_chain=True,
            audit_share=info.audit_share,
        )

    async def check_reachable(self) -> None:
        """Refuse a way of verifying that nobody on this network offers; trust and replicas are checked by `price`.

        Raises:
            FundsError: the pool audits less than was asked for.
            OrderError: an enclave was asked for.
        """
        asked = self._verification
        if asked is None:
            return
        if asked.kind is VerificationKind.TEE:
            published = await self._connected.market.workerpool_orders(category=DEFAULT_CATEGORY, requester="any")
            if any(requires_tee(entry.order.tag) for entry in published):
                raise OrderError(
                    "A pool on this market offers trusted execution, but Python calls do not run in an enclave: there "
                    "is no attested build of their interpreter. Nothing was signed. Ask for verify='replicate:3'."
                )
            raise OrderError(
                "There is no order for trusted execution on this market (none has the tag of an enclave). Nothing was "
                "signed. Ask for verify='replicate:3' or trust=0.99."
            )
        if asked.kind is VerificationKind.AUDIT:
            share = (await self._connected.pool.info()).audit_share
            if share < asked.audit_share:
                raise audits_too_little(asked, share)

    async def certificate(self, deal_id: str, index: int) -> Certificate:
        """Made of the chain's receipts and the result in storage, and checked.

        Raises:
            UsageError, VerificationError, ServiceUnavailable, ServiceRefused: as `make_certificate`.
        """
        deal = await self._connected.chain.view_deal(deal_id)
        first = 0 if deal is None else deal.bot_first
        return await self._connected.certificate(deal_id, first + index)

    async def deadline(self, deal_id: str) -> float | None:
        """The final deadline, by the chain's time; None for a deal that is not mined (yet): it locks nothing.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        chain = self._connected.chain
        deal = await chain.view_deal(deal_id)
        if deal is None:
            return None
        return final_deadline(deal.start_time, (await chain.view_category(deal.category)).timeref)

    async def _quote(self, tasks: int, app: str = "") -> Quote:
        job = Job(Path("price.py"), (), (), JobRuntime.of(self._runtime_id), app=app).as_bag(tasks=tasks)
        return await self._connected.quote(job, self._wish)

    async def sign(self, job: DealJob, *, most: int) -> SignedDeal:
        """Upload and sign; the deal is in the client's journal then.

        Raises:
            everything of `Client.sign`; BudgetExceeded; DealVoid.
        """

        def accept(quote: Quote) -> None:
            if quote.price > most:
                raise BudgetExceeded(needed=quote.price, left=most, budget=most)

        wanted = await asyncio.to_thread(job_of, job, self._runtime_id, self._reach)
        wanted = wanted.hidden(private=self._private, secrets=self._connected.secrets_named(self._secrets))
        wanted = wanted.kept_for(self._keep_days)
        try:
            record = await self._connected.sign(wanted, self._wish, accept=accept)
        except ContractReverted:
            raise
        except TransactionFailed as error:
            # The deposit lost its place to a transaction of another process with this key.
            raise DealVoid(str(error)) from error
        self._records[job.job_name] = record
        return _deal(record)

    async def find(self, job: DealJob) -> SignedDeal | None:
        """The newest deal of that name in the client's journal."""
        record = self._record(job.job_name)
        return None if record is None else _deal(record)

    async def match(self, deal: SignedDeal) -> None:
        """Send it until it is mined.

        Raises:
            DealVoid: it reverted, or another transaction took its place.
            ServiceUnavailable: the chain does not answer, or does not mine it.
        """
        record = self._of(deal)
        try:
            self._records[deal.job_name] = await self._connected.match(record)
        except DealLost as error:
            if await self._connected.chain.view_deal(deal.deal_id) is not None:
                # A node that lags behind another one: it is there, and must not be paid for again.
                raise ServiceUnavailable("chain", "its node", "it does not know yet what it has mined") from error
            raise DealVoid(str(error)) from error
        except TransactionFailed as error:
            raise ServiceUnavailable("chain", "its node", error.reason) from error

    async def endings(self, deal: SignedDeal, out: Path) -> AsyncGenerator[TaskEnding, None]:
        """Follow the deal on chain; what is settled is fetched and verified, what is overdue is taken back."""
        told: set[int] = set()
        silent = 0.0
        while len(told) < deal.tasks:
            try:
                async with aclosing(self._follow(self._of(deal), out, told)) as endings:
                    async for ending in endings:
                        silent = 0.0
                        told.add(ending.index)
                        yield ending
            except ServiceError:
                # The chain has the deal, storage has its results: they are waited for.
                if silent >= self.patience_s:
                    raise
                silent += _RETRY_S
                await asyncio.sleep(_RETRY_S)

    async def _follow(self, record: DealRecord, out: Path, told: set[int]) -> AsyncGenerator[TaskEnding, None]:
        client = self._connected
        async with client.bag(record) as follower:
            first = follower.deal.bot_first
            deadline = (
                follower.deal.start_time + 10 * (await client.chain.view_category(follower.deal.category)).timeref
            )
            while True:
                bag = await follower.read(quiet_s=_POLL_S)
                for piece in _news(bag, told, first):
                    async with aclosing(self._collect(record, follower, piece, out)) as endings:
                        async for ending in endings:
                            yield ending
                for index in bag.refunded:
                    if index - first not in told:
                        yield TaskEnding(index - first, refunded=True)
                if bag.is_over:
                    return
                if (await client.chain.head()).timestamp >= deadline:
                    await self._claim(record, follower)

    async def _collect(
        self, record: DealRecord, follower: BagFollower, piece: Bag, out: Path
    ) -> AsyncGenerator[TaskEnding, None]:
        client, first = self._connected, follower.deal.bot_first
        indexes = [*piece.tasks, *(index for run in piece.runs for index in range(run.first, run.first + run.count))]
        try:
            outcomes = await collect_bag(
                client.chain,
                client.storage,
                record.deal_id,
                follower.deal,
                piece,
                out,
                ignore_progress,
                key=client.private.result_key,
            )
        except (VerificationError, UsageError) as error:
            for index in indexes:
                yield TaskEnding(index - first, failure=error)
            return
        for outcome in outcomes:
            yield TaskEnding(outcome.index - first, outcome.folder, outcome.error)

    async def _claim(self, record: DealRecord, follower: BagFollower) -> None:
        try:
            await self._connected.claim_bag(record, follower)
        except UsageError:
            # Somebody was faster: the ledger will say so.
            await asyncio.sleep(_POLL_S)

    @property
    def _connected(self) -> Client:
        assert self._client is not None, "open() comes first"
        return self._client

    def _of(self, deal: SignedDeal) -> DealRecord:
        record = self._record(deal.job_name)
        assert record is not None
        return record

    def _record(self, job_name: str) -> DealRecord | None:
        if job_name not in self._records:
            self._records |= {record.job_name: record for record in self._connected.journal.all()}
        return self._records.get(job_name)


def _deal(record: DealRecord) -> SignedDeal:
    return SignedDeal(record.job_name, record.deal_id, record.tasks, record.price)


def _news(bag: Bag, told: set[int], first: int) -> Iterator[Bag]:
    """Settled runs and tasks that were not told yet, each as a bag of its own: one that lies spoils no other."""
    empty = replace(bag, runs=(), tasks=(), refunded=(), open_runs=())
    for run in bag.runs:
        if run.first - first not in told:
            yield replace(empty, runs=(run,))
    single = tuple(index for index in bag.tasks if index - first not in told)
    if single:
        yield replace(empty, tasks=single)
