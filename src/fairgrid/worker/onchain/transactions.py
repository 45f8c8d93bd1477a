"""The worker's two transactions: what is checked before each is signed, and how stored bytes reach the chain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from fairgrid.chain import calls
from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.fees import FeeCaps, replacement_fees
from fairgrid.chain.interface import Call, Chain, SignedTransaction
from fairgrid.errors import ContractReverted, FundsError, OrderError, ServiceUnavailable, TransactionFailed
from fairgrid.protocol.hexes import from_hex, to_hex32
from fairgrid.protocol.ids import authorisation_message, result_hash, result_seal
from fairgrid.protocol.results import callback_results_text, results_text
from fairgrid.protocol.seals import message_hash, recover_message_signer
from fairgrid.protocol.views import Deal, TaskStatus
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer
from fairgrid.worker.core import events as ev
from fairgrid.worker.core.held import HeldTask, Phase, Step

__all__ = ["Transactions"]

_log = structlog.get_logger(__name__)
_RECEIPT_LOOKS_A_BROADCAST: Final = 20
_NOT_ITS_TURN: Final = "the runs before this one are not settled there (yet)"
_WAITING: Final = {Phase.CONTRIBUTING: Step.CONTRIBUTE, Phase.REVEALING: Step.REVEAL}


class Transactions:
    """Signs, sends and waits for one worker; ``poll_s`` is the pause between looks for a receipt."""

    def __init__(
        self,
        chain: Chain,
        signer: Signer,
        *,
        clock: Clock,
        poll_s: float,
        replace_after_s: float = 60.0,
        caps: FeeCaps | None = None,
        worker: str = "",
        entry: str = "",
    ) -> None:
        """``worker`` contributes on chain, through ``entry``: the signer itself and the hub if not given.

        What is not mined within ``replace_after_s`` is replaced by an offer that is 12.5 % higher, up to ``caps``.
        """
        self._replace_after_s = replace_after_s
        self._caps = caps or FeeCaps()
        self._chain = chain
        self._signer = signer
        self._worker = worker or signer.address
        self._entry = entry or chain.hub
        self._clock = clock
        self._poll_s = poll_s
        self.beside: Callable[[], Sequence[SignedTransaction]] | None = None
        """Who knows of stored transactions of this key that no task is about; None: there are none."""

    async def refusal(self, held: HeldTask, deal: Deal) -> str | None:
        """Why ``held.authorisation`` does not count; None when the deal's scheduler signed it.

        Raises:
            ServiceUnavailable: the chain had to be asked (the scheduler may be a contract) and does not answer.
        """
        message = authorisation_message(self._worker, held.task_id)
        scheduler = deal.workerpool.owner
        try:
            if recover_message_signer(message, held.authorisation) == scheduler:
                return None
            # A scheduler that is a contract (ERC-1271) cannot be recovered: the hub itself says whether it signed.
            with contextlib.suppress(TransactionFailed):
                if await self._chain.verify_signature(scheduler, to_hex32(message_hash(message)), held.authorisation):
                    return None
        except OrderError as error:
            return f"The authorisation is no signature: {error}"
        return f"The authorisation is not signed by the pool's owner {scheduler}."

    async def sign_contribution(self, held: HeldTask, deal: Deal, others: Sequence[HeldTask]) -> SignedTransaction:
        """Sign `contribute`, or what contributes and finalizes if that is allowed; nothing of it is sent.

        Raises:
            ContractReverted: the hub would refuse it now.
            FundsError: there is no coin for its gas.
            ServiceUnavailable: the chain does not answer.
            UsageError: the node is on another chain than the network file's (decision 31).
            VerificationError: the hub's code is another one than the network file's.
        """
        await self._chain.verify()
        await self.send_again(others)
        worker = self._worker
        if held.fast:
            try:
                return await self._chain.prepare(self._at_once(held, deal), self._signer)
            except ContractReverted as error:
                if held.unopened and (await self._chain.view_task(held.task_id)).status is TaskStatus.UNSET:
                    raise ServiceUnavailable("chain", f"chain {self._chain.chain_id}", _NOT_ITS_TURN) from error
                _log.warning("not finalized at once; contributes first", task=held.task_id, reason=error.reason)
        call = calls.contribute(
            self._entry,
            held.task_id,
            result_hash(held.task_id, held.digest),
            result_seal(worker, held.task_id, held.digest),
            held.authorisation,
        )
        return await self._chain.prepare(call, self._signer)

    def _at_once(self, held: HeldTask, deal: Deal) -> Call:
        if held.count:
            results = results_text(held.cid)
            return calls.settle_run(self._entry, held.deal_id, held.count, held.root, results, held.authorisation)
        callback_data = from_hex(held.callback_data)
        results = callback_results_text(deal.callback) if callback_data else results_text(held.cid)
        return calls.contribute_and_finalize(
            self._entry, held.task_id, held.digest, results, callback_data, held.authorisation
        )

    async def sign_reveal(self, held: HeldTask, others: Sequence[HeldTask]) -> SignedTransaction:
        """Sign `reveal`; fails as `sign_contribution` does."""
        await self._chain.verify()
        await self.send_again(others)
        return await self._chain.prepare(calls.reveal(self._entry, held.task_id, held.digest), self._signer)

    async def send_again(self, others: Sequence[HeldTask]) -> int:
        """Send what is stored and not mined, so that a node that forgot it cannot give its nonce away again; gives how
        many transactions these are.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        waiting = [
            transaction
            for held in others
            if (step := _WAITING.get(held.phase)) is not None and (transaction := held.transaction(step)) is not None
        ]
        if self.beside is not None:
            waiting += self.beside()
        for transaction in sorted(waiting, key=lambda stored: stored.nonce):
            with contextlib.suppress(TransactionFailed, FundsError):
                await self._chain.broadcast(transaction)
        return len(waiting)

    async def deliver(
        self, task_id: str, step: Step, versions: Sequence[SignedTransaction], *, wanted: Callable[[], bool]
    ) -> ev.TransactionMined | ev.TransactionLost | ev.TransactionReplaced | None:
        """Send stored bytes, again and again, until they or an earlier version of them are mined.

        None when ``wanted`` turned False meanwhile; a dearer version, not sent, when the newest is not mined for long.
        """
        newest = versions[-1]
        dearer_at = self._clock.now() + self._replace_after_s
        while wanted():
            try:
                await self._chain.broadcast(newest)
            except (ServiceUnavailable, FundsError) as error:
                _log.warning("transaction waits", task=task_id, step=step.value, reason=str(error))
            except TransactionFailed as error:
                mined = await self._mined(task_id, step, versions)
                return mined or ev.TransactionLost(task_id, step, error.reason)
            for _ in range(_RECEIPT_LOOKS_A_BROADCAST):
                if (mined := await self._mined(task_id, step, versions)) is not None:
                    return mined
                if not wanted():
                    return None
                if self._clock.now() >= dearer_at:
                    dearer_at = self._clock.now() + self._replace_after_s
                    if (dearer := await self.dearer(task_id, newest)) is not None:
                        return ev.TransactionReplaced(task_id, step, dearer)
                await self._clock.sleep(self._poll_s)
        return None

    async def dearer(self, what: str, transaction: SignedTransaction) -> SignedTransaction | None:
        """The same with fees 12.5 % higher; None if the caps forbid it, or the chain does not answer."""
        try:
            market = await self._chain.fee_market()
        except ServiceUnavailable:
            return None
        fees = replacement_fees(read_envelope(transaction.raw).fees, market, self._caps)
        if fees is None:
            _log.warning("a transaction is stuck, and the fee caps forbid to offer more", what=what)
            return None
        _log.warning("a stuck transaction is replaced", what=what, max_fee_wei=fees.max_fee_wei)
        return await asyncio.to_thread(self._chain.replace, transaction, self._signer, fees)

    async def _mined(
        self, task_id: str, step: Step, versions: Sequence[SignedTransaction]
    ) -> ev.TransactionMined | None:
        hashes = [version.hash for version in reversed(versions)]
        try:
            found = await self._chain.mined(hashes)
        except ServiceUnavailable:
            return None
        for mined in found:
            if mined is not None:
                return ev.TransactionMined(task_id, step, mined.tx_hash, mined.block_number, mined.succeeded)
        return None
