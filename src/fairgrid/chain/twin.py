"""The chain seam's in-memory twin: the reference model of the hub behind it, with time that skips.

For users' own tests as for ours: no node, no waiting. Transactions are signed for real and mined one a block.

    chain = ModelChain.fresh(owner=deployer.address)
    await chain.transact(calls.transfer(chain.rlc, worker.address, 10**9), deployer)
    chain.skip(3600)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from fairgrid.chain.bulk import call_data, replaced, signed
from fairgrid.chain.decode import NO_DATA
from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.fees import FeeMarket, Fees
from fairgrid.chain.interface import Call, ChainEvent, Mined, Receipt, SignedTransaction
from fairgrid.chain.sender import NonceTaken
from fairgrid.chain.twin_blocks import GAS, GAS_PRICE_WEI, MinedBlock
from fairgrid.chain.twin_views import TwinViews
from fairgrid.errors import ContractReverted, FundsError, TransactionFailed, UsageError
from fairgrid.protocol.hexes import keccak, to_hex
from fairgrid.protocol.model import Hub, Revert
from fairgrid.wallet.signer import Signer

__all__ = ["ModelChain"]


class ModelChain(TwinViews):
    """Implements `fairgrid.chain.interface.Chain`. Here it sends and follows; `TwinViews` reads.

    `TwinBlocks` mines, and says what else can be done to it: time, blocks, reorganisations, a node that is away.
    """

    @classmethod
    def fresh(
        cls, *, owner: str, chain_id: int = 31337, now: int = 1_700_000_000, automine: bool = True, keep_states: int = 0
    ) -> ModelChain:
        """A new chain with the contracts deployed; ``owner`` owns the hub and all RLC."""
        return cls(Hub.deploy(chain_id=chain_id, owner=owner, now=now), automine=automine, keep_states=keep_states)

    # --- sending ------------------------------------------------------------------------------------------------

    async def prepare(self, call: Call, signer: Signer, *, nonce: int | None = None) -> SignedTransaction:
        self._check_up()
        sender = signer.address
        data = call_data(call)
        try:
            self._simulate(call, sender)
        except Revert as error:
            raise ContractReverted(call.function, NO_DATA if error.text is None else error.text) from error
        price = GAS * GAS_PRICE_WEI + call.value_wei
        has = self._wei_of(sender)
        if has < price:
            raise FundsError(
                f"{sender} cannot pay the gas of {call.function} on chain {self.chain_id}: it has {has} wei, and needs "
                f"up to {price}. Send it {price - has} wei and try again; nothing was sent."
            )
        taken = self._free_nonce(sender) if nonce is None else nonce
        raw = signer.sign_transaction(
            {
                "chainId": self.chain_id,
                "nonce": taken,
                "to": call.address,
                "data": data,
                "value": call.value_wei,
                "gas": GAS,
                "maxFeePerGas": max(GAS_PRICE_WEI, self.base_fee_wei),
                "maxPriorityFeePerGas": 0,
            }
        )
        transaction = SignedTransaction(raw, to_hex(keccak(raw)), sender, taken, call.function)
        self._calls[transaction.hash] = call
        return transaction

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """See `Chain.broadcast`.

        Raises:
            NonceTaken: another transaction has its nonce.
            UsageError: it was not prepared by this twin.
        """
        self._check_up()
        if transaction.hash not in self._calls:
            raise UsageError(f"The transaction {transaction.hash} was prepared elsewhere: a twin mines only its own.")
        if transaction in self._pool or transaction.hash in self._receipts:
            return
        if transaction.nonce < self._nonces.get(transaction.sender, 0):
            raise NonceTaken(transaction)
        for rival in [t for t in self._pool if (t.sender, t.nonce) == (transaction.sender, transaction.nonce)]:
            offered, before = read_envelope(transaction.raw).fees, read_envelope(rival.raw).fees
            if offered.max_fee_wei * 8 < before.max_fee_wei * 9 or offered.tip_wei <= before.tip_wei:
                raise NonceTaken(transaction)
            self._pool.remove(rival)
        self._pool.append(transaction)
        while self.automine and self._next_in_pool() is not None:
            self.mine()

    async def receipt(self, tx_hash: str) -> Receipt | None:
        self._check_up()
        return self._receipts.get(tx_hash)

    async def transact(self, call: Call, signer: Signer) -> Receipt:
        transaction = await self.prepare(call, signer)
        await self.broadcast(transaction)
        while (receipt := await self.receipt(transaction.hash)) is None:
            await self._news.wait()
        if not receipt.succeeded:
            raise ContractReverted(call.function, NO_DATA, tx_hash=receipt.tx_hash)
        return receipt

    async def fee_market(self) -> FeeMarket:
        self._check_up()
        return FeeMarket(self.base_fee_wei, 0)

    async def count_transactions(self, address: str, *, pending: bool = False) -> int:
        self._check_up()
        return self._free_nonce(address) if pending else self._nonces.get(address, 0)

    async def estimate(self, calls: Sequence[Call], sender: str) -> list[int | TransactionFailed]:
        self._check_up()
        if not self._wei_of(sender):
            raise FundsError(f"{sender} has no coins for gas on chain {self.chain_id}. Send it some.")
        found: list[int | TransactionFailed] = []
        for call in calls:
            try:
                self._simulate(call, sender)
                found.append(GAS)
            except Revert as error:
                found.append(ContractReverted(call.function, NO_DATA if error.text is None else error.text))
        return found

    def sign(self, call: Call, signer: Signer, *, nonce: int, gas: int, fees: Fees) -> SignedTransaction:
        transaction = signed(self.chain_id, call, signer, nonce=nonce, gas=gas, fees=fees)
        self._calls[transaction.hash] = call
        return transaction

    def replace(self, transaction: SignedTransaction, signer: Signer, fees: Fees) -> SignedTransaction:
        again = replaced(transaction, signer, fees)
        self._calls[again.hash] = self._calls[transaction.hash]
        return again

    async def broadcast_all(
        self, transactions: Sequence[SignedTransaction]
    ) -> list[TransactionFailed | FundsError | None]:
        refusals: list[TransactionFailed | FundsError | None] = []
        for transaction in transactions:
            try:
                await self.broadcast(transaction)
                refusals.append(None)
            except (TransactionFailed, FundsError) as refusal:
                refusals.append(refusal)
        return refusals

    async def mined(self, hashes: Sequence[str]) -> list[Mined | None]:
        self._check_up()
        receipts = [self._receipts.get(tx_hash) for tx_hash in hashes]
        return [
            None
            if receipt is None
            else Mined(receipt.tx_hash, receipt.succeeded, receipt.block.number, receipt.gas_used, GAS_PRICE_WEI)
            for receipt in receipts
        ]

    # --- following ----------------------------------------------------------------------------------------------

    async def follow(
        self,
        *,
        from_block: int,
        confirmations: int = 0,
        poll_s: float = 0.5,
        reached: Callable[[int], None] | None = None,
    ) -> AsyncIterator[ChainEvent]:
        given: list[MinedBlock] = []
        while True:
            news = self._news
            while given and self._at(given[-1].block.number) is not given[-1]:
                for event in reversed(self._of_hub(given.pop())):
                    yield replace(event, removed=True)
            following = given[-1].block.number + 1 if given else from_block
            mined = self._at(following) if following <= self._head.number - confirmations else None
            if mined is None or self.down:
                if reached is not None:
                    reached(following - 1)
                if news is self._news:
                    await news.wait() if not self.down else await asyncio.sleep(poll_s)
                continue
            given.append(mined)
            for event in self._of_hub(mined):
                yield event
