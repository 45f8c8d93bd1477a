"""A held record tells what its task took of the machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "worker_0004"
down_revision = "worker_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worker_held_task", sa.Column("usage", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("worker_held_task", "usage")
