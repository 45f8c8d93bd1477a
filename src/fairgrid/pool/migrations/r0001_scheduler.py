"""Tasks, their stories, events, effects and bans of a scheduler."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "pool_binding",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(200), nullable=False),
    )
    op.create_table(
        "pool_task",
        sa.Column("task_id", sa.String(66), primary_key=True),
        sa.Column("deal_id", sa.String(66), nullable=False),
        sa.Column("task_index", Uint256, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("pool_task_deal", "pool_task", ["deal_id", "task_index"])
    op.create_index("pool_task_settled", "pool_task", ["settled"])
    op.create_table(
        "pool_story",
        sa.Column("task_id", sa.String(66), sa.ForeignKey("pool_task.task_id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("worker", sa.String(42), nullable=False),
    )
    op.create_table(
        "pool_event",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("task_id", sa.String(66), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("pool_event_task", "pool_event", ["task_id"])
    op.create_table(
        "pool_effect",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("task_id", sa.String(66), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("tx_hash", sa.String(66), nullable=True),
        sa.Column("raw", sa.LargeBinary, nullable=True),
        sa.Column("sender", sa.String(42), nullable=True),
        sa.Column("nonce", Uint256, nullable=True),
        sa.Column("function", sa.String(64), nullable=True),
    )
    op.create_index("pool_effect_status", "pool_effect", ["status"])
    op.create_table(
        "pool_ban",
        sa.Column("worker", sa.String(42), primary_key=True),
        sa.Column("owner", sa.String(42), nullable=False),
        sa.Column("task_id", sa.String(66), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("pool_ban_owner", "pool_ban", ["owner"])


def downgrade() -> None:
    for table in ("pool_ban", "pool_effect", "pool_event", "pool_story", "pool_task", "pool_binding"):
        op.drop_table(table)
