"""The market's table, and how an order becomes a row."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, MetaData, String, Table, Text

__all__ = ["TAG_COLUMNS", "metadata", "orders", "tag_words"]

_TAG_WORD_BITS = 32
TAG_COLUMNS = tuple(f"tag_{index}" for index in range(256 // _TAG_WORD_BITS))

metadata = MetaData()
orders = Table(
    "market_orders",
    metadata,
    Column("order_hash", String(66), primary_key=True),
    Column("kind", String(10), nullable=False),
    Column("status", String(8), nullable=False),
    Column("signer", String(42), nullable=False),
    Column("resource", String(42), nullable=False),
    Column("app", String(42), nullable=False),
    Column("dataset", String(42), nullable=False),
    Column("workerpool", String(42), nullable=False),
    Column("requester", String(42), nullable=False),
    Column("beneficiary", String(42), nullable=True),
    # All numbers of an order are below 2^53 here, so they fit and sort as integers.
    Column("price", BigInteger, nullable=False),
    Column("volume", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),
    Column("category", BigInteger, nullable=True),
    Column("trust", BigInteger, nullable=True),
    Column("bulk", Boolean, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in TAG_COLUMNS),
    Column("published_ms", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("market_orders_by_resource", "kind", "status", "resource", "price"),
    Index("market_orders_by_signer", "kind", "status", "signer"),
)


def tag_words(tag: int) -> tuple[int, ...]:
    """A tag as eight words of 32 bits, lowest first, so that SQL can test its bits."""
    mask = (1 << _TAG_WORD_BITS) - 1
    return tuple(tag >> (_TAG_WORD_BITS * index) & mask for index in range(len(TAG_COLUMNS)))
