"""Held tasks, their transactions, the history of finished ones, and what the folder is bound to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "worker_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worker_binding",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(200), nullable=False),
    )
    op.create_table(
        "worker_held_task",
        sa.Column("task_id", sa.String(66), primary_key=True),
        sa.Column("arrival", sa.Integer, nullable=False),
        sa.Column("lease_id", sa.String(64), nullable=False),
        sa.Column("deal_id", sa.String(66), nullable=False),
        sa.Column("task_index", Uint256, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("workerpool", sa.String(42), nullable=False),
        sa.Column("scheduler", sa.String(42), nullable=False),
        sa.Column("worker_stake", Uint256, nullable=False),
        sa.Column("final_deadline", Uint256, nullable=False),
        sa.Column("digest", sa.String(66), nullable=False),
        sa.Column("callback_data", sa.Text, nullable=False),
        sa.Column("compute_s", sa.Float, nullable=False),
        sa.Column("salt", sa.String(66), nullable=False),
        sa.Column("seal", sa.String(66), nullable=False),
        sa.Column("seal_signature", sa.String(134), nullable=False),
        sa.Column("authorisation", sa.String(134), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("cid", sa.String(128), nullable=False),
        sa.Column("opening_requested", sa.Boolean, nullable=False),
        sa.Column("upload_requested", sa.Boolean, nullable=False),
        sa.Column("done_requested", sa.Boolean, nullable=False),
        sa.Column("story", sa.Text, nullable=False),
    )
    op.create_table(
        "worker_transaction",
        sa.Column(
            "task_id", sa.String(66), sa.ForeignKey("worker_held_task.task_id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("step", sa.String(16), primary_key=True),
        sa.Column("tx_hash", sa.String(66), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("sender", sa.String(42), nullable=False),
        sa.Column("nonce", Uint256, nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
    )
    op.create_table(
        "worker_finished_task",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("task_id", sa.String(66), nullable=False),
        sa.Column("deal_id", sa.String(66), nullable=False),
        sa.Column("workerpool", sa.String(42), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(600), nullable=False),
        sa.Column("earned", Uint256, nullable=True),
        sa.Column("finished_at", sa.Float, nullable=False),
    )
    op.create_index("worker_finished_by_pool", "worker_finished_task", ["workerpool", "phase"])


def downgrade() -> None:
    for table in ("worker_finished_task", "worker_transaction", "worker_held_task", "worker_binding"):
        op.drop_table(table)
