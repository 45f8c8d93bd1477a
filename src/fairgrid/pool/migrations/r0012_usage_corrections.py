"""What a reorganisation took back of the usage that was counted before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "0012"
down_revision = "0011"

_COUNTS = ("tasks", "completed", "leases", "metered", "cpu_ms", "wall_ms", "bytes_in", "bytes_out")


def upgrade() -> None:
    op.create_table(
        "pool_usage_correction",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("day", sa.String(10), nullable=False, index=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("task_id", sa.String(66), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("subject", sa.String(42), nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTS),
        sa.Column("nrlc", Uint256, nullable=False),
    )
