"""What a sponsored worker owes, and the signed transactions that pay it back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "worker_0009"
down_revision = "worker_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worker_debt",
        sa.Column("workerpool", sa.String(42), primary_key=True),
        sa.Column("asked_block", sa.BigInteger, nullable=False),
        sa.Column("earned_before", Uint256, nullable=False),
        sa.Column("sponsor", sa.String(42), nullable=False),
        sa.Column("deposit_tx", sa.String(66), nullable=False),
        sa.Column("claimed_nrlc", Uint256, nullable=False),
        sa.Column("given_nrlc", Uint256, nullable=False),
        sa.Column("given_block", sa.BigInteger, nullable=False),
        sa.Column("repaid_nrlc", Uint256, nullable=False),
        sa.Column("pool_counts_nrlc", Uint256, nullable=False),
        sa.Column("is_settled", sa.Boolean, nullable=False),
        sa.Column("refusal", sa.String(500), nullable=False),
    )
    op.create_table(
        "worker_repayment",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("workerpool", sa.String(42), nullable=False),
        sa.Column("nrlc", Uint256, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("failing_since_block", sa.BigInteger, nullable=False),
        sa.Column("signed_at", sa.Float, nullable=False),
    )
    op.create_table(
        "worker_repayment_transaction",
        sa.Column("number", sa.Integer, sa.ForeignKey("worker_repayment.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("tx_hash", sa.String(66), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("sender", sa.String(42), nullable=False),
        sa.Column("nonce", Uint256, nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    for table in ("worker_repayment_transaction", "worker_repayment", "worker_debt"):
        op.drop_table(table)
