"""The chain seam's in-memory twin: the reference model of the hub behind it, with time that skips.

For users' own tests as for ours: no node, no waiting. Transactions are signed for real and mined one a block.

    chain = ModelChain.fresh(owner=deployer.address)
    await chain.transact(calls.transfer(chain.rlc, worker.address, 10**9), deployer)
    chain.skip(3600)
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from fairgrid.chain.bulk import call_data, replaced, signed
from fairgrid.chain.decode import NO_DATA
from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.fees import FeeMarket, Fees
from fairgrid.chain.interface import (
    Block,
    Call,
    ChainEvent,
    Mined,
    Receipt,
    SignedTransaction,
    Snapshot,
    Wanted,
)
from fairgrid.chain.sender import NonceTaken
from fairgrid.chain.twin_calls import run_call
from fairgrid.errors import (
    ContractReverted,
    FundsError,
    ServiceUnavailable,
    TransactionFailed,
    UsageError,
)
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak, to_hex
from fairgrid.protocol.model import Event, Hub, Revert
from fairgrid.protocol.views import (
    Account,
    AppInfo,
    Category,
    Contribution,
    DatasetInfo,
    Deal,
    Lane,
    RoleAccount,
    Run,
    Task,
    WorkerpoolInfo,
)
from fairgrid.wallet.signer import Signer

__all__ = ["ModelChain"]

GAS = 200_000
"""Gas of every transaction here; the model does not count it."""
GAS_PRICE_WEI = 10**9
_RICH_WEI = 10**21
_URL = "memory:"


@dataclass(slots=True)
class _MinedBlock:
    """A block, and the chain's state after it if it is kept."""

    block: Block
    transactions: list[SignedTransaction] = field(default_factory=list)
    events: list[ChainEvent] = field(default_factory=list)
    state_after: tuple[Hub, dict[str, int], dict[str, int]] | None = None


