"""A task's story in its own row, and a record of what rows are behind with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("pool_task", sa.Column("story", sa.Text, nullable=False, server_default="[]"))
    if op.get_bind().dialect.name == "postgresql":
        lines = (
            "SELECT json_agg(json_build_array(at, text, worker) ORDER BY number)::text AS told, task_number "
            "FROM pool_story GROUP BY task_number"
        )
        op.execute(f"UPDATE pool_task SET story = s.told FROM ({lines}) s WHERE s.task_number = pool_task.number")
        op.execute("ALTER TABLE pool_task ALTER COLUMN story DROP DEFAULT")
    else:
        lines = (
            "SELECT json_group_array(json_array(at, text, worker)) FROM "
            "(SELECT at, text, worker FROM pool_story WHERE task_number = pool_task.number ORDER BY number)"
        )
        op.execute(f"UPDATE pool_task SET story = ({lines})")
    op.drop_table("pool_story")
    op.create_table(
        "pool_redo",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("document", sa.Text, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("What was not written into rows yet has no place in the older tables.")
