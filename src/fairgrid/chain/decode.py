"""Logs as `ChainEvent`s with the names of the public ABI, and the data of a revert as a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from fairgrid.chain.abi import CONTRACTS, Entry, contract_abi, decode_values
from fairgrid.chain.interface import Block, ChainEvent, Receipt
from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, from_hex

__all__ = ["NO_DATA", "created_address", "decode_log", "decode_logs", "read_block", "revert_reason"]

NO_DATA = "(no data)"
"""The reason of a revert without data; most conditions of the hub revert so."""

_ERROR_TEXT = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")


@cache
def _known_events() -> dict[tuple[str, int], Entry]:
    """Events of all contracts by first topic and number of indexed arguments; the hub's names win."""
    table: dict[tuple[str, int], Entry] = {}
    for contract in CONTRACTS:
        for key, event in contract_abi(contract).events.items():
            table.setdefault(key, event)
    return table


@cache
def _known_errors() -> dict[bytes, Entry]:
    table: dict[bytes, Entry] = {}
    for contract in CONTRACTS:
        for selector, error in contract_abi(contract).errors.items():
            table.setdefault(selector, error)
    return table


def decode_log(log: Mapping[str, Any]) -> ChainEvent | None:
    """One log of JSON-RPC; None when no contract of ours has such an event."""
    topics = log["topics"]
    event = _known_events().get((topics[0], len(topics) - 1)) if topics else None
    if event is None:
        return None
    indexed = [parameter for parameter in event.inputs if parameter.get("indexed")]
    plain = [parameter for parameter in event.inputs if not parameter.get("indexed")]
    values = dict(zip((p["name"] for p in plain), decode_values(plain, from_hex(log["data"]), event.name), strict=True))
    for parameter, topic in zip(indexed, topics[1:], strict=True):
        (values[parameter["name"]],) = decode_values([parameter], from_hex(topic), event.name)
    return ChainEvent(
        name=event.name,
        arguments={parameter["name"]: values[parameter["name"]] for parameter in event.inputs},
        address=checksum(log["address"]),
        block_number=int(log["blockNumber"], 16),
        block_hash=log["blockHash"],
        log_index=int(log["logIndex"], 16),
        tx_hash=log["transactionHash"],
    )


def decode_logs(logs: Iterable[Mapping[str, Any]]) -> tuple[ChainEvent, ...]:
    """The logs that are events of ours, in order."""
    events = (decode_log(log) for log in logs)
    return tuple(event for event in events if event is not None)


def created_address(receipt: Receipt, registry: str) -> str:
    """The address of the entry that a registry created in this transaction.

    Raises:
        UsageError: it created none.
    """
    for event in receipt.events:
        if event.name == "Transfer" and event.address == registry and event.arguments.get("from") == ZERO_ADDRESS:
            return checksum(f"0x{event.arguments['tokenId']:040x}")
    raise UsageError(f"The transaction {receipt.tx_hash} created nothing in the registry {registry}.")


def read_block(header: Mapping[str, Any]) -> Block:
    """A block header of JSON-RPC."""
    return Block(int(header["number"], 16), header["hash"], int(header["timestamp"], 16))


def revert_reason(data: bytes) -> str:
    """What a revert says: the text of ``Error(string)``, ``Panic(0x11)``, ``Name(argument, …)``, or `NO_DATA`."""
    if not data:
        return NO_DATA
    selector, rest = data[:4], data[4:]
    try:
        if selector == _ERROR_TEXT:
            return str(decode_values([{"type": "string", "name": "reason"}], rest, "a reason")[0])
        if selector == _PANIC:
            code = int(decode_values([{"type": "uint256", "name": "code"}], rest, "a panic")[0])
            return f"Panic(0x{code:02x})"
        error = _known_errors().get(selector)
        if error is not None:
            arguments = decode_values(error.inputs, rest, error.name)
            return f"{error.name}({', '.join(str(argument) for argument in arguments)})"
    except UsageError:
        pass
    return f"0x{data.hex()}"
