"""Tasks and transactions are found by shelf and the beginning of their id: new rows touch the same few pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fairgrid.seams.database import Uint256

revision = "0014"
down_revision = "0013"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOVED = "key, task_id, kind, status, attempt, created_at, document, error, tx_hash, raw, sender, nonce, function"


def upgrade() -> None:
    op.add_column("pool_task", sa.Column("place", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(f"UPDATE pool_task SET place = {_place('number', 'task_id')}")
    op.drop_index("pool_task_id", "pool_task")
    op.drop_index("pool_task_settled", "pool_task")
    op.create_index("pool_task_place", "pool_task", ["place"])
    live = {"sqlite_where": sa.text("settled = 0"), "postgresql_where": sa.text("NOT settled")}
    op.create_index("pool_task_live", "pool_task", ["number"], **live)  # type: ignore[arg-type]
    op.create_table(
        "pool_effect_placed",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
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
    op.execute(
        f"INSERT INTO pool_effect_placed (number, place, {_MOVED}) SELECT number, {_place('number', 'key')}, {_MOVED} "
        "FROM (SELECT *, row_number() OVER (ORDER BY created_at, key) AS number FROM pool_effect) AS numbered"
    )
    op.drop_table("pool_effect")
    op.rename_table("pool_effect_placed", "pool_effect")
    op.create_index("pool_effect_place", "pool_effect", ["place"])
    unmined = {"sqlite_where": sa.text("status <> 'mined'"), "postgresql_where": sa.text("status <> 'mined'")}
    op.create_index("pool_effect_unmined", "pool_effect", ["number"], **unmined)  # type: ignore[arg-type]


def _place(number: str, name: str) -> str:
    """`places.place_of` in SQL."""
    if op.get_bind().dialect.name == "postgresql":
        begins = f"substr({name}, 3, 10)"
        tag = f"CASE WHEN {begins} ~ '^[0-9a-fA-F]{{10}}$' THEN ('x' || {begins})::bit(40)::bigint ELSE 0 END"
        return f"(({number} / 4096) << 40) | ({tag})"
    digits = [
        f"((instr('0123456789abcdef', lower(substr({name}, {3 + place}, 1))) - 1) << {36 - 4 * place})"
        for place in range(10)
    ]
    strange = f"length({name}) < 12 OR substr({name}, 3, 10) GLOB '*[^0-9a-fA-F]*'"
    tag = f"CASE WHEN {strange} THEN 0 ELSE {' | '.join(digits)} END"
    return f"(({number} / 4096) << 40) | ({tag})"


def downgrade() -> None:
    raise NotImplementedError("The older indexes would have to be made anew; restore a backup instead.")
