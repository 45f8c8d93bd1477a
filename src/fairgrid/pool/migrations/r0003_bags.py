"""Deals as one row with a cursor; tasks and stories keyed by number; events journalled by commit."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "0003"
down_revision = "0002"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    for index, table in (("pool_task_deal", "pool_task"), ("pool_task_settled", "pool_task")):
        op.drop_index(index, table)
    _tasks()
    _stories()
    op.execute(
        "INSERT INTO pool_task_new SELECT row_number() OVER (ORDER BY created_at, deal_id, task_index), task_id, "
        "deal_id, task_index, phase, settled, created_at, updated_at, document FROM pool_task"
    )
    op.execute(
        "INSERT INTO pool_story_new SELECT t.number, s.number, s.at, s.text, s.worker "
        "FROM pool_story s JOIN pool_task_new t ON t.task_id = s.task_id"
    )
    op.drop_table("pool_story")
    op.drop_table("pool_task")
    op.rename_table("pool_task_new", "pool_task")
    op.rename_table("pool_story_new", "pool_story")
    op.create_index("pool_task_id", "pool_task", ["task_id"], unique=True)
    op.create_index("pool_task_deal", "pool_task", ["deal_id", "task_index"])
    op.create_index("pool_task_settled", "pool_task", ["settled", "updated_at"])
    _deals()
    _journal()
    # Messages to workers are derived anew after a restart: only transactions are kept.
    op.execute("DELETE FROM pool_effect WHERE kind NOT IN ('Initialize', 'Finalize', 'Claim')")
    op.create_index("pool_effect_task", "pool_effect", ["task_id"])


def _tasks() -> None:
    op.create_table(
        "pool_task_new",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("task_id", sa.String(66), nullable=False),
        sa.Column("deal_id", sa.String(66), nullable=False),
        sa.Column("task_index", Uint256, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )


def _stories() -> None:
    op.create_table(
        "pool_story_new",
        sa.Column("task_number", _NUMBER, sa.ForeignKey("pool_task_new.number"), primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("worker", sa.String(42), nullable=False),
        sqlite_with_rowid=False,
    )


def _deals() -> None:
    """One row for each deal of which there are tasks: until now all of them began at once."""
    deals = op.create_table(
        "pool_deal",
        sa.Column("deal_id", sa.String(66), primary_key=True),
        sa.Column("first", Uint256, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("begun", sa.BigInteger, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("pool_deal_settled", "pool_deal", ["settled"])
    connection = op.get_bind()
    known = connection.execute(
        sa.text(
            "SELECT deal_id, min(task_index) AS first, count(*) AS size, min(created_at) AS created_at, "
            "max(updated_at) AS updated_at, max(document) AS document, "
            "sum(CASE WHEN settled THEN 0 ELSE 1 END) AS live FROM pool_task GROUP BY deal_id"
        )
    ).all()
    rows = [
        {
            "deal_id": row.deal_id,
            "first": int(row.first, 16),
            "size": row.size,
            "begun": row.size,
            "settled": not row.live,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "document": json.dumps(json.loads(row.document)["deal"]),
        }
        for row in known
    ]
    if rows:
        op.bulk_insert(deals, rows)


def _journal() -> None:
    op.create_table(
        "pool_journal",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.execute(
        "INSERT INTO pool_journal (at, events, document) "
        "SELECT at, 1, '[[\"' || kind || '\",' || document || ']]' FROM pool_event ORDER BY number"
    )
    op.drop_table("pool_event")


def downgrade() -> None:
    raise NotImplementedError("What the journal and the deals hold has no place in the older tables.")
