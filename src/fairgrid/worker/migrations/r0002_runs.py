"""A held record may be a run of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "worker_0002"
down_revision = "worker_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worker_held_task", sa.Column("task_count", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("worker_held_task", "task_count")
