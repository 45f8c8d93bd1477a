"""What operators did, and what they decided: labels, workers and pools that take nothing new, policy."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "pool_act",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.String(42), nullable=False),
        sa.Column("act", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("nonce", sa.String(66), nullable=False, unique=True),
    )
    op.create_table(
        "pool_label",
        sa.Column("worker", sa.String(42), primary_key=True),
        sa.Column("label", sa.String(64), primary_key=True),
    )
    op.create_table(
        "pool_drain",
        sa.Column("subject", sa.String(42), primary_key=True),
        sa.Column("who", sa.String(42), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "pool_setting",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("who", sa.String(42), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
