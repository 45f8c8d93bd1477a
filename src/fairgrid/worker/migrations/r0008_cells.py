"""What the cells of an engine took, for the accounts of a cluster's owner."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "worker_0008"
down_revision = "worker_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worker_cell",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("task_id", sa.String(66), nullable=False),
        sa.Column("task_index", sa.String(80), nullable=False),
        sa.Column("engine", sa.String(20), nullable=False),
        sa.Column("engine_id", sa.String(200), nullable=False),
        sa.Column("node", sa.String(200), nullable=False),
        sa.Column("cpus", sa.Integer, nullable=False),
        sa.Column("queued_s", sa.Float, nullable=False),
        sa.Column("ran_s", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float, nullable=False),
    )
    op.create_index("worker_cell_by_task", "worker_cell", ["task_id"])


def downgrade() -> None:
    op.drop_table("worker_cell")
