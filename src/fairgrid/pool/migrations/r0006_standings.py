"""What the pool knows of workers from its own experience."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "pool_standing",
        sa.Column("worker", sa.String(42), primary_key=True),
        sa.Column("owner", sa.String(42), nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
