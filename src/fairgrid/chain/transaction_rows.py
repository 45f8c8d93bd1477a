"""How a signed transaction lies in a table, of a pool as of a worker: the same five columns everywhere."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from fairgrid.chain.interface import SignedTransaction
from fairgrid.seams.database import Uint256

__all__ = ["transaction_columns", "transaction_of", "transaction_values"]


def transaction_columns() -> tuple[sa.Column[Any], ...]:
    """The five columns, for one table."""
    return (
        sa.Column("tx_hash", sa.String(66), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("sender", sa.String(42), nullable=False),
        sa.Column("nonce", Uint256, nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
    )


def transaction_values(transaction: SignedTransaction) -> dict[str, Any]:
    """What is written into them."""
    return {
        "tx_hash": transaction.hash,
        "raw": transaction.raw,
        "sender": transaction.sender,
        "nonce": transaction.nonce,
        "function": transaction.function,
    }


def transaction_of(row: Any) -> SignedTransaction:
    """What a row with these columns, and perhaps others, holds."""
    return SignedTransaction(bytes(row.raw), row.tx_hash, row.sender, row.nonce, row.function)
