"""Pays a sponsored stake back: from what was earned, in at most four payments, and never more than came.

What is paid is counted on the chain, not in memory: a payment that this process knows nothing of (the owner's own, or
that of a folder which was restored) counts, and so does one that is signed and not mined. Each is on disk before it is
sent, the same bytes are sent until they are mined 64 blocks deep, and nothing is signed anew before what was signed can
be mined no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fairgrid.chain import calls
from fairgrid.chain.interface import Chain, ChainEvent, SignedTransaction
from fairgrid.chain.sender import NonceTaken
from fairgrid.errors import FairgridError, FundsError, ServiceUnavailable, TransactionFailed
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.pool_messages import Sponsored
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer
from fairgrid.worker.core.debts import MOST_PAYMENTS, Debt, Repay, fault_of_claim, given_by, next_payment, verified
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.interface import AgentOptions
from fairgrid.worker.onchain.transactions import Transactions
from fairgrid.worker.records.debts import DebtStore, Repayment, RepaymentState
from fairgrid.worker.records.store import WorkerStore

__all__ = ["SETTLED_BLOCKS", "Repayer"]

_log = structlog.get_logger(__name__)

SETTLED_BLOCKS: Final = 64
"""So deep below the newest block what happened is not expected to be taken back."""
_OWNER_LOOKS_S: Final = 600.0
"""How often the chain is read for payments of an owner, which cannot be known otherwise."""


class Repayer:
    """One worker's debts at all pools that sponsored it; ``say`` tells the owner."""

    def __init__(
        self,
        *,
        chain: Chain,
        signer: Signer,
        worker: str,
        workerpool: str,
        machine: WorkerMachine,
        transactions: Transactions,
        store: WorkerStore,
        how: Callable[[], Repay],
        clock: Clock,
        options: AgentOptions,
        say: Callable[[str], None],
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._worker = worker
        self._workerpool = workerpool
        self._machine = machine
        self._transactions = transactions
        self._worker_store = store
        self._store = DebtStore(store)
        self._how = how
        self._clock = clock
        self._options = options
        self._say = say
        self._one_at_a_time = asyncio.Lock()
        self._debts: dict[str, Debt] = {}
        """As on disk: who owes nothing never opens the database for it."""
        self._database: object = None
        self._unmined: dict[int, SignedTransaction] = {}
        self._said: dict[str, str] = {}
        self._owner_read_at: dict[str, float] = {}
        self.trouble: dict[str, str] = {}
        """Why nothing can be paid now, by workerpool."""

    @property
    def pays(self) -> bool:
        """False where the stake lies with an owner's account: only its owner can pay out of that."""
        return self._worker == self._signer.address

    @property
    def agrees(self) -> bool:
        """True if the pool is to be told that the stake is repaid."""
        return self._how() is not Repay.NEVER

    def unmined(self) -> Sequence[SignedTransaction]:
        """Stored transactions that are not mined, as far as is known."""
        return tuple(self._unmined.values())

    # --- the agreement ------------------------------------------------------------------------------------------

    async def asking(self) -> None:
        """Remember, before it is sent, that a stake is asked for: what was given earlier is no answer.

        Raises:
            ServiceUnavailable: the chain does not answer.
            SQLAlchemyError: the database cannot be written.
        """
        async with self._one_at_a_time:
            if self._workerpool in self._debts:
                return
            head = await self._chain.head()
            earned = await asyncio.to_thread(self._worker_store.earned, self._workerpool)
            asked = Debt(workerpool=self._workerpool, asked_block=head.number, earned_before=earned)
            await self._put(asked)

    async def answered(self, message: Sponsored) -> None:
        """Take the pool's answer; what it claims counts when the chain shows it."""
        async with self._one_at_a_time:
            debt = self._debts.get(self._workerpool)
            if message.sponsor is None and message.owed_nrlc is None and message.deposit_tx is None:
                if debt is not None and not debt.sponsor:
                    del self._debts[self._workerpool]
                    await asyncio.to_thread(self._store.drop, self._workerpool)
                return
            if debt is None:
                self._tell("The pool names a debt, and this worker asked for nothing that it repays. Nothing is paid.")
                return
            own = (self._worker, self._signer.address, self._chain.hub)
            if fault := fault_of_claim(debt, message, own=own):
                self._tell(fault)
                if not debt.is_agreed:
                    await self._put(replace(debt, refusal=fault))
                return
            counted = replace(debt, pool_counts_nrlc=message.repaid_nrlc or 0)
            if not debt.is_agreed:
                counted = replace(
                    counted,
                    sponsor=checksum(message.sponsor or ""),
                    deposit_tx=message.deposit_tx or "",
                    claimed_nrlc=message.owed_nrlc or 0,
                    refusal="",
                )
            await self._put(counted)
        await self.look()

    # --- paying -------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Read what is owed, and what was signed before, so that its nonces are not given away."""
        self._debts = {debt.workerpool: debt for debt in await asyncio.to_thread(self._store.debts)}
        self._database = self._worker_store.database
        for payment in await asyncio.to_thread(self._store.repayments):
            if payment.state is RepaymentState.OPEN:
                self._unmined[payment.number] = payment.versions[-1]

    async def run(self) -> None:
        """Look for ever; ends only by cancellation."""
        while True:
            await self.look()
            await self._clock.sleep(self._options.poll_s if self._unmined else self._options.settled_poll_s)

    async def look(self) -> None:
        """Go on with every debt as far as it goes now."""
        async with self._one_at_a_time:
            for debt in tuple(self._debts.values()):
                if not debt.sponsor or debt.refusal or debt.is_settled:
                    continue
                try:
                    if await self._is_on_disk():
                        await self._go_on(debt)
                    self.trouble.pop(debt.workerpool, None)
                except (FairgridError, SQLAlchemyError) as error:
                    # Nothing was sent that is not on disk; the next look goes on from there.
                    self.trouble[debt.workerpool] = str(error)
                    _log.warning("a stake is not repaid now", workerpool=debt.workerpool, reason=str(error))
                except Exception as error:
                    # The worker works on whatever is wrong with its debts.
                    self.trouble[debt.workerpool] = f"Internal error: {error!r}"
                    _log.exception("a stake is not repaid now", workerpool=debt.workerpool)

    async def _go_on(self, debt: Debt) -> None:
        if not debt.is_agreed:
            agreed = await self._verified(debt)
            if agreed is None:
                return
            debt = agreed
        payments = await asyncio.to_thread(self._store.repayments, debt.workerpool)
        open_ones = [payment for payment in payments if payment.state is RepaymentState.OPEN]
        if not open_ones and not await self._is_worth_reading(debt):
            return
        head = await self._chain.head()
        transfers = await self._chain.deposit_transfers(self._worker, debt.sponsor, from_block=debt.given_block)
        for payment in open_ones:
            await self._follow(payment, transfers, head.number)
        payments = await asyncio.to_thread(self._store.repayments, debt.workerpool)
        debt = await self._counted(debt, payments, transfers, head.number)
        if self.pays and not self._unmined:
            await self._pay(debt, payments, transfers)

    async def _verified(self, debt: Debt) -> Debt | None:
        """The debt when the chain shows what was given, deep enough; None while it does not, or if it is refused."""
        receipt = await self._chain.receipt(debt.deposit_tx)
        if receipt is None:
            return None
        newest = (await self._chain.head()).number
        if newest - receipt.block.number < self._options.confirmations:
            return None
        given = given_by(receipt, sponsor=debt.sponsor, worker=self._worker, hub=self._chain.hub, rlc=self._chain.rlc)
        owed = verified(debt, receipt, given)
        if isinstance(owed, str):
            self._tell(owed)
            await self._put(replace(debt, refusal=owed))
            return None
        agreed = replace(debt, given_nrlc=owed, given_block=receipt.block.number)
        await self._put(agreed)
        _log.info("a stake is owed", sponsor=debt.sponsor, nrlc=owed)
        if self.pays:
            self._tell(
                f"The pool lent this worker {owed} nRLC. It pays them back to {debt.sponsor} from what it earns, in at "
                f"most {MOST_PAYMENTS} payments (`repay` in its policy)."
            )
        else:
            self._tell(
                f"The pool lent {self._worker} {owed} nRLC, to be paid back to {debt.sponsor}. Only the owner can pay "
                f"out of this account: `fairgrid worker earnings` shows the command."
            )
        return agreed

    async def _is_worth_reading(self, debt: Debt) -> bool:
        """False while nothing can have changed: the chain is not read for it."""
        if not self.pays or self._how() is Repay.NEVER or not debt.owed_nrlc:
            now = self._clock.now()
            if now < self._owner_read_at.get(debt.workerpool, 0.0):
                return False
            self._owner_read_at[debt.workerpool] = now + _OWNER_LOOKS_S
            return True
        earned = await asyncio.to_thread(self._worker_store.earned, debt.workerpool)
        most = debt.owed_nrlc
        found = next_payment(
            debt, repaid_nrlc=debt.repaid_nrlc, earned_nrlc=earned, spendable_nrlc=most, how=self._how()
        )
        return found > 0

    async def _follow(self, payment: Repayment, transfers: Sequence[ChainEvent], head: int) -> None:
        """Send a payment again until it is mined deep enough, or can be mined no more."""
        mined = next((event for event in transfers if event.tx_hash in payment.hashes), None)
        if mined is not None:
            self._unmined.pop(payment.number, None)
            if mined.block_number <= head - SETTLED_BLOCKS:
                await asyncio.to_thread(self._store.mark, payment, RepaymentState.SETTLED)
            elif payment.failing_since_block:
                await asyncio.to_thread(self._store.mark, payment, RepaymentState.OPEN)
            return
        newest = payment.versions[-1]
        self._unmined[payment.number] = newest
        fails = await self._was_refused(payment)
        if not fails:
            if self._clock.now() >= payment.signed_at + self._options.replace_after_s:
                newest = await self._dearer(payment) or newest
            try:
                await self._chain.broadcast(newest)
            except NonceTaken:
                fails = True
        if not fails:
            if payment.failing_since_block:
                await asyncio.to_thread(self._store.mark, payment, RepaymentState.OPEN)
        elif not payment.failing_since_block:
            await asyncio.to_thread(self._store.mark, payment, RepaymentState.OPEN, failing_since_block=head)
        elif head >= payment.failing_since_block + SETTLED_BLOCKS:
            _log.warning("a repayment failed and is signed anew", nrlc=payment.nrlc, tx=newest.hash)
            await asyncio.to_thread(self._store.mark, payment, RepaymentState.FAILED)
            self._unmined.pop(payment.number, None)

    async def _was_refused(self, payment: Repayment) -> bool:
        for version in payment.versions:
            receipt = await self._chain.receipt(version.hash)
            if receipt is not None:
                return not receipt.succeeded
        return False

    async def _dearer(self, payment: Repayment) -> SignedTransaction | None:
        dearer = await self._transactions.dearer("repayment", payment.versions[-1])
        if dearer is not None:
            await asyncio.to_thread(self._store.add_version, payment, dearer, self._clock.now())
            self._unmined[payment.number] = dearer
        return dearer

    async def _counted(
        self, debt: Debt, payments: Sequence[Repayment], transfers: Sequence[ChainEvent], head: int
    ) -> Debt:
        """The debt with what the chain shows as repaid, written down if that changed."""
        shown = sum(event.arguments["value"] for event in transfers)
        deep = all(event.block_number <= head - SETTLED_BLOCKS for event in transfers)
        is_open = any(payment.state is RepaymentState.OPEN for payment in payments)
        counted = replace(debt, repaid_nrlc=shown, is_settled=shown >= debt.given_nrlc and deep and not is_open)
        if counted != debt:
            await self._put(counted)
        if shown >= debt.given_nrlc > debt.repaid_nrlc:
            self._tell(f"The stake of {debt.given_nrlc} nRLC is repaid; this worker owes {debt.sponsor} nothing more.")
        return counted

    async def _pay(self, debt: Debt, payments: Sequence[Repayment], transfers: Sequence[ChainEvent]) -> None:
        counting = [payment for payment in payments if payment.state is not RepaymentState.FAILED]
        ours = frozenset[str]().union(*(payment.hashes for payment in counting))
        repaid = sum(payment.nrlc for payment in counting) + sum(
            event.arguments["value"] for event in transfers if event.tx_hash not in ours
        )
        account = await self._chain.view_account(self._worker)
        amount = next_payment(
            debt,
            repaid_nrlc=repaid,
            earned_nrlc=await asyncio.to_thread(self._worker_store.earned, debt.workerpool),
            spendable_nrlc=max(account.stake - self._machine.reserved_stake(""), 0),
            how=self._how(),
        )
        if not amount:
            return
        gift = await self._chain.receipt(debt.deposit_tx)
        if gift is None or not gift.succeeded:
            raise ServiceUnavailable("chain", f"chain {self._chain.chain_id}", "the stake that was given is gone")
        await self._chain.verify()
        call = calls.transfer_deposit(self._chain.hub, debt.sponsor, amount)
        known = await self._transactions.send_again(self._machine.held)
        key = self._signer.address
        waiting = await self._chain.count_transactions(key, pending=True) - await self._chain.count_transactions(key)
        if waiting > known:
            reason = f"{waiting} transactions of {key} wait to be mined, of which {known} are known here"
            raise TransactionFailed(call.function, reason)
        transaction = await self._chain.prepare(call, self._signer)
        number = await asyncio.to_thread(self._store.add, debt.workerpool, amount, transaction, self._clock.now())
        self._unmined[number] = transaction
        _log.info("repays", sponsor=debt.sponsor, nrlc=amount, tx=transaction.hash)
        try:
            await self._chain.broadcast(transaction)
        except NonceTaken:
            _log.warning("the nonce of a repayment was taken", tx=transaction.hash)
        except (TransactionFailed, FundsError) as error:
            self.trouble[debt.workerpool] = str(error)
            _log.warning("a repayment waits", reason=str(error))

    async def _put(self, debt: Debt) -> None:
        await asyncio.to_thread(self._store.put, debt)
        self._debts[debt.workerpool] = debt

    async def _is_on_disk(self) -> bool:
        """False while the worker's file was removed under it. What is owed is written anew to the one that replaces it;
        what was signed is known by the nonces that the chain sees."""
        if await asyncio.to_thread(self._worker_store.is_gone):
            return False
        if self._worker_store.database is not self._database:
            self._database = self._worker_store.database
            for debt in tuple(self._debts.values()):
                await self._put(debt)
        return True

    def snapshot(self) -> list[dict[str, Any]]:
        """Why nothing is paid now, as JSON values; empty if nothing is in the way."""
        return [{"workerpool": pool, "reason": reason} for pool, reason in sorted(self.trouble.items())]

    def _tell(self, text: str) -> None:
        """Tell the owner, once."""
        if self._said.get(text) is None:
            self._said[text] = text
            self._say(text)
