"""Pays newcomers from a key of its own: what lies on that key is all that can ever be given.

A grant and its signed transactions are stored before they are sent, and the same bytes are sent until they are mined: a
pool that is killed in between pays once (decision 25). What workers pay back comes to the key's account in the escrow,
and is what the next newcomers are given first.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy.exc import IntegrityError

from fairgrid.chain import calls
from fairgrid.chain.interface import Call, Chain, SignedTransaction
from fairgrid.errors import FundsError, ServiceUnavailable, TransactionFailed
from fairgrid.pool.core.sponsoring import Debt, Grant, Newcomer, SponsorTerms, decide
from fairgrid.pool.records.repayment_store import RepaymentStore
from fairgrid.pool.records.sponsor_store import SponsorStore
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer

__all__ = ["Sponsor", "ToRepay"]

_log = structlog.get_logger(__name__)
_FROM_ESCROW: Final = "transfer"


@dataclass(frozen=True, slots=True)
class ToRepay:
    """What a worker is told that it owes: to whom, how much, and by which transaction it got it."""

    sponsor: str
    debt: Debt
    deposit_tx: str


class Sponsor:
    """One pool's help for newcomers. ``signer`` holds RLC and coins for this alone; nothing else may send with it."""

    def __init__(
        self, *, chain: Chain, signer: Signer, rlc: str, store: SponsorStore, terms: SponsorTerms, clock: Clock
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._rlc = rlc
        self._store = store
        self._repayments = RepaymentStore(store.engine)
        self._terms = terms
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    @property
    def address(self) -> str:
        """Whom the operator sends RLC and coins."""
        return self._signer.address

    async def allow(self) -> None:
        """Let the hub take the day's stakes from the key's RLC; once, before the first grant.

        Raises:
            FundsError, TransactionFailed: the key cannot pay for it.
            ServiceUnavailable: the chain does not answer.
        """
        if self._terms.day_stake_nrlc and not await asyncio.to_thread(self._store.next_nonce, self._signer.address):
            await self._chain.transact(calls.approve(self._rlc, self._chain.hub, (1 << 256) - 1), self._signer)

    async def help(self, newcomer: Newcomer) -> tuple[Grant | None, str]:
        """Give what is missing, or the grant that was given before; None with the reason where nothing is given.

        Raises:
            ServiceUnavailable: the chain does not answer; nothing was given.
        """
        async with self._one_at_a_time:
            given = await asyncio.to_thread(self._store.grants)
            known = next((grant for grant in given if grant.worker == newcomer.worker), None)
            if known is not None:
                return known, "This worker was sponsored before."
            restored = await asyncio.to_thread(self._store.restored_at)
            received = await asyncio.to_thread(self._repayments.received)
            undelivered = await asyncio.to_thread(self._repayments.undelivered)
            decision = decide(
                self._terms,
                newcomer,
                given,
                self._clock.now(),
                restored_at=restored,
                received=received,
                undelivered=undelivered,
            )
            if isinstance(decision, str):
                return None, decision
            try:
                transactions = await self._sign(decision)
                await asyncio.to_thread(self._store.record, decision, transactions)
            except (FundsError, TransactionFailed) as error:
                _log.warning("no money for a newcomer", sponsor=self._signer.address, reason=str(error))
                return None, "This pool's money for newcomers is used up."
            except IntegrityError:
                return None, "This worker is being sponsored."
            _log.info("newcomer sponsored", worker=decision.worker, stake_nrlc=decision.stake_nrlc)
            with contextlib.suppress(ServiceUnavailable):
                await self._send()
            return decision, ""

    async def to_repay(self, worker: str) -> ToRepay | None:
        """What a worker owes, repaid or not; None where it got no stake, or did not agree to repay."""

        def read() -> ToRepay | None:
            debt, deposit = self._repayments.debts().get(worker), self._store.deposits().get(worker)
            if debt is None or deposit is None:
                return None
            return ToRepay(deposit.sponsor, debt, deposit.tx_hash)

        return await asyncio.to_thread(read)

    async def look(self) -> int:
        """Send again what is not mined; gives how many transactions are still under way.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        async with self._one_at_a_time:
            return await self._send()

    async def _sign(self, grant: Grant) -> list[SignedTransaction]:
        sender = self._signer.address
        stored = await asyncio.to_thread(self._store.next_nonce, sender)
        nonce = max(stored, await self._chain.count_transactions(sender, pending=True))
        wanted: list[Call] = []
        if grant.stake_nrlc:
            if await self._has_in_escrow(grant.stake_nrlc):
                wanted.append(calls.transfer_deposit(self._chain.hub, grant.worker, grant.stake_nrlc))
            else:
                wanted.append(calls.deposit_for(self._chain.hub, grant.stake_nrlc, grant.worker))
        if grant.coins_wei:
            wanted.append(calls.send_coins(grant.key, grant.coins_wei))
        return [await self._chain.prepare(call, self._signer, nonce=nonce + at) for at, call in enumerate(wanted)]

    async def _has_in_escrow(self, nrlc: int) -> bool:
        """True if what was repaid is enough, and nothing that is under way takes of it."""
        under_way = await asyncio.to_thread(self._store.unended)
        if any(payment.transaction.function == _FROM_ESCROW for payment in under_way):
            return False
        return (await self._chain.view_account(self._signer.address)).stake >= nrlc

    async def _send(self) -> int:
        waiting = await asyncio.to_thread(self._store.unended)
        left = 0
        for payment in waiting:
            transaction = payment.transaction
            receipt = await self._chain.receipt(transaction.hash)
            if receipt is None:
                left += 1
                try:
                    await self._chain.broadcast(transaction)
                except (FundsError, TransactionFailed) as error:
                    _log.warning("a newcomer's money waits", worker=payment.worker, reason=str(error))
                continue
            how = "paid" if receipt.succeeded else "refused by the chain"
            await asyncio.to_thread(self._store.end, transaction.hash, how)
            if not receipt.succeeded:
                _log.error("a newcomer's money was refused by the chain", worker=payment.worker, tx=transaction.hash)
        return left
