"""The order book."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "market_orders",
        sa.Column("order_hash", sa.String(66), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("signer", sa.String(42), nullable=False),
        sa.Column("resource", sa.String(42), nullable=False),
        sa.Column("app", sa.String(42), nullable=False),
        sa.Column("dataset", sa.String(42), nullable=False),
        sa.Column("workerpool", sa.String(42), nullable=False),
        sa.Column("requester", sa.String(42), nullable=False),
        sa.Column("beneficiary", sa.String(42), nullable=True),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("volume", sa.BigInteger, nullable=False),
        sa.Column("remaining", sa.BigInteger, nullable=False),
        sa.Column("category", sa.BigInteger, nullable=True),
        sa.Column("trust", sa.BigInteger, nullable=True),
        sa.Column("bulk", sa.Boolean, nullable=False),
        *(sa.Column(f"tag_{index}", sa.BigInteger, nullable=False) for index in range(8)),
        sa.Column("published_ms", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("market_orders_by_resource", "market_orders", ["kind", "status", "resource", "price"])
    op.create_index("market_orders_by_signer", "market_orders", ["kind", "status", "signer"])
