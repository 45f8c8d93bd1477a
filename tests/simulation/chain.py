"""The chain of a simulation: the reference model, mined at a steady pace; and each node's unreliable view of it."""

from __future__ import annotations

import asyncio
import copyreg
import io
import pickle
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fairgrid.chain.fees import Fees
from fairgrid.chain.interface import Call, ChainEvent, Mined, Receipt, SignedTransaction
from fairgrid.chain.twin import ModelChain
from fairgrid.chain.twin_blocks import MinedBlock
from fairgrid.errors import FundsError, ServiceUnavailable, TransactionFailed
from fairgrid.wallet.signer import Signer
from tests.simulation.faults import Counter, Fault
from tests.simulation.nodes import EPOCH, Node

__all__ = ["KEPT_BLOCKS", "ChainTroubles", "NodeChain", "SimulatedChain"]

_ABOUT_A_TASK = ("contribute", "reveal", "finalize", "finalizeRun", "claim")
KEPT_BLOCKS = 13
"""How deep the chain can be rewritten, and one more."""


class SimulatedChain(ModelChain):
    """`ModelChain` that keeps one copy of its state for all empty blocks in a row; nobody changes it but by calls."""

    def mine_at(self, elapsed_s: float) -> None:
        """Mine a block with the time of the whole simulation."""
        self.model.now = int(EPOCH + elapsed_s) - 1
        self.mine()

    @property
    def height(self) -> int:
        return self._head.number

    def refused_of(self, sender: str) -> list[str]:
        """The functions of a sender's transactions that were mined in vain."""
        mined = [transaction for block in self._blocks for transaction in block.transactions]
        return [
            transaction.function
            for transaction in mined
            if transaction.sender == sender and not self._receipts[transaction.hash].succeeded
        ]

    def is_waiting(self, sender: str) -> bool:
        """Whether a transaction of this sender is sent and not mined."""
        return any(transaction.sender == sender for transaction in self._pool)

    def transfers_of(self, sender: str) -> dict[str, int]:
        """What an account gave others in the escrow by itself, by receiver."""
        given: dict[str, int] = {}
        for block in self._blocks:
            for transaction in block.transactions:
                if transaction.sender == sender and transaction.function == "transfer":
                    if self._receipts[transaction.hash].succeeded:
                        to, amount = self._calls[transaction.hash].arguments
                        given[str(to)] = given.get(str(to), 0) + int(amount)
        return given

    def task_of(self, transaction: SignedTransaction) -> str:
        """The task that a transaction of pool or worker is about; empty for none."""
        arguments = self._calls[transaction.hash].arguments
        return str(arguments[0]) if transaction.function in _ABOUT_A_TASK else ""

    def _append(self, mined: MinedBlock) -> None:
        if self._keep_states:
            before = self._blocks[-1] if self._blocks else None
            if before is not None and before.state_after is not None and not mined.transactions:
                mined.state_after = before.state_after
            else:
                mined.state_after = self._picture()
            if len(self._blocks) > self._keep_states:
                self._blocks[-self._keep_states - 1].state_after = None
        self._blocks.append(mined)
        self._news.set()
        self._news = asyncio.Event()

    def remember_all(self) -> None:
        """Take what was set up directly as the state of the newest block."""
        self._blocks[-1].state_after = self._picture()

    def _picture(self) -> Any:
        return _Picture((self.model, self._balances, self._nonces))


class _Picture:
    """A chain's state, which is seldom wanted back: packed, which takes a fifth of the time of a copy."""

    def __init__(self, state: tuple[Any, ...]) -> None:
        packed = io.BytesIO()
        pickler = pickle.Pickler(packed, pickle.HIGHEST_PROTOCOL)
        pickler.dispatch_table = {**copyreg.dispatch_table, MappingProxyType: _packed_mapping}
        pickler.dump(state)
        self._packed = packed.getvalue()

    def __deepcopy__(self, _memo: dict[int, object]) -> Any:
        return pickle.loads(self._packed)


