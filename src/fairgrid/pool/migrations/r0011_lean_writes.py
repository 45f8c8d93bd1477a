"""Less work for each write: an index less, and texts that PostgreSQL does not pack with its slow method."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0011"
down_revision = "0010"

_KEPT = (("pool_task", "document"), ("pool_task", "story"), ("pool_journal", "document"))


def upgrade() -> None:
    # The key of a task's transaction begins with the task's id.
    op.drop_index("pool_effect_task", "pool_effect")
    bind = op.get_bind()
    if bind.dialect.name != "postgresql":
        return
    # Keys are compared byte by byte, as SQLite does: so the primary key finds all of a task.
    op.execute('ALTER TABLE pool_effect ALTER COLUMN key TYPE VARCHAR(200) COLLATE "C"')
    # A record lives for seconds: it is not worth being packed.
    op.execute("ALTER TABLE pool_redo ALTER COLUMN document SET STORAGE EXTERNAL")
    lz4 = "SELECT 1 FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)"
    has_lz4 = bind.execute(text(lz4)).one_or_none() is not None
    for table, column in _KEPT:
        how = "COMPRESSION lz4" if has_lz4 else "STORAGE EXTERNAL"
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET {how}")


def downgrade() -> None:
    op.create_index("pool_effect_task", "pool_effect", ["task_id"])
