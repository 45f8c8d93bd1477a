"""Who repays its stake, and what came back of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("pool_grant", sa.Column("repays", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "pool_repayment",
        sa.Column("tx_hash", sa.String(66), primary_key=True),
        sa.Column("log_index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("block_number", sa.BigInteger, nullable=False),
        sa.Column("block_hash", sa.String(66), nullable=False),
        sa.Column("worker", sa.String(42), nullable=False, index=True),
        sa.Column("sponsor", sa.String(42), nullable=False),
        sa.Column("nrlc", Uint256, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("pool_repayment")
    op.drop_column("pool_grant", "repays")
