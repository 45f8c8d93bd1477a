"""A held run may be one that the chain does not know yet; the root of its tasks' digests settles it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "worker_0007"
down_revision = "worker_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worker_held_task", sa.Column("unopened", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("worker_held_task", sa.Column("root", sa.String(66), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("worker_held_task", "root")
    op.drop_column("worker_held_task", "unopened")
