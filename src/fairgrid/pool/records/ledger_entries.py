"""What the pool's ledger keeps: who sends, signed versions of transactions, and the effects that these carry out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, get_args

import sqlalchemy as sa
from sqlalchemy import Connection

from fairgrid.chain.interface import SignedTransaction
from fairgrid.chain.transaction_rows import transaction_of
from fairgrid.pool.core.instructions import ChainInstruction
from fairgrid.pool.records import schema
from fairgrid.pool.records.rows import EffectStatus
from fairgrid.seams.database import Uint256

__all__ = [
    "LedgerEffect",
    "LedgerTransaction",
    "TransactionStatus",
    "carried",
    "read_effects",
    "read_versions",
    "senders",
    "transactions",
]

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(ChainInstruction)}

senders = sa.Table(
    "pool_sender",
    schema.metadata,
    sa.Column("address", sa.String(42), primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
)
"""Who may send with a key: only the process with the highest epoch."""

transactions = sa.Table(
    "pool_transaction",
    schema.metadata,
    sa.Column("tx_hash", sa.String(66), primary_key=True),
    sa.Column("sender", sa.String(42), nullable=False),
    sa.Column("nonce", Uint256, nullable=False),
    sa.Column("function", sa.String(64), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("signed_at", sa.Float, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("block_number", sa.Integer, nullable=True),
    sa.Index("pool_transaction_nonce", "sender", "nonce"),
    sa.Index("pool_transaction_status", "status"),
)
"""Every signed version of every transaction; versions of one have the same nonce."""

carried = sa.Table(
    "pool_transaction_effect",
    schema.metadata,
    sa.Column("tx_hash", sa.String(66), sa.ForeignKey("pool_transaction.tx_hash"), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Index("pool_transaction_effect_key", "key"),
)
"""Which effects a transaction carries out: several, if the hub takes them together."""


class TransactionStatus(StrEnum):
    """How far a signed version is."""

    SENT = "sent"
    """It may have been sent; it may still be mined."""
    MINED = "mined"
    REVERTED = "reverted"
    """Mined, but the hub refused it."""
    DEAD = "dead"
    """Another transaction has its nonce; it will never be mined."""


@dataclass(frozen=True, slots=True)
class LedgerTransaction:
    """One signed version, and the keys of the effects that it carries out."""

    transaction: SignedTransaction
    keys: tuple[str, ...]
    status: TransactionStatus = TransactionStatus.SENT


@dataclass(frozen=True, slots=True)
class LedgerEffect:
    """A decided transaction; ``versions`` are the signed bytes that may be or are mined, newest last."""

    key: str
    instruction: ChainInstruction
    status: EffectStatus
    attempt: int
    versions: tuple[LedgerTransaction, ...] = ()

    @property
    def transaction(self) -> SignedTransaction | None:
        """The newest version; None before it was signed."""
        return self.versions[-1].transaction if self.versions else None


def read_versions(connection: Connection, rows: Sequence[Any]) -> list[LedgerTransaction]:
    """The signed versions with these rows, each once, with the keys of their effects."""
    unique = {row.tx_hash: row for row in rows}
    hashes = list(unique)
    keys: dict[str, list[str]] = {}
    for start in range(0, len(hashes), 500):
        for link in connection.execute(
            sa.select(carried).where(carried.c.tx_hash.in_(hashes[start : start + 500])).order_by(carried.c.key)
        ):
            keys.setdefault(link.tx_hash, []).append(link.key)
    return [
        LedgerTransaction(
            transaction_of(row),
            tuple(keys.get(row.tx_hash, ())),
            TransactionStatus(row.status),
        )
        for row in unique.values()
    ]


def read_effects(connection: Connection, stored: Sequence[Any]) -> dict[str, LedgerEffect]:
    """Those of the effects with these rows that are transactions, by key, each with its versions."""
    rows = [row for row in stored if row.kind in _KINDS]
    signed = [row.key for row in rows if row.status != EffectStatus.PLANNED]
    links: list[Any] = []
    for start in range(0, len(signed), 500):
        links += connection.execute(
            sa.select(carried.c.key, transactions)
            .join(transactions, transactions.c.tx_hash == carried.c.tx_hash)
            .where(carried.c.key.in_(signed[start : start + 500]))
            .where(transactions.c.status.in_([TransactionStatus.SENT, TransactionStatus.MINED]))
            .order_by(transactions.c.signed_at)
        ).all()
    versions = {item.transaction.hash: item for item in read_versions(connection, links)}
    of_key: dict[str, list[LedgerTransaction]] = {}
    for link in links:
        of_key.setdefault(link.key, []).append(versions[link.tx_hash])
    return {
        row.key: LedgerEffect(
            row.key,
            _KINDS[row.kind](**json.loads(row.document)),
            EffectStatus(row.status),
            row.attempt,
            tuple(of_key.get(row.key, ())),
        )
        for row in rows
    }
