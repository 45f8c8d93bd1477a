"""A held record knows its deal's trust, and whether it may be contributed and finalized in one transaction."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "worker_0003"
down_revision = "worker_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    unknown = "0" * 64
    op.add_column("worker_held_task", sa.Column("trust", Uint256, nullable=False, server_default=unknown))
    op.add_column("worker_held_task", sa.Column("fast", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("worker_held_task", "fast")
    op.drop_column("worker_held_task", "trust")
