"""Who may use the pool, and who may work for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "pool_access",
        sa.Column("address", sa.String(42), primary_key=True),
        sa.Column("role", sa.String(16), primary_key=True),
        sa.Column("is_group", sa.Boolean, nullable=False),
        sa.Column("note", sa.String(200), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "pool_access_door",
        sa.Column("role", sa.String(16), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
    )
