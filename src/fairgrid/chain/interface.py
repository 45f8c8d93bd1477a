"""The chain seam: read the hub, send a transaction, follow events at least once, with undo."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fairgrid.chain.fees import FeeMarket, Fees
from fairgrid.errors import FundsError, TransactionFailed
from fairgrid.protocol.views import (
    Account,
    AppInfo,
    Category,
    Contribution,
    DatasetInfo,
    Deal,
    DealBoost,
    Lane,
    RoleAccount,
    Run,
    Task,
    WorkerpoolInfo,
)
from fairgrid.wallet.signer import Signer

__all__ = [
    "Block",
    "Call",
    "Chain",
    "ChainEvent",
    "Mined",
    "Receipt",
    "SignedTransaction",
    "Snapshot",
    "Wanted",
]


@dataclass(frozen=True, slots=True)
class Block:
    """A block; ``timestamp`` is chain time in seconds."""

    number: int
    hash: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a contract function, by contract name in the artifacts (``hub``, ``rlc``, ``app_registry``, …)."""

    contract: str
    address: str
    function: str
    arguments: tuple[Any, ...] = ()
    value_wei: int = 0


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A signed transaction: store it before it is sent, send the same bytes again after a crash (decision 25)."""

    raw: bytes
    hash: str
    sender: str
    nonce: int
    function: str


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """A decoded log. Key: (block_hash, log_index). ``removed`` undoes an event given before (reorganisation)."""

    name: str
    arguments: dict[str, Any]
    address: str
    block_number: int
    block_hash: str
    log_index: int
    tx_hash: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction. ``succeeded`` False means that it reverted on chain."""

    tx_hash: str
    succeeded: bool
    block: Block
    gas_used: int
    events: tuple[ChainEvent, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Mined:
    """What became of a transaction, without its events. ``gas_price_wei`` is what a unit of gas cost it."""

    tx_hash: str
    succeeded: bool
    block_number: int
    gas_used: int
    gas_price_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be read together."""

    deals: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    contributions: tuple[tuple[str, str], ...] = ()
    """Pairs of task and worker."""
    accounts: tuple[str, ...] = ()
    lanes: tuple[str, ...] = ()
    """Of these deals."""
    blocks: tuple[int, ...] = ()
    """Heights of blocks whose hashes are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the chain said as of ``block``; each mapping by what was asked."""

    block: Block
    deals: Mapping[str, Deal | None] = field(default_factory=dict)
    """None where there is no such deal."""
    tasks: Mapping[str, Task] = field(default_factory=dict)
    contributions: Mapping[tuple[str, str], Contribution] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    lanes: Mapping[str, Lane] = field(default_factory=dict)
    hashes: Mapping[int, str | None] = field(default_factory=dict)
    """None above the newest block."""


class Chain(Protocol):
    """The hub on one chain. Every method raises `ServiceUnavailable` when no node answers.

    Event names and argument names are those of the public ABI (``OrdersMatched``: ``dealid``, ``appHash``, …);
    in them bytes32 is 0x-hex text, addresses are checksummed, integers are ints, bytes are bytes.
    """

    @property
    def chain_id(self) -> int: ...
    @property
    def hub(self) -> str: ...
    @property
    def rlc(self) -> str:
        """The address of the token that the hub escrows."""
        ...

    async def head(self, *, within_s: float = 0.0) -> Block:
        """The newest block; one that was it up to ``within_s`` seconds ago will do."""
        ...

    async def snapshot(self, wanted: Wanted, *, since: str = "") -> Snapshot:
        """Several views together, all as of the newest block: nothing of them is younger or older than that.

        If the newest block is still the one with the hash ``since``, nothing but the block is read.

        Raises:
            ServiceUnavailable: also when the node has not, or no longer, the state of the block that it told of.
        """
        ...

    async def view_deal(self, deal_id: str) -> Deal | None: ...
    async def view_deal_boost(self, deal_id: str) -> DealBoost | None:
        """A deal of boost matching; None for any other id, a classic deal's as well."""
        ...

    async def view_task(self, task_id: str) -> Task: ...
    async def view_contribution(self, task_id: str, worker: str) -> Contribution: ...
    async def view_run(self, run_id: str) -> Run:
        """A run of the batch lane; zeros for any other id."""
        ...

    async def view_lane(self, deal_id: str) -> Lane:
        """How far a deal's batch lane is."""
        ...

    async def view_account(self, address: str) -> Account: ...
    async def view_score(self, worker: str, *, block_number: int | None = None) -> int:
        """A worker's score now, or as it was after a block, as far as the node still knows that."""
        ...

    async def view_category(self, category: int) -> Category: ...
    async def count_categories(self) -> int: ...
    async def view_consumed(self, order_hash: str) -> int: ...
    async def view_presigned(self, order_hash: str) -> str: ...
    async def view_app(self, address: str) -> AppInfo: ...
    async def view_dataset(self, address: str) -> DatasetInfo: ...
    async def view_workerpool(self, address: str) -> WorkerpoolInfo: ...
    async def view_role_account(self, address: str) -> RoleAccount | None:
        """The role account at this address; None when something else, or nothing, is there."""
        ...

    async def is_member(self, group: str, account: str) -> bool:
        """True if ``group`` is a group of accounts (ERC-734) that has this one as a member; no group has nobody."""
        ...

    async def is_registered(self, kind: str, address: str) -> bool:
        """``kind`` is ``app``, ``dataset`` or ``workerpool``."""
        ...

    async def verify_signature(self, signer: str, order_hash: str, signature: str) -> bool:
        """True if presigned or signed (`verifyPresignatureOrSignature`)."""
        ...

    async def balance_wei(self, address: str) -> int:
        """Balance in the chain's own coin, for gas."""
        ...

    async def rlc_balance(self, address: str) -> int:
        """RLC held outside the escrow (nRLC)."""
        ...

    async def deposit_transfers(self, sender: str, recipient: str, *, from_block: int) -> tuple[ChainEvent, ...]:
        """The hub's ``Transfer`` events from one account in the escrow to another, oldest first, as it is now."""
        ...

    async def prepare(self, call: Call, signer: Signer, *, nonce: int | None = None) -> SignedTransaction:
        """Simulate, estimate and sign; nothing is sent. ``nonce`` None takes the next free one of this signer.

        Raises:
            ContractReverted: the simulation reverts.
            FundsError: the sender cannot pay the gas.
        """
        ...

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """Send; sending the same bytes again is not an error."""
        ...

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt, or None while it is not mined."""
        ...

    async def transact(self, call: Call, signer: Signer) -> Receipt:
        """Prepare, send, wait.

        Raises:
            ContractReverted: it would revert, or did.
            TransactionFailed: it was not mined in time.
        """
        ...

    # --- many at once: for one account that counts its nonces itself ---------------------------------------------

    async def fee_market(self) -> FeeMarket:
        """What gas costs now."""
        ...

    async def count_transactions(self, address: str, *, pending: bool = False) -> int:
        """The next nonce of an account: of the newest block, or with what waits to be mined (``pending``)."""
        ...

    async def estimate(self, calls: Sequence[Call], sender: str) -> list[int | TransactionFailed]:
        """Simulate each call by itself on the newest block: the gas it takes, or why it would fail.

        Raises:
            FundsError: the sender cannot pay any gas.
        """
        ...

    def sign(self, call: Call, signer: Signer, *, nonce: int, gas: int, fees: Fees) -> SignedTransaction:
        """Sign with these numbers; asks nobody. Blocks while the signer does."""
        ...

    def replace(self, transaction: SignedTransaction, signer: Signer, fees: Fees) -> SignedTransaction:
        """The same transaction with the same nonce and other fees."""
        ...

    async def broadcast_all(
        self, transactions: Sequence[SignedTransaction]
    ) -> list[TransactionFailed | FundsError | None]:
        """Send each; None for those that the node has now, else why it refuses (`NonceTaken` among them)."""
        ...

    async def mined(self, hashes: Sequence[str]) -> list[Mined | None]:
        """What became of each; None while it is not mined."""
        ...

    async def view_tasks(self, task_ids: Sequence[str]) -> list[Task]:
        """`view_task` of each, read together."""
        ...

    async def view_contributions(self, pairs: Sequence[tuple[str, str]]) -> list[Contribution]:
        """`view_contribution` of each pair of task and worker, read together."""
        ...

    async def block_hash(self, number: int) -> str | None:
        """The hash of the block of that height; None above the newest."""
        ...

    async def verify(self) -> None:
        """Make sure that the node is still on the pinned chain, and the hub there still the pinned code (decision 31).

        Raises:
            UsageError: it is on another chain, or there is no hub on it.
            VerificationError: the hub's code is not the pinned one.
        """
        ...

    def follow(
        self,
        *,
        from_block: int,
        confirmations: int = 0,
        poll_s: float = 0.5,
        reached: Callable[[int], None] | None = None,
    ) -> AsyncIterator[ChainEvent]:
        """Every event of the hub from ``from_block`` on, for ever: at least once, in order, with undo.

        ``reached`` is told up to which block all events were given, also where there are none.
        """
        ...
