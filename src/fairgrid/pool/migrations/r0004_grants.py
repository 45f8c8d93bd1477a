"""What newcomers were given, and the signed transactions that pay it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "pool_grant",
        sa.Column("worker", sa.String(42), primary_key=True),
        sa.Column("key", sa.String(42), nullable=False),
        sa.Column("owner", sa.String(42), nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("stake_nrlc", Uint256, nullable=False),
        sa.Column("coins_wei", Uint256, nullable=False),
        sa.Column("agreement", sa.String(140), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "pool_grant_payment",
        sa.Column("worker", sa.String(42), sa.ForeignKey("pool_grant.worker"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("tx_hash", sa.String(66), nullable=False, unique=True),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("sender", sa.String(42), nullable=False),
        sa.Column("nonce", Uint256, nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("ended", sa.String(200), nullable=False),
    )


def downgrade() -> None:
    for table in ("pool_grant_payment", "pool_grant"):
        op.drop_table(table)
