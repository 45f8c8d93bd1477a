"""Send transactions: nonces of a key in many hands, fees under a cap, sends that may be repeated, named reverts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairgrid.chain.abi import contract_abi
from fairgrid.chain.decode import decode_logs, read_block, revert_reason
from fairgrid.chain.interface import Block, Call, Receipt, SignedTransaction
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.errors import ContractReverted, FairgridError, FundsError, ServiceUnavailable, TransactionFailed
from fairgrid.protocol.hexes import from_hex, keccak, to_hex
from fairgrid.wallet.signer import Signer

__all__ = [
    "NonceTaken",
    "Sender",
    "SenderOptions",
    "reverted",
    "said_already_known",
    "said_no_funds",
    "said_nonce_conflict",
]

_ALREADY_KNOWN = ("already known", "already imported", "known transaction", "already exists")
_NONCE_CONFLICT = (
    "nonce too low",
    "nonce is too low",
    "replacement transaction underpriced",
    "underpriced replacement",
)
_NO_FUNDS = ("insufficient funds", "exceeds allowance", "insufficient balance")
_ATTEMPTS = 8


class NonceTaken(TransactionFailed):
    """Another transaction of this account took the nonce: prepare it anew. ``nonce`` says which."""

    def __init__(self, transaction: SignedTransaction) -> None:
        self.nonce = transaction.nonce
        reason = (
            f"another transaction of {transaction.sender} took its nonce {transaction.nonce} "
            f"(does another program use this key?); prepare it anew"
        )
        super().__init__(transaction.function, reason, tx_hash=transaction.hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """How transactions are sent."""

    max_fee_per_gas_wei: int = 500 * 10**9
    """Dearer gas is refused."""
    mined_within_s: float = 90.0
    """How long `Sender.transact` waits for a receipt."""
    reserve_s: float = 60.0
    """How long a nonce stays reserved for a prepared transaction that does not show up at the node."""
    rebroadcast_s: float = 3.0
    """How often a transaction that the node does not know is sent again while it is waited for."""


class Sender:
    """Prepares, sends and awaits transactions on one chain. Safe for many tasks of one event loop."""

    def __init__(self, rpc: JsonRpc, chain_id: int, options: SenderOptions | None = None) -> None:
        self._rpc = rpc
        self._chain_id = chain_id
        self._options = options or SenderOptions()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._reserved: defaultdict[str, dict[int, float]] = defaultdict(dict)
        self._released: Counter[str] = Counter()
        """How often a reserved nonce of an account was given back: mined, refused or not signed."""
        self._in_flight: dict[str, SignedTransaction] = {}
        self._blocks: dict[str, Block] = {}

    async def prepare(self, call: Call, signer: Signer, *, nonce: int | None = None) -> SignedTransaction:
        """See `Chain.prepare`. Simulated on the pending block, so that a deadline that has just passed counts."""
        sender = signer.address
        data = contract_abi(call.contract).encode_call(call.function, call.arguments) if call.contract else b""
        request = {"from": sender, "to": call.address, "data": to_hex(data), "value": hex(call.value_wei)}
        asked: list[tuple[str, Sequence[Any]]] = [
            ("eth_estimateGas", [request, "pending"]),
            ("eth_getBlockByNumber", ["latest", False]),
            ("eth_maxPriorityFeePerGas", []),
            ("eth_getBalance", [sender, "latest"]),
        ]
        if nonce is None:
            asked.append(("eth_getTransactionCount", [sender, "pending"]))
        released = self._released[sender]
        try:
            estimate, head, tip, balance, *counts = await self._rpc.batch(asked)
        except RpcError as error:
            if said_no_funds(error):
                raise self._gas_money_lacks(call, sender, 0, 0) from error
            raise reverted(call.function, error) from error
        # The odd units make it another transaction than that of another program with this key, call and nonce: else
        # two payments would be one, and both programs take it for theirs.
        odd_units = secrets.randbelow(10_000)
        gas = min(int(estimate, 16) * 3 // 2 + 30_000 + odd_units, int(head["gasLimit"], 16))
        tip_wei = int(tip, 16)
        fee = int(head.get("baseFeePerGas", "0x0"), 16) * 2 + tip_wei
        cap = self._options.max_fee_per_gas_wei
        if fee > cap:
            raise TransactionFailed(
                call.function, f"gas costs up to {fee / 1e9:.1f} gwei now, over the cap of {cap / 1e9:.1f}; try later"
            )
        needed = gas * fee + call.value_wei
        if int(balance, 16) < needed:
            raise self._gas_money_lacks(call, sender, needed, int(balance, 16))
        if nonce is None:
            nonce = await self._take_nonce(sender, int(counts[0], 16), released)
        self._reserve(sender, nonce)
        fields: dict[str, Any] = {
            "chainId": self._chain_id,
            "nonce": nonce,
            "to": call.address,
            "data": data,
            "value": call.value_wei,
            "gas": gas,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": tip_wei,
        }
        try:
            raw = await asyncio.to_thread(signer.sign_transaction, fields)
        except BaseException:
            self._release(sender, nonce)
            raise
        return SignedTransaction(raw, to_hex(keccak(raw)), sender, nonce, call.function)

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """See `Chain.broadcast`.

        Raises:
            NonceTaken: another transaction has its nonce; this one will never be mined.
            FundsError: the sender cannot pay the gas.
            TransactionFailed: the node refuses it.
        """
        self._reserve(transaction.sender, transaction.nonce)
        self._in_flight[transaction.hash] = transaction
        try:
            await self._rpc.request("eth_sendRawTransaction", to_hex(transaction.raw))
        except RpcError as error:
            if said_already_known(error) or await self._node_knows(transaction):
                return
            if said_nonce_conflict(error):
                self._in_flight.pop(transaction.hash, None)
                raise NonceTaken(transaction) from error
            self._in_flight.pop(transaction.hash, None)
            self._release(transaction.sender, transaction.nonce)
            if said_no_funds(error):
                raise FundsError(
                    f"{transaction.sender} cannot pay the gas of {transaction.function}: {error.message}. "
                    f"Send it coins of chain {self._chain_id} and try again."
                ) from error
            raise TransactionFailed(transaction.function, error.message, tx_hash=transaction.hash) from error

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """See `Chain.receipt`."""
        document = await self._rpc.request("eth_getTransactionReceipt", tx_hash)
        if document is None or document.get("blockHash") is None:
            return None
        block = await self._block(document["blockHash"])
        if block is None:  # it was just orphaned
            return None
        self.settle(tx_hash)
        return Receipt(
            tx_hash=tx_hash,
            succeeded=int(document["status"], 16) == 1,
            block=block,
            gas_used=int(document["gasUsed"], 16),
            events=decode_logs(document["logs"]),
        )

    def settle(self, tx_hash: str) -> None:
        """Keep no nonce for it any longer: it is mined.

        From here on the node counts it; should it be orphaned, its nonce is free again unless the node keeps it.
        """
        mined = self._in_flight.pop(tx_hash, None)
        if mined is not None:
            self._release(mined.sender, mined.nonce)

    async def transact(self, call: Call, signer: Signer) -> Receipt:
        """See `Chain.transact`. Survives another program that uses the same key, and a node that restarts."""
        for _ in range(_ATTEMPTS):
            transaction = await self.prepare(call, signer)
            try:
                receipt = await self._send_and_wait(transaction)
            except NonceTaken:
                continue
            if not receipt.succeeded:
                raise ContractReverted(
                    call.function, await self._why(transaction, call, receipt), tx_hash=receipt.tx_hash
                )
            return receipt
        raise TransactionFailed(
            call.function, f"another program keeps taking the nonces of {signer.address}; give it a key of its own"
        )

    async def _send_and_wait(self, transaction: SignedTransaction) -> Receipt:
        deadline = time.monotonic() + self._options.mined_within_s
        send_at = 0.0
        pause = 0.03
        outage: ServiceUnavailable | None = None
        while time.monotonic() < deadline:
            try:
                if time.monotonic() >= send_at:
                    if send_at == 0.0 or not await self._node_knows(transaction):
                        await self.broadcast(transaction)
                    send_at = time.monotonic() + self._options.rebroadcast_s
                receipt = await self.receipt(transaction.hash)
                outage = None
                if receipt is not None:
                    return receipt
            except ServiceUnavailable as error:
                # Whether it was sent is not known: the same bytes are sent again when the node is back.
                outage = error
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        if outage is not None:
            raise outage
        raise TransactionFailed(
            transaction.function,
            f"it was not mined within {self._options.mined_within_s:g} s; it still may be",
            tx_hash=transaction.hash,
        )

    async def _node_knows(self, transaction: SignedTransaction) -> bool:
        return await self._rpc.request("eth_getTransactionByHash", transaction.hash) is not None

    async def _why(self, transaction: SignedTransaction, call: Call, receipt: Receipt) -> str:
        """Why a mined transaction failed: it is run once more on the state before its block."""
        data = contract_abi(call.contract).encode_call(call.function, call.arguments)
        request = {"from": transaction.sender, "to": call.address, "data": to_hex(data), "value": hex(call.value_wei)}
        try:
            await self._rpc.request("eth_call", request, hex(receipt.block.number - 1))
        except RpcError as error:
            return reverted(call.function, error).reason
        except ServiceUnavailable:
            pass
        return "it failed on chain, and does not when run again: the state changed between, or its gas ran out"

    async def _block(self, block_hash: str) -> Block | None:
        if block_hash not in self._blocks:
            header = await self._rpc.request("eth_getBlockByHash", block_hash, False)
            if header is None:
                return None
            if len(self._blocks) >= 256:
                self._blocks.clear()
            self._blocks[block_hash] = read_block(header)
        return self._blocks[block_hash]

    async def _take_nonce(self, sender: str, count: int, released: int) -> int:
        """The next free nonce; ``count`` is what the node counted when ``released`` nonces had been given back."""
        async with self._locks[sender]:
            if self._released[sender] != released:
                # One that was given back since may be on the chain by now, and not in that count.
                count = int(await self._rpc.request("eth_getTransactionCount", sender, "pending"), 16)
            reserved = self._reserved[sender]
            now = time.monotonic()
            for nonce in [nonce for nonce, until in reserved.items() if nonce < count or until < now]:
                self._release(sender, nonce)
            while count in reserved:
                count += 1
            self._reserve(sender, count)
            return count

    def _reserve(self, sender: str, nonce: int) -> None:
        self._reserved[sender][nonce] = time.monotonic() + self._options.reserve_s

    def _release(self, sender: str, nonce: int) -> None:
        self._reserved[sender].pop(nonce, None)
        self._released[sender] += 1

    def _gas_money_lacks(self, call: Call, sender: str, needed: int, has: int) -> FundsError:
        amounts = f"it has {_coins(has)}, and needs up to {_coins(needed)}" if needed else "it has too few coins"
        return FundsError(
            f"{sender} cannot pay the gas of {call.function} on chain {self._chain_id}: {amounts}. "
            f"Send it {_coins(needed - has) if needed else 'some'} and try again; nothing was sent."
        )


def said_already_known(error: RpcError) -> bool:
    """True if a node refused a transaction because it has it."""
    return _said(error, _ALREADY_KNOWN)


def said_nonce_conflict(error: RpcError) -> bool:
    """True if a node refused a transaction because another one has its nonce."""
    return _said(error, _NONCE_CONFLICT)


def said_no_funds(error: RpcError) -> bool:
    """True if a node says that the sender cannot pay the gas."""
    return _said(error, _NO_FUNDS)


def _said(error: RpcError, texts: tuple[str, ...]) -> bool:
    told = error.message.lower()
    return any(text in told for text in texts)


def reverted(function: str, error: RpcError) -> TransactionFailed:
    """A node's refusal to run a call, as `ContractReverted` with its reason, or `TransactionFailed`."""
    text = error.message.lower()
    if error.code != 3 and "revert" not in text and "evm error" not in text:
        return TransactionFailed(function, error.message)
    data = error.data.get("data") if isinstance(error.data, dict) else error.data
    if isinstance(data, str) and "0x" in data:
        try:
            return ContractReverted(function, revert_reason(from_hex(data[data.index("0x") :])))
        except FairgridError:
            pass
    if "revert" in text:
        _, _, reason = error.message.partition("reverted: ")
        return ContractReverted(function, reason or revert_reason(b""))
    return ContractReverted(function, error.message)


def _coins(wei: int) -> str:
    return f"{wei / 10**18:.6f} coins ({wei} wei)"
