"""Every signed version of the pool's transactions, what each carries out, and who may send with a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "pool_sender",
        sa.Column("address", sa.String(42), primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
    )
    op.create_table(
        "pool_transaction",
        sa.Column("tx_hash", sa.String(66), primary_key=True),
        sa.Column("sender", sa.String(42), nullable=False),
        sa.Column("nonce", Uint256, nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("signed_at", sa.Float, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("block_number", sa.Integer, nullable=True),
    )
    op.create_index("pool_transaction_nonce", "pool_transaction", ["sender", "nonce"])
    op.create_index("pool_transaction_status", "pool_transaction", ["status"])
    op.create_table(
        "pool_transaction_effect",
        sa.Column("tx_hash", sa.String(66), sa.ForeignKey("pool_transaction.tx_hash"), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
    )
    op.create_index("pool_transaction_effect_key", "pool_transaction_effect", ["key"])
    # What the release before had under way, or mined, is taken over with its bytes.
    op.execute(
        "INSERT INTO pool_transaction (tx_hash, sender, nonce, function, raw, epoch, signed_at, status) "
        "SELECT tx_hash, sender, nonce, function, raw, 0, created_at, "
        "CASE WHEN status = 'mined' THEN 'mined' ELSE 'sent' END "
        "FROM pool_effect WHERE raw IS NOT NULL AND status IN ('signed', 'mined')"
    )
    op.execute(
        "INSERT INTO pool_transaction_effect (tx_hash, key) "
        "SELECT tx_hash, key FROM pool_effect WHERE raw IS NOT NULL AND status IN ('signed', 'mined')"
    )


def downgrade() -> None:
    for table in ("pool_transaction_effect", "pool_transaction", "pool_sender"):
        op.drop_table(table)