def _packed_mapping(mapping: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    return _mapping, (dict(mapping),)


def _mapping(content: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainTroubles:
    """How unreliable nodes' views are: probabilities, and seconds."""

    latency_s: float = 0.0
    lost_answer: float = 0.0
    """A transaction arrives, the answer does not."""
    missed_event: float = 0.0
    repeated_event: float = 0.0


class NodeChain:
    """`fairgrid.chain.interface.Chain` as one node sees it. ``down`` True: its Ethereum node does not answer."""

    def __init__(
        self, chain: SimulatedChain, node: Node, troubles: ChainTroubles, rng: random.Random, counter: Counter
    ) -> None:
        self._chain = chain
        self._node = node
        self.troubles = troubles
        self._rng = rng
        self._counter = counter
        self.down = False
        self.sending: Callable[[str, str, str], None] = lambda sender, function, task_id: None
        """Hears of every transaction before it is sent."""

    @property
    def chain_id(self) -> int:
        return self._chain.chain_id

    @property
    def hub(self) -> str:
        return self._chain.hub

    @property
    def rlc(self) -> str:
        return self._chain.rlc

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._chain, name)

        async def read(*args: Any, **kwargs: Any) -> Any:
            await self._travel()
            return await method(*args, **kwargs)

        self.__dict__[name] = read  # It is asked for often.
        return read

    async def prepare(self, call: Call, signer: Signer, *, nonce: int | None = None) -> SignedTransaction:
        await self._travel()
        transaction = await self._chain.prepare(call, signer, nonce=nonce)
        await self._node.checkpoint(f"after signing {call.function}")
        return transaction

    def sign(self, call: Call, signer: Signer, *, nonce: int, gas: int, fees: Fees) -> SignedTransaction:
        return self._chain.sign(call, signer, nonce=nonce, gas=gas, fees=fees)

    def replace(self, transaction: SignedTransaction, signer: Signer, fees: Fees) -> SignedTransaction:
        return self._chain.replace(transaction, signer, fees)

    async def broadcast(self, transaction: SignedTransaction) -> None:
        await self._travel()
        await self._send(transaction)
        self._lose_answer()

    async def broadcast_all(
        self, transactions: Sequence[SignedTransaction]
    ) -> list[TransactionFailed | FundsError | None]:
        await self._travel()
        refusals: list[TransactionFailed | FundsError | None] = []
        for transaction in transactions:
            try:
                await self._send(transaction)
                refusals.append(None)
            except (TransactionFailed, FundsError) as refusal:
                refusals.append(refusal)
        self._lose_answer()
        return refusals

    async def _send(self, transaction: SignedTransaction) -> None:
        await self._node.checkpoint(f"before sending {transaction.function}")
        self.sending(self._node.name, transaction.function, self._chain.task_of(transaction))
        await self._chain.broadcast(transaction)
        self._node.note(f"sends {transaction.function} with nonce {transaction.nonce} ({transaction.hash[:10]})")
        await self._node.checkpoint(f"after sending {transaction.function}")

    def _lose_answer(self) -> None:
        if self._rng.random() < self.troubles.lost_answer:
            self._counter.count(Fault.LOST_ANSWER)
            raise ServiceUnavailable("chain", "memory:", "its answer was lost")

    async def receipt(self, tx_hash: str) -> Receipt | None:
        await self._travel()
        found = await self._chain.receipt(tx_hash)
        if found is not None:
            await self._node.checkpoint("after a receipt")
        return found

    async def mined(self, hashes: Sequence[str]) -> list[Mined | None]:
        await self._travel()
        found = await self._chain.mined(hashes)
        if any(found):
            await self._node.checkpoint("after a receipt")
        return found

    async def follow(
        self,
        *,
        from_block: int,
        confirmations: int = 0,
        poll_s: float = 0.5,
        reached: Callable[[int], None] | None = None,
    ) -> AsyncIterator[ChainEvent]:
        async for event in self._chain.follow(
            from_block=from_block, confirmations=confirmations, poll_s=poll_s, reached=reached
        ):
            while not await self._answers(poll_s):
                pass
            about_task = "taskid" in event.arguments
            if about_task and self._rng.random() < self.troubles.missed_event:
                self._counter.count(Fault.MISSED_EVENT)
                self._node.note(f"misses {event.name}")
                continue
            yield event
            if not event.removed and self._rng.random() < self.troubles.repeated_event:
                self._counter.count(Fault.REPEATED_EVENT)
                yield event

    async def _answers(self, pause_s: float) -> bool:
        if self.down:
            await asyncio.sleep(pause_s)
        return not self.down

    async def _travel(self) -> None:
        if not self._node.alive:
            await asyncio.get_running_loop().create_future()
        if self.troubles.latency_s:
            await asyncio.sleep(self._rng.uniform(0.0, self.troubles.latency_s))
        if self.down:
            await asyncio.sleep(0.1)
            raise ServiceUnavailable("chain", "memory:", "it was told to be down")
