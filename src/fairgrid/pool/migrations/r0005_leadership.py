"""Who leads among a pool's processes, and who stands by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "pool_leader",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("process", sa.String(64), nullable=False),
        sa.Column("address", sa.String(200), nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("renewed_at", sa.Float, nullable=False),
    )
    op.create_table(
        "pool_process",
        sa.Column("process", sa.String(64), primary_key=True),
        sa.Column("address", sa.String(200), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("fit", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("pool_process")
    op.drop_table("pool_leader")
