"""Proofs that a transaction did something: its receipt, under a block's header, under the block's hash.

A header is the RLP list of its fields, its hash the block's hash. Receipts lie in a Merkle-Patricia trie whose root the
header holds; the key is RLP of the transaction's index, the value ``[type byte ‖] rlp([status, gas, bloom, logs])``
(Ethereum's yellow paper, sections 4.2 and 4.3; EIP-2718 for the type byte).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import rlp
from rlp.exceptions import RLPException
from trie import HexaryTrie
from trie.exceptions import BadTrieProof, MissingTrieNode, ValidationError

from fairgrid.errors import OrderError, VerificationError
from fairgrid.protocol.hexes import checksum, from_hex, keccak, to_hex, to_hex32

__all__ = ["Header", "Log", "ProvenReceipt", "encode_header", "prove_receipt", "read_header", "read_receipt"]

_FIELDS: Final = (
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
)
"""In the order of the header; those from ``baseFeePerGas`` on came with later forks."""
_FIRST_FORK_FIELD: Final = _FIELDS.index("baseFeePerGas")
_NUMBERS: Final = frozenset(
    ("difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "blobGasUsed", "excessBlobGas")
)
_PARENT, _RECEIPTS, _NUMBER, _TIMESTAMP = (
    _FIELDS.index(name) for name in ("parentHash", "receiptsRoot", "number", "timestamp")
)
_LARGEST_TYPE: Final = 0x7F


@dataclass(frozen=True, slots=True)
class Header:
    """What a block's header says; ``hash`` is that of its bytes. ``timestamp`` is chain time in seconds."""

    hash: str
    parent: str
    number: int
    timestamp: int
    receipts_root: bytes


@dataclass(frozen=True, slots=True)
class Log:
    """One event of a receipt: topics and data as bytes, the address checksummed."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class ProvenReceipt:
    """A receipt that is under a header: did the transaction succeed, and what did it emit."""

    succeeded: bool
    logs: tuple[Log, ...]


def encode_header(block: Mapping[str, Any]) -> bytes:
    """The header of a block of JSON-RPC, as the bytes that its hash is of.

    Raises:
        VerificationError: the hash of the bytes is not the block's (a chain with other headers, or a node that errs).
    """
    try:
        fields = [
            _field(name, block[name])
            for position, name in enumerate(_FIELDS)
            if position < _FIRST_FORK_FIELD or block.get(name) is not None
        ]
        header = bytes(rlp.encode(fields))
        hash_ = block["hash"]
    except (KeyError, OrderError, ValueError, TypeError, RLPException) as error:
        raise VerificationError(f"The node's block lacks a part of its header ({error}).") from error
    if to_hex32(keccak(header)) != hash_:
        raise VerificationError(
            f"Block {hash_} has a header of a kind that is not known: its hash cannot be recomputed. "
            f"Certificates need a chain with Ethereum's headers."
        )
    return header


def read_header(raw: bytes) -> Header:
    """What a header says.

    Raises:
        VerificationError: these bytes are no header.
    """
    try:
        fields = rlp.decode(raw)
        if not isinstance(fields, list) or not _FIRST_FORK_FIELD <= len(fields) or len(fields[_RECEIPTS]) != 32:
            raise ValueError("it is no list of a header's fields")
        return Header(
            hash=to_hex32(keccak(raw)),
            parent=to_hex32(fields[_PARENT]),
            number=int.from_bytes(fields[_NUMBER], "big"),
            timestamp=int.from_bytes(fields[_TIMESTAMP], "big"),
            receipts_root=fields[_RECEIPTS],
        )
    except (RLPException, ValueError, TypeError, OrderError) as error:
        raise VerificationError(f"A header in it cannot be read: {error}.") from error


def prove_receipt(receipts: Sequence[Mapping[str, Any]], index: int, header: Header) -> tuple[bytes, ...]:
    """The nodes from the root to the receipt at ``index``, from all receipts of a block as JSON-RPC gives them.

    Raises:
        VerificationError: they are not the receipts that the header speaks of.
    """
    trie = HexaryTrie({})
    try:
        for receipt in receipts:
            trie[_key(int(receipt["transactionIndex"], 16))] = _encode_receipt(receipt)
    except (KeyError, OrderError, ValueError, TypeError, RLPException) as error:
        raise VerificationError(f"The node's receipts of block {header.number} cannot be read ({error}).") from error
    if trie.root_hash != header.receipts_root:
        raise VerificationError(
            f"The node's receipts are not those of block {header.number}: their root is another. Ask another node."
        )
    return tuple(bytes(rlp.encode(node)) for node in trie.get_proof(_key(index)))


def read_receipt(header: Header, index: int, proof: Sequence[bytes]) -> ProvenReceipt:
    """The receipt of the transaction at ``index`` of a block, if ``proof`` leads to it from the header.

    Raises:
        VerificationError: it does not.
    """
    what = f"receipt {index} of block {header.number}"
    try:
        nodes = [rlp.decode(node) for node in proof]
        value = bytes(HexaryTrie.get_from_proof(header.receipts_root, _key(index), nodes))
        if not value:
            raise VerificationError(f"The proof says that there is no {what}.")
        status, _, _, logs = rlp.decode(value[1:] if value[0] <= _LARGEST_TYPE else value)
        return ProvenReceipt(
            succeeded=status == b"\x01",
            logs=tuple(
                Log(checksum(to_hex(address)), tuple(bytes(topic) for topic in topics), bytes(data))
                for address, topics, data in logs
            ),
        )
    except (
        BadTrieProof,
        MissingTrieNode,
        ValidationError,
        RLPException,
        ValueError,
        TypeError,
        KeyError,
        OrderError,
    ) as error:
        raise VerificationError(
            f"The proof of {what} does not hold: it was changed, or is of another block."
        ) from error


def _key(index: int) -> bytes:
    return bytes(rlp.encode(index))


def _field(name: str, value: str) -> bytes:
    return _number(value) if name in _NUMBERS else from_hex(value)


def _number(value: str) -> bytes:
    number = int(value, 16)
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _encode_receipt(receipt: Mapping[str, Any]) -> bytes:
    logs = [
        [from_hex(log["address"]), [from_hex(topic) for topic in log["topics"]], from_hex(log["data"])]
        for log in receipt["logs"]
    ]
    outcome = _number(receipt["status"])
    body = rlp.encode([outcome, _number(receipt["cumulativeGasUsed"]), from_hex(receipt["logsBloom"]), logs])
    kind = int(receipt.get("type", "0x0"), 16)
    return (bytes([kind]) if kind else b"") + bytes(body)
