"""The blocks of the chain's twin: what is mined when, what a transaction does, and what a reorganisation takes back."""

from __future__ import annotations

import asyncio
import copy
import itertools
from dataclasses import dataclass, field, replace

from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.interface import Block, Call, ChainEvent, Receipt, SignedTransaction
from fairgrid.chain.twin_calls import run_call
from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.protocol.hexes import ZERO32, keccak, to_hex
from fairgrid.protocol.model import Event, Hub, Revert
from fairgrid.protocol.views import RoleAccount

__all__ = ["GAS", "GAS_PRICE_WEI", "MinedBlock", "TwinBlocks"]

GAS = 200_000
"""Gas of every transaction here; the model does not count it."""
GAS_PRICE_WEI = 10**9
_RICH_WEI = 10**21
_URL = "memory:"


@dataclass(slots=True)
class MinedBlock:
    """A block, and the chain's state after it if it is kept."""

    block: Block
    transactions: list[SignedTransaction] = field(default_factory=list)
    events: list[ChainEvent] = field(default_factory=list)
    state_after: tuple[Hub, dict[str, int], dict[str, int]] | None = None


class TwinBlocks:
    """A chain of blocks over `fairgrid.protocol.model.Hub`: the node behind `fairgrid.chain.twin.ModelChain`.

    ``automine`` False leaves transactions in the pool until `mine`. ``down`` True makes every method raise
    `ServiceUnavailable`, as when the node is away. A transaction that offers less than ``base_fee_wei`` is not mined.
    Everybody has 1,000 coins for gas until `set_balance`.
    """

    def __init__(self, model: Hub, *, automine: bool = True, keep_states: int = 0) -> None:
        """``keep_states`` is how many blocks deep `reorganise` can go; keeping them costs time and memory."""
        self.model = model
        self.automine = automine
        self.down = False
        self._keep_states = keep_states
        self.base_fee_wei = GAS_PRICE_WEI
        self._balances: dict[str, int] = {}
        self.role_accounts: dict[str, RoleAccount] = {}
        """Role accounts by address; put one in to have it."""
        self._nonces: dict[str, int] = {}
        self._calls: dict[str, Call] = {}
        self._pool: list[SignedTransaction] = []
        self._receipts: dict[str, Receipt] = {}
        self._forks = itertools.count()
        self._news = asyncio.Event()
        self._blocks: list[MinedBlock] = []
        self._append(MinedBlock(self._new_block(model.now)))

    def skip(self, seconds: int) -> Block:
        """Let chain time pass: the next block, mined now, is ``seconds`` after the last one."""
        self.model.now = self._head.timestamp + seconds - 1
        return self.mine()

    def mine(self) -> Block:
        """Mine one block with everything in the pool that can be mined; a second passes."""
        self.model.now = max(self.model.now, self._head.timestamp) + 1
        mined = MinedBlock(self._new_block(self.model.now))
        while (transaction := self._next_in_pool()) is not None:
            self._pool.remove(transaction)
            mined.transactions.append(transaction)
            self._execute(transaction, mined)
        self._append(mined)
        return mined.block

    def reorganise(self, depth: int, *, drop: bool = False) -> None:
        """Orphan the last ``depth`` blocks and mine as many and one empty ones in their place.

        Their transactions go back to the pool, to be mined next; ``drop`` forgets them. `model` is another object
        afterwards, with the state of the common ancestor.

        Raises:
            UsageError: the state that deep was not kept (``keep_states``).
        """
        ancestor = self._blocks[-depth - 1] if 0 < depth < len(self._blocks) else None
        if ancestor is None or ancestor.state_after is None:
            raise UsageError(f"The state {depth} blocks ago was not kept: make the chain with keep_states={depth}.")
        orphans = self._blocks[-depth:]
        del self._blocks[-depth:]
        self.model, self._balances, self._nonces = copy.deepcopy(ancestor.state_after)
        freed = [transaction for orphan in orphans for transaction in orphan.transactions]
        for transaction in freed:
            self._receipts.pop(transaction.hash, None)
        waiting, self._pool = self._pool, []
        for _ in range(depth + 1):
            self.mine()
        self._pool = waiting if drop else [*freed, *waiting]

    def set_balance(self, address: str, wei: int) -> None:
        """Give an account that much of the chain's own coin."""
        self._balances[address] = wei

    def _wei_of(self, address: str) -> int:
        return self._balances.get(address, _RICH_WEI)

    @property
    def chain_id(self) -> int:
        return self.model.domain.chain_id

    @property
    def hub(self) -> str:
        return self.model.address

    @property
    def _head(self) -> Block:
        return self._blocks[-1].block

    def _at(self, number: int) -> MinedBlock | None:
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def _of_hub(self, mined: MinedBlock) -> list[ChainEvent]:
        return [event for event in mined.events if event.address == self.hub]

    def _check_up(self) -> None:
        if self.down:
            raise ServiceUnavailable("chain", _URL, "it was told to be down")

    def _new_block(self, timestamp: int) -> Block:
        parent = self._blocks[-1].block.hash if self._blocks else ZERO32
        number = len(self._blocks)
        seed = f"{parent}/{number}/{timestamp}/{next(self._forks)}"
        return Block(number, to_hex(keccak(seed.encode())), timestamp)

    def _append(self, mined: MinedBlock) -> None:
        if self._keep_states:
            mined.state_after = copy.deepcopy((self.model, self._balances, self._nonces))
            if len(self._blocks) > self._keep_states:
                self._blocks[-self._keep_states - 1].state_after = None
        self._blocks.append(mined)
        self._news.set()
        self._news = asyncio.Event()

    def _simulate(self, call: Call, sender: str) -> None:
        before = self.model.now
        self.model.now = max(before, self._head.timestamp) + 1
        try:
            with self.model.world.atomic():
                run_call(self.model, *self._routed(sender, call))
                raise _TakeBack
        except _TakeBack:
            pass
        finally:
            self.model.now = before

    def _routed(self, sender: str, call: Call) -> tuple[str, Call]:
        """Who calls the hub with what, when the call goes through a role account (`contracts/role_account.vy`)."""
        account = self.role_accounts.get(call.address)
        if account is None or call.contract != "hub":
            return sender, call
        works = call.function in ("contribute", "contributeAndFinalize", "settleRun")
        if call.function != "reveal" and not (works and account.may_work and sender == account.operator):
            raise Revert("caller lacks the role")
        return call.address, replace(call, address=self.hub)

    def _free_nonce(self, sender: str) -> int:
        nonce = self._nonces.get(sender, 0)
        waiting = {transaction.nonce for transaction in self._pool if transaction.sender == sender}
        while nonce in waiting:
            nonce += 1
        return nonce

    def _next_in_pool(self) -> SignedTransaction | None:
        """The next that can be mined: the right nonce, and it pays the base fee if that was raised."""
        dear = self.base_fee_wei > GAS_PRICE_WEI
        for waiting in self._pool:
            if waiting.nonce == self._nonces.get(waiting.sender, 0) and not (
                dear and read_envelope(waiting.raw).fees.max_fee_wei < self.base_fee_wei
            ):
                return waiting
        return None

    def _execute(self, transaction: SignedTransaction, mined: MinedBlock) -> None:
        call = self._calls[transaction.hash]
        known = len(self.model.events)
        try:
            run_call(self.model, *self._routed(transaction.sender, call))
            succeeded = True
        except Revert:
            succeeded = False
        self._nonces[transaction.sender] = transaction.nonce + 1
        balance = self._wei_of(transaction.sender)
        self._balances[transaction.sender] = balance - GAS * GAS_PRICE_WEI
        if succeeded and call.value_wei:
            self._balances[transaction.sender] -= call.value_wei
            self._balances[call.address] = self._wei_of(call.address) + call.value_wei
        events = tuple(
            _as_chain_event(event, mined.block, len(mined.events) + position, transaction.hash)
            for position, event in enumerate(self.model.events[known:])
        )
        mined.events.extend(events)
        self._receipts[transaction.hash] = Receipt(transaction.hash, succeeded, mined.block, GAS, events)


class _TakeBack(Exception):
    """Ends a simulation: the model takes back what was done."""


def _as_chain_event(event: Event, block: Block, log_index: int, tx_hash: str) -> ChainEvent:
    return ChainEvent(
        name=event.name,
        arguments=dict(event.arguments),
        address=event.address,
        block_number=block.number,
        block_hash=block.hash,
        log_index=log_index,
        tx_hash=tx_hash,
    )
