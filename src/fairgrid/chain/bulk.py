"""Many transactions and views of one account in few requests: for a pool that has hundreds in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fairgrid.chain.abi import contract_abi
from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.fees import FeeMarket, Fees
from fairgrid.chain.interface import Call, Mined, SignedTransaction
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.chain.sender import NonceTaken, reverted, said_already_known, said_no_funds, said_nonce_conflict
from fairgrid.errors import FundsError, TransactionFailed
from fairgrid.protocol.hexes import keccak, to_hex
from fairgrid.wallet.signer import Signer

__all__ = ["call_data", "count_transactions", "estimate", "fee_market", "mined", "replaced", "send_all", "signed"]

_AT_ONCE = 100
"""So many calls go into one request: some nodes refuse more."""


def call_data(call: Call) -> bytes:
    """The data of a call; empty for `calls.nothing`."""
    return contract_abi(call.contract).encode_call(call.function, call.arguments) if call.contract else b""


async def fee_market(rpc: JsonRpc) -> FeeMarket:
    """See `Chain.fee_market`."""
    head, tip = await rpc.batch([("eth_getBlockByNumber", ["latest", False]), ("eth_maxPriorityFeePerGas", [])])
    return FeeMarket(int(head.get("baseFeePerGas", "0x0"), 16), int(tip, 16))


async def count_transactions(rpc: JsonRpc, address: str, *, pending: bool) -> int:
    """See `Chain.count_transactions`."""
    return int(await rpc.request("eth_getTransactionCount", address, "pending" if pending else "latest"), 16)


async def estimate(rpc: JsonRpc, chain_id: int, calls: Sequence[Call], sender: str) -> list[int | TransactionFailed]:
    """See `Chain.estimate`."""
    requests = [
        (
            "eth_estimateGas",
            [
                {
                    "from": sender,
                    "to": call.address,
                    "data": to_hex(call_data(call)),
                    "value": hex(call.value_wei),
                },
                "latest",
            ],
        )
        for call in calls
    ]
    answers = await _answers(rpc, requests)
    found: list[int | TransactionFailed] = []
    for call, answer in zip(calls, answers, strict=True):
        if not isinstance(answer, RpcError):
            found.append(int(answer, 16))
        elif said_no_funds(answer):
            raise FundsError(
                f"{sender} cannot pay the gas of {call.function} on chain {chain_id}: {answer.message}. "
                f"Send it coins of that chain; nothing was sent."
            )
        else:
            found.append(reverted(call.function, answer))
    return found


def signed(chain_id: int, call: Call, signer: Signer, *, nonce: int, gas: int, fees: Fees) -> SignedTransaction:
    """See `Chain.sign`."""
    raw = signer.sign_transaction(
        {
            "chainId": chain_id,
            "nonce": nonce,
            "to": call.address,
            "data": call_data(call),
            "value": call.value_wei,
            "gas": gas,
            "maxFeePerGas": fees.max_fee_wei,
            "maxPriorityFeePerGas": fees.tip_wei,
        }
    )
    return SignedTransaction(raw, to_hex(keccak(raw)), signer.address, nonce, call.function)


def replaced(transaction: SignedTransaction, signer: Signer, fees: Fees) -> SignedTransaction:
    """See `Chain.replace`."""
    raw = signer.sign_transaction(read_envelope(transaction.raw).signable(fees))
    return SignedTransaction(raw, to_hex(keccak(raw)), signer.address, transaction.nonce, transaction.function)


async def send_all(
    rpc: JsonRpc, transactions: Sequence[SignedTransaction]
) -> list[TransactionFailed | FundsError | None]:
    """See `Chain.broadcast_all`."""
    requests = [("eth_sendRawTransaction", [to_hex(transaction.raw)]) for transaction in transactions]
    answers = await _answers(rpc, requests)
    doubtful = [
        transaction
        for transaction, answer in zip(transactions, answers, strict=True)
        if isinstance(answer, RpcError) and not said_already_known(answer)
    ]
    known = await _answers(rpc, [("eth_getTransactionByHash", [transaction.hash]) for transaction in doubtful])
    there = {
        transaction.hash
        for transaction, answer in zip(doubtful, known, strict=True)
        if answer is not None and not isinstance(answer, RpcError)
    }
    return [
        None
        if not isinstance(answer, RpcError) or said_already_known(answer) or transaction.hash in there
        else _refusal(transaction, answer)
        for transaction, answer in zip(transactions, answers, strict=True)
    ]


def _refusal(transaction: SignedTransaction, error: RpcError) -> TransactionFailed | FundsError:
    if said_nonce_conflict(error):
        return NonceTaken(transaction)
    if said_no_funds(error):
        return FundsError(
            f"{transaction.sender} cannot pay the gas of {transaction.function}: {error.message}. Send it coins."
        )
    return TransactionFailed(transaction.function, error.message, tx_hash=transaction.hash)


async def mined(rpc: JsonRpc, hashes: Sequence[str]) -> list[Mined | None]:
    """See `Chain.mined`."""
    receipts = await _answers(rpc, [("eth_getTransactionReceipt", [tx_hash]) for tx_hash in hashes])
    found: list[Mined | None] = []
    for tx_hash, receipt in zip(hashes, receipts, strict=True):
        if isinstance(receipt, RpcError):
            raise receipt
        if receipt is None or receipt.get("blockHash") is None:
            found.append(None)
            continue
        found.append(
            Mined(
                tx_hash,
                int(receipt["status"], 16) == 1,
                int(receipt["blockNumber"], 16),
                int(receipt["gasUsed"], 16),
                int(receipt.get("effectiveGasPrice") or "0x0", 16),
            )
        )
    return found


async def _answers(rpc: JsonRpc, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
    starts = range(0, len(requests), _AT_ONCE)
    parts = await asyncio.gather(*(rpc.answers(requests[start : start + _AT_ONCE]) for start in starts))
    return [answer for part in parts for answer in part]
