"""Signed versions of a transaction that a dearer one replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "worker_0005"
down_revision = "worker_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    held = sa.ForeignKey("worker_held_task.task_id", ondelete="CASCADE")
    op.create_table(
        "worker_replaced_transaction",
        sa.Column("task_id", sa.String(66), held, primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("tx_hash", sa.String(66), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("sender", sa.String(42), nullable=False),
        sa.Column("nonce", Uint256, nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("worker_replaced_transaction")
