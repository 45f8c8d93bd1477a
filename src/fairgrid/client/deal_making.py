"""From a quote to a deal: upload, deposit what is missing, sign, and send until it is mined."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

from fairgrid.chain import calls
from fairgrid.chain.interface import Chain, SignedTransaction
from fairgrid.chain.network import Network
from fairgrid.chain.sender import NonceTaken
from fairgrid.client.job import Job
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.client.orders import request_for
from fairgrid.client.prepared_job import PreparedJob, prepare_job
from fairgrid.client.private_runs import PrivateRuns
from fairgrid.client.progress import OnProgress, Phase, Progress, ignore_progress
from fairgrid.client.quotes import BATCH_TAG, Quote
from fairgrid.errors import DealLost, FairgridError, ServiceUnavailable, TransactionFailed, UsageError
from fairgrid.protocol.hexes import ZERO32, from_hex
from fairgrid.protocol.ids import deal_id as deal_id_of
from fairgrid.protocol.ids import task_id as task_id_of
from fairgrid.protocol.manifest import params_for
from fairgrid.protocol.typed_data import Domain, order_hash, order_typed_data
from fairgrid.seams import tracing
from fairgrid.seams.clock import Clock
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["DealMaker", "RunPart"]

_REBROADCAST_S: Final = 10.0
_DEEP_BLOCKS: Final = 64
"""A deal under so many blocks is not looked after any more."""


@dataclass(frozen=True, slots=True)
class RunPart:
    """A deal's place in a run of several deals: of its first task; ``burst`` if it was bought from another pool."""

    first: int
    burst: bool = False


class DealMaker:
    """Signs and sends for one requester. What is signed is in the journal before it is sent."""

    def __init__(
        self,
        network: Network,
        signer: Signer,
        *,
        chain: Chain,
        storage: StorageClient,
        private: PrivateRuns,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._network = network
        self._signer = signer
        self._chain = chain
        self._storage = storage
        self._private = private
        self._journal = journal
        self._clock = clock
        self._calls: dict[str, tuple[Any, ...]] = {}

    def called_from(self, deal_id: str, call: tuple[Any, ...]) -> None:
        """Link the deal's trace, once it is mined, to the ``call`` that it was signed in (`tracing.context_of`)."""
        self._calls[deal_id] = call

    async def sign(self, job: Job, quote: Quote, on_progress: OnProgress, *, part: RunPart | None = None) -> DealRecord:
        """Upload, deposit what is missing and sign the match; it is in the journal, not sent.

        Raises:
            ServiceUnavailable, ContractReverted; everything of `PrivateRuns.prepare` for a job with a sealed key.
        """
        on_progress(Progress(Phase.PREPARING, f"uploading {job.script.name} and {len(job.inputs)} input file(s)"))
        if job.is_sealed:
            if part is not None:
                raise UsageError(
                    "A private run, or one with secrets, is for one pool alone: it cannot be split over several. "
                    "Nothing was signed. Leave --burst out."
                )
            prepared = await self._private.prepare(job, quote.offer, timeref=quote.timeref)
        else:
            prepared = await prepare_job(job, self._storage, timeref=quote.timeref)
        await self._deposit_missing(quote, on_progress)
        bag = f"{quote.tasks} tasks in the {'batch' if quote.batch else 'classic'} lane, " if quote.tasks > 1 else ""
        on_progress(Progress(Phase.SIGNING, f"{bag}trust {quote.trust}, {quote.price} nRLC"))
        return await self._sign_match(quote, prepared, part, private=job.private)

    async def _deposit_missing(self, quote: Quote, on_progress: OnProgress) -> None:
        missing = quote.price - quote.stake
        if missing <= 0:
            return
        on_progress(Progress(Phase.PREPARING, f"depositing {missing} nRLC in escrow"))
        await self._chain.transact(calls.approve(self._network.rlc, self._network.hub, missing), self._signer)
        await self._chain.transact(calls.deposit(self._network.hub, missing), self._signer)

    async def _sign_match(
        self, quote: Quote, prepared: PreparedJob, part: RunPart | None, *, private: bool
    ) -> DealRecord:
        request = request_for(
            quote.offer,
            requester=self._signer.address,
            category=quote.category,
            trust=quote.trust,
            params=params_for(self._network.storage, prepared.manifest_cid),
            salt=secrets.token_bytes(32),
            volume=quote.tasks,
            tag=BATCH_TAG if quote.batch else ZERO32,
        )
        domain = Domain(self._chain.chain_id, self._chain.hub)
        request = request.signed(self._signer.sign_typed_data(order_typed_data(request, domain)))
        match = calls.match_orders(
            self._network.hub, quote.offer.app, quote.offer.dataset, quote.offer.workerpool, request
        )
        transaction = await self._chain.prepare(match, self._signer)
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
            private=private,
        )
        self._journal.write(record)
        return record

    async def match(self, record: DealRecord, on_progress: OnProgress, *, timeout_s: float) -> DealRecord:
        """Send the match of a signed deal and wait until it is mined; one that is on chain is given back at once.

        The same bytes are sent again while they are not mined: a node that restarts forgets them, and a chain that
        reorganises may take a mined deal back.

        Raises:
            TransactionFailed: it was not mined in time, and may still be.
            DealLost: it reverted, or another transaction took its place.
        """
        once_mined = record.mined
        if once_mined and await self._is_there(record):
            return record
        again = "; the chain took it back, it is sent again" if once_mined else ""
        on_progress(Progress(Phase.MATCHING, f"deal {record.deal_id}{again}"))
        sent = SignedTransaction(
            from_hex(record.match_raw), record.match_tx, self._signer.address, record.match_nonce, "matchOrders"
        )
        with tracing.span("match", record.deal_id) as told:
            told.transaction(record.match_tx)
            record = await self._matched(record, sent, timeout_s)
        if once_mined:
            return record
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
            requester=self._signer.address,
            job=record.job_name,
            tasks=record.tasks,
            trust=record.trust,
        )
        return record

    async def keep(self, record: DealRecord) -> None:
        """Send a mined deal again whenever the chain has taken it back, until it is `_DEEP_BLOCKS` deep."""
        while True:
            await self._clock.sleep(_REBROADCAST_S)
            try:
                if (await self._chain.head()).number >= record.block_number + _DEEP_BLOCKS:
                    return
                record = await self.match(record, ignore_progress, timeout_s=_REBROADCAST_S)
            except DealLost:
                return  # Nothing is locked; whoever follows the deal is told so when it is asked for next.
            except FairgridError:
                continue  # The chain is away, or its node refuses now: whoever follows the deal must not fail by that.

    async def _is_there(self, record: DealRecord) -> bool:
        """False if the chain answers and does not know the deal."""
        try:
            return await self._chain.view_deal(record.deal_id) is not None
        except ServiceUnavailable:
            return True  # It was mined; whoever follows it waits for the chain.

    async def _matched(self, record: DealRecord, sent: SignedTransaction, timeout_s: float) -> DealRecord:
        waited, send_at = 0.0, 0.0
        while (receipt := await self._chain.receipt(record.match_tx)) is None:
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
            await self._chain.broadcast(transaction)
        except NonceTaken as error:
            if await self._chain.receipt(transaction.hash) is not None:
                return
            raise DealLost(
                "matchOrders",
                "another transaction of this account took its place; nothing was locked, run the job again",
                tx_hash=transaction.hash,
            ) from error
