"""Usage of requesters, apps and workers by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "0008"
down_revision = "0007"

_COUNTS = ("tasks", "completed", "leases", "metered", "cpu_ms", "wall_ms", "peak_memory_bytes", "bytes_in", "bytes_out")


def upgrade() -> None:
    op.create_table(
        "pool_usage",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("kind", sa.String(10), primary_key=True),
        sa.Column("subject", sa.String(42), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTS),
        sa.Column("nrlc", Uint256, nullable=False),
    )
