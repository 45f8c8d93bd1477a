"""The pool's own transactions: signed, stored, sent, watched; the same bytes again after a crash (decision 25)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from fairgrid.chain import calls
from fairgrid.chain.interface import Call, Chain, SignedTransaction
from fairgrid.errors import FundsError, ServiceUnavailable, TransactionFailed
from fairgrid.pool.events import EffectFailed
from fairgrid.pool.instructions import ChainInstruction, Finalize, Initialize, Reopen
from fairgrid.pool.store import EffectStatus, PoolStore
from fairgrid.protocol.hexes import from_hex
from fairgrid.protocol.results import callback_results_text, results_text
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer

__all__ = ["ChainEffects", "step_of"]

_log = structlog.get_logger(__name__)

_RECEIPT_POLL_S = 0.25
_REBROADCAST_S = 15.0
_PATIENCE_S = 300.0
_LONGEST_PAUSE_S = 15.0


def step_of(instruction: ChainInstruction) -> str:
    """The name of the step in the machine's words: initialize, finalize or claim."""
    return type(instruction).__name__.lower()


@dataclass(slots=True)
class _Outstanding:
    """A transaction that was sent and of which no receipt was seen."""

    instruction: ChainInstruction
    transaction: SignedTransaction
    first_sent_at: float
    sent_at: float


class ChainEffects:
    """Sends one transaction after the other, and watches all that are under way.

    ``callback_of`` gives a task's callback contract (the zero address: none). ``failed`` is told of a refusal; it
    compares the task with the chain and tells the machine.
    """

    def __init__(
        self,
        *,
        chain: Chain,
        signer: Signer,
        store: PoolStore,
        clock: Clock,
        callback_of: Callable[[str], str],
        failed: Callable[[EffectFailed], Awaitable[None]],
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._store = store
        self._clock = clock
        self._callback_of = callback_of
        self._failed = failed
        self._queue: asyncio.Queue[ChainInstruction] = asyncio.Queue()
        self._outstanding: dict[str, _Outstanding] = {}

    def submit(self, instruction: ChainInstruction) -> None:
        """Have a transaction sent; its effect is in the store already."""
        self._queue.put_nowait(instruction)

    async def resume(self) -> frozenset[str]:
        """Take up what was under way when the pool ended, in the order of nonces; gives the keys of all of them."""
        stored = await asyncio.to_thread(self._store.transactions_under_way)
        for effect in stored:
            self._queue.put_nowait(effect.instruction)
        return frozenset(effect.key for effect in stored)

    async def send(self) -> None:
        """Send what is queued, for ever."""
        while True:
            instruction = await self._queue.get()
            pause = 0.5
            while True:
                try:
                    await self._send(instruction)
                    break
                except ServiceUnavailable as error:
                    _log.warning(
                        "the chain does not answer; the transaction waits", key=instruction.key, error=str(error)
                    )
                    await self._clock.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def watch(self) -> None:
        """Look for receipts, for ever; send again what is not mined."""
        while True:
            await self._clock.sleep(_RECEIPT_POLL_S)
            for key, outstanding in list(self._outstanding.items()):
                try:
                    await self._look(key, outstanding)
                except ServiceUnavailable:
                    break

    async def _send(self, instruction: ChainInstruction) -> None:
        effect = await asyncio.to_thread(self._store.effect, instruction.key)
        if effect is None or effect.status is EffectStatus.FAILED:
            return
        transaction = effect.transaction
        try:
            if transaction is None:
                transaction = await self._chain.prepare(self._call(instruction), self._signer)
                await asyncio.to_thread(self._store.record_signed, instruction.key, transaction)
            await self._chain.broadcast(transaction)
        except (TransactionFailed, FundsError) as error:
            await self._give_up(instruction, str(error))
            return
        now = self._clock.now()
        self._outstanding[instruction.key] = _Outstanding(instruction, transaction, now, now)
        _log.info("transaction sent", key=instruction.key, tx_hash=transaction.hash, nonce=transaction.nonce)

    async def _look(self, key: str, outstanding: _Outstanding) -> None:
        receipt = await self._chain.receipt(outstanding.transaction.hash)
        now = self._clock.now()
        if receipt is not None:
            del self._outstanding[key]
            if receipt.succeeded:
                await asyncio.to_thread(self._store.mark, key, EffectStatus.MINED)
            else:
                await self._give_up(outstanding.instruction, "it was mined, but the hub refused it")
        elif now >= outstanding.first_sent_at + _PATIENCE_S:
            del self._outstanding[key]
            await self._give_up(outstanding.instruction, f"it was not mined within {_PATIENCE_S:.0f} s")
        elif now >= outstanding.sent_at + _REBROADCAST_S:
            outstanding.sent_at = now
            try:
                await self._chain.broadcast(outstanding.transaction)
            except (TransactionFailed, FundsError) as error:
                del self._outstanding[key]
                await self._give_up(outstanding.instruction, str(error))

    async def _give_up(self, instruction: ChainInstruction, reason: str) -> None:
        _log.warning("transaction refused", key=instruction.key, reason=reason)
        await asyncio.to_thread(self._store.mark, instruction.key, EffectStatus.FAILED, reason)
        await self._failed(EffectFailed(instruction.task_id, step_of(instruction), reason))

    def _call(self, instruction: ChainInstruction) -> Call:
        hub = self._chain.hub
        if isinstance(instruction, Initialize):
            return calls.initialize(hub, instruction.deal_id, instruction.index)
        if isinstance(instruction, Finalize):
            callback_data = from_hex(instruction.results_callback)
            results = results_text(instruction.cid)
            if callback_data:
                results = callback_results_text(self._callback_of(instruction.task_id))
            return calls.finalize(hub, instruction.task_id, results, callback_data)
        if isinstance(instruction, Reopen):
            return calls.reopen(hub, instruction.task_id)
        return calls.claim(hub, instruction.task_id)