class ModelChain:
    """Implements `fairgrid.chain.interface.Chain` on `fairgrid.protocol.model.Hub`.

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
        self._blocks: list[_MinedBlock] = []
        self._append(_MinedBlock(self._new_block(model.now)))

    @classmethod
    def fresh(
        cls, *, owner: str, chain_id: int = 31337, now: int = 1_700_000_000, automine: bool = True, keep_states: int = 0
    ) -> ModelChain:
        """A new chain with the contracts deployed; ``owner`` owns the hub and all RLC."""
        return cls(Hub.deploy(chain_id=chain_id, owner=owner, now=now), automine=automine, keep_states=keep_states)

    # --- what only a twin can do --------------------------------------------------------------------------------

    def skip(self, seconds: int) -> Block:
        """Let chain time pass: the next block, mined now, is ``seconds`` after the last one."""
        self.model.now = self._head.timestamp + seconds - 1
        return self.mine()

    def mine(self) -> Block:
        """Mine one block with everything in the pool that can be mined; a second passes."""
        self.model.now = max(self.model.now, self._head.timestamp) + 1
        mined = _MinedBlock(self._new_block(self.model.now))
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

    # --- reading ------------------------------------------------------------------------------------------------

    @property
    def chain_id(self) -> int:
        return self.model.domain.chain_id

    @property
    def hub(self) -> str:
        return self.model.address

    @property
    def rlc(self) -> str:
        """The token's address."""
        return self.model.token.address

    async def head(self, *, within_s: float = 0.0) -> Block:
        self._check_up()
        return self._head

    async def snapshot(self, wanted: Wanted, *, since: str = "") -> Snapshot:
        head = await self.head()
        if head.hash == since:
            return Snapshot(block=head)
        # Nothing here ever waits, so that no block comes in between.
        return Snapshot(
            block=head,
            deals={deal: await self.view_deal(deal) for deal in wanted.deals},
            tasks={task: await self.view_task(task) for task in wanted.tasks},
            contributions={pair: await self.view_contribution(*pair) for pair in wanted.contributions},
            accounts={address: await self.view_account(address) for address in wanted.accounts},
            lanes={deal: await self.view_lane(deal) for deal in wanted.lanes},
            hashes={number: await self.block_hash(number) for number in wanted.blocks},
        )

    async def view_deal(self, deal_id: str) -> Deal | None:
        self._check_up()
        deal = self.model.view_deal(deal_id)
        return None if deal.app.pointer == ZERO_ADDRESS else deal

    async def view_task(self, task_id: str) -> Task:
        self._check_up()
        return self.model.view_task(task_id)

    async def view_tasks(self, task_ids: Sequence[str]) -> list[Task]:
        return [await self.view_task(task_id) for task_id in task_ids]

    async def view_contributions(self, pairs: Sequence[tuple[str, str]]) -> list[Contribution]:
        return [await self.view_contribution(task_id, worker) for task_id, worker in pairs]

    async def block_hash(self, number: int) -> str | None:
        self._check_up()
        mined = self._at(number)
        return None if mined is None else mined.block.hash

    async def verify(self) -> None:
        self._check_up()

    async def view_contribution(self, task_id: str, worker: str) -> Contribution:
        self._check_up()
        return self.model.view_contribution(task_id, worker)

    async def view_run(self, run_id: str) -> Run:
        self._check_up()
        return self.model.view_run(run_id)

    async def view_lane(self, deal_id: str) -> Lane:
        self._check_up()
        return self.model.view_lane(deal_id)

    async def view_account(self, address: str) -> Account:
        self._check_up()
        return self.model.view_account(address)

    async def view_score(self, worker: str, *, block_number: int | None = None) -> int:
        self._check_up()
        return self.model.view_score(worker)

    async def view_category(self, category: int) -> Category:
        self._check_up()
        return cast(Category, self._view("viewCategory", lambda: self.model.view_category(category)))

    async def count_categories(self) -> int:
        self._check_up()
        return self.model.count_category()

    async def view_consumed(self, order_hash: str) -> int:
        self._check_up()
        return self.model.view_consumed(order_hash)

    async def view_presigned(self, order_hash: str) -> str:
        self._check_up()
        return self.model.view_presigned(order_hash)

    async def view_app(self, address: str) -> AppInfo:
        self._check_up()
        return cast(AppInfo, self._view("viewApp", lambda: self.model.registries.apps.info(address)))

    async def view_dataset(self, address: str) -> DatasetInfo:
        self._check_up()
        return cast(DatasetInfo, self._view("viewDataset", lambda: self.model.registries.datasets.info(address)))

    async def view_workerpool(self, address: str) -> WorkerpoolInfo:
        self._check_up()
        pools = self.model.registries.workerpools
        return cast(WorkerpoolInfo, self._view("viewWorkerpool", lambda: pools.info(address)))

    async def registry(self, kind: str) -> str:
        """The address of the registry of ``app``, ``dataset`` or ``workerpool``."""
        registries = self.model.registries
        addresses = {
            "app": registries.apps.address,
            "dataset": registries.datasets.address,
            "workerpool": registries.workerpools.address,
        }
        try:
            return addresses[kind]
        except KeyError:
            raise UsageError(f"There is no registry of {kind}: name app, dataset or workerpool.") from None

    async def is_registered(self, kind: str, address: str) -> bool:
        self._check_up()
        await self.registry(kind)
        return self.model.registries.is_registered(cast(Literal["app", "dataset", "workerpool"], kind), address)

    async def verify_signature(self, signer: str, order_hash: str, signature: str) -> bool:
        self._check_up()
        return bool(
            self._view(
                "verifyPresignatureOrSignature",
                lambda: self.model.verify_presignature_or_signature(signer, order_hash, signature),
            )
        )

    async def balance_wei(self, address: str) -> int:
        self._check_up()
        return self._balances.get(address, _RICH_WEI)

    async def view_role_account(self, address: str) -> RoleAccount | None:
        self._check_up()
        return self.role_accounts.get(address)

    async def is_member(self, group: str, account: str) -> bool:
        self._check_up()
        return (group, account) in self.model.group_members

    async def rlc_balance(self, address: str) -> int:
        self._check_up()
        return self.model.token.balance_of(address)

    async def deposit_transfers(self, sender: str, recipient: str, *, from_block: int) -> tuple[ChainEvent, ...]:
        self._check_up()
        return tuple(
            event
            for mined in self._blocks[max(from_block, 0) :]
            for event in self._of_hub(mined)
            if event.name == "Transfer" and (event.arguments["from"], event.arguments["to"]) == (sender, recipient)
        )

    # --- writing ------------------------------------------------------------------------------------------------

    async def prepare(self, call: Call, signer: Signer, *, nonce: int | None = None) -> SignedTransaction:
        self._check_up()
        sender = signer.address
        data = call_data(call)
        try:
            self._simulate(call, sender)
        except Revert as error:
            raise ContractReverted(call.function, NO_DATA if error.text is None else error.text) from error
        price = GAS * GAS_PRICE_WEI + call.value_wei
        has = self._balances.get(sender, _RICH_WEI)
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
        if not self._balances.get(sender, _RICH_WEI):
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
        given: list[_MinedBlock] = []
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

    # --- within -------------------------------------------------------------------------------------------------

    @property
    def _head(self) -> Block:
        return self._blocks[-1].block

    def _at(self, number: int) -> _MinedBlock | None:
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def _of_hub(self, mined: _MinedBlock) -> list[ChainEvent]:
        return [event for event in mined.events if event.address == self.hub]

    def _check_up(self) -> None:
        if self.down:
            raise ServiceUnavailable("chain", _URL, "it was told to be down")

    def _view(self, function: str, view: Any) -> Any:
        try:
            return view()
        except Revert as error:
            raise ContractReverted(function, NO_DATA if error.text is None else error.text) from error

    def _new_block(self, timestamp: int) -> Block:
        parent = self._blocks[-1].block.hash if self._blocks else ZERO32
        number = len(self._blocks)
        seed = f"{parent}/{number}/{timestamp}/{next(self._forks)}"
        return Block(number, to_hex(keccak(seed.encode())), timestamp)

    def _append(self, mined: _MinedBlock) -> None:
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

    def _execute(self, transaction: SignedTransaction, mined: _MinedBlock) -> None:
        call = self._calls[transaction.hash]
        known = len(self.model.events)
        try:
            run_call(self.model, *self._routed(transaction.sender, call))
            succeeded = True
        except Revert:
            succeeded = False
        self._nonces[transaction.sender] = transaction.nonce + 1
        balance = self._balances.get(transaction.sender, _RICH_WEI)
        self._balances[transaction.sender] = balance - GAS * GAS_PRICE_WEI
        if succeeded and call.value_wei:
            self._balances[transaction.sender] -= call.value_wei
            self._balances[call.address] = self._balances.get(call.address, _RICH_WEI) + call.value_wei
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
