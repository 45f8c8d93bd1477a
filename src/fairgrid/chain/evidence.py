"""Evidence for certificates: the transactions that concern a task, their receipts with proofs, their blocks' headers.

Read by range and by filter, with one `eth_getLogs` where the node allows it; nothing is followed or remembered.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairgrid.chain.abi import contract_abi, decode_values
from fairgrid.chain.decode import decode_logs
from fairgrid.chain.interface import ChainEvent
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.protocol.hexes import from_hex, to_hex
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.receipt_proofs import encode_header, prove_receipt, read_header

__all__ = ["Evidence", "PlacedReceipt", "gather_evidence", "matched_orders", "read_logs", "span_of_second"]

MAX_LINK_BLOCKS: Final = 64
"""Blocks at most that lie between two others for their headers to be put in, so that the newer one proves the older."""
_AT_ONCE: Final = 50
_MAX_RANGE: Final = 2_000
_MATCHES: Final = ("matchOrders", "sponsorMatchOrders", "matchOrdersBoost", "sponsorMatchOrdersBoost")
_ORDER_KINDS: Final = (AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder)


@dataclass(frozen=True, slots=True)
class PlacedReceipt:
    """A receipt's place, and the nodes that lead to it from its block's root of receipts."""

    block: int
    index: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Headers (RLP) of rising blocks, and the receipts that are under them."""

    headers: tuple[bytes, ...]
    receipts: tuple[PlacedReceipt, ...]


async def span_of_second(rpc: JsonRpc, second: int) -> tuple[int, int] | None:
    """The first and the last block with this chain time; None if there is none. Asks some twenty times."""
    newest = int(await rpc.request("eth_blockNumber"), 16)

    async def first_not_before(moment: int) -> int:
        low, high = 0, newest + 1
        while low < high:
            middle = (low + high) // 2
            if int((await _block(rpc, middle))["timestamp"], 16) < moment:
                low = middle + 1
            else:
                high = middle
        return low

    first, after = await first_not_before(second), await first_not_before(second + 1)
    return (first, after - 1) if first < after else None


async def read_logs(
    rpc: JsonRpc, hub: str, topics: Sequence[Any], first: int, last: int | None = None, *, until: str | None = None
) -> list[ChainEvent]:
    """The hub's events that fit ``topics`` in the blocks ``first`` to ``last`` (None: the newest), in their order.

    Ends early after the part of the range in which an event named ``until`` is. Halves the range where the node gives
    fewer at once.
    """
    newest = int(await rpc.request("eth_blockNumber"), 16) if last is None else last
    found: list[ChainEvent] = []
    step = _MAX_RANGE
    while first <= newest:
        end = min(first + step - 1, newest)
        query = {"address": hub, "topics": list(topics), "fromBlock": hex(first), "toBlock": hex(end)}
        try:
            events = decode_logs(await rpc.request("eth_getLogs", query))
        except RpcError:
            if first == end:
                raise
            step = max(1, (end - first + 1) // 2)
            continue
        found += events
        if until is not None and any(event.name == until for event in events):
            break
        first = end + 1
    return found


async def gather_evidence(rpc: JsonRpc, transactions: Sequence[str]) -> Evidence:
    """The receipts of these transactions, and the headers that they need, linked where they lie close together.

    Raises:
        UsageError: a transaction is not mined, or not on this chain.
        VerificationError: the node's blocks and receipts do not fit each other.
        ServiceUnavailable: the node does not answer.
    """
    places: dict[int, set[int]] = {}
    for answer, transaction in zip(
        await _all(rpc, [("eth_getTransactionReceipt", [one]) for one in transactions]), transactions, strict=True
    ):
        if answer is None:
            raise UsageError(f"Transaction {transaction} is not on this chain (any more). Ask again later.")
        places.setdefault(int(answer["blockNumber"], 16), set()).add(int(answer["transactionIndex"], 16))
    numbers = sorted(places)
    linked = set(numbers)
    for older, newer in itertools.pairwise(numbers):
        if newer - older <= MAX_LINK_BLOCKS:
            linked.update(range(older, newer))
    blocks = {number: await _block(rpc, number) for number in sorted(linked)}
    headers = {number: await asyncio.to_thread(encode_header, block) for number, block in blocks.items()}
    receipts: list[PlacedReceipt] = []
    for number in numbers:
        all_receipts = await _receipts(rpc, blocks[number])
        header = read_header(headers[number])
        for index in sorted(places[number]):
            proof = await asyncio.to_thread(prove_receipt, all_receipts, index, header)
            receipts.append(PlacedReceipt(number, index, proof))
    return Evidence(tuple(headers[number] for number in sorted(headers)), tuple(receipts))


async def matched_orders(rpc: JsonRpc, transaction: str) -> tuple[Order, ...]:
    """The four orders in the calldata of a match, directly or inside another call; empty where none can be found."""
    found = await rpc.request("eth_getTransactionByHash", transaction)
    if not isinstance(found, Mapping) or not isinstance(found.get("input"), str):
        return ()
    data = from_hex(found["input"])
    for name in _MATCHES:
        function = contract_abi("hub").function(name)
        at = data.find(function.selector)
        while at >= 0:
            try:
                values = decode_values(function.inputs, data[at + 4 :], name)
                return tuple(_order(kind, value) for kind, value in zip(_ORDER_KINDS, values, strict=True))
            except (UsageError, TypeError, ValueError):
                at = data.find(function.selector, at + 1)
    return ()


def _order(kind: type[Order], value: Any) -> Order:
    members: list[Any] = [to_hex(member) if isinstance(member, bytes) else member for member in value]
    return kind(*members)


async def _block(rpc: JsonRpc, number: int) -> Mapping[str, Any]:
    block = await rpc.request("eth_getBlockByNumber", hex(number), False)
    if not isinstance(block, Mapping):
        raise ServiceUnavailable("chain", rpc.url, f"it does not know block {number} (any more)")
    return block


async def _receipts(rpc: JsonRpc, block: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    try:
        answer = await rpc.request("eth_getBlockReceipts", block["number"])
    except RpcError:  # an older node
        answer = await _all(rpc, [("eth_getTransactionReceipt", [one]) for one in block.get("transactions", [])])
    if not isinstance(answer, list) or not all(isinstance(receipt, Mapping) for receipt in answer):
        raise ServiceUnavailable("chain", rpc.url, "its receipts of a block cannot be read")
    return answer


async def _all(rpc: JsonRpc, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
    answers: list[Any] = []
    for start in range(0, len(calls), _AT_ONCE):
        answers += await rpc.batch(calls[start : start + _AT_ONCE])
    return answers
