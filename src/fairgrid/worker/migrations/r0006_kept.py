"""A record is kept for a while after its task is over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "worker_0006"
down_revision = "worker_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worker_held_task", sa.Column("outcome", sa.String(32), nullable=False, server_default=""))
    op.add_column("worker_held_task", sa.Column("ended_block", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("worker_held_task", "ended_block")
    op.drop_column("worker_held_task", "outcome")
