"""The scheduler's tables, as `fairgrid.pool.migrations` makes them; SQLite and PostgreSQL alike.

What is written often is keyed by a number that counts up, so that new rows lie side by side, and found by its ``place``
(`fairgrid.pool.records.places`): writing costs the same with a thousand and with a million tasks in the tables.
"""

from __future__ import annotations

import sqlalchemy as sa

from fairgrid.seams.database import Uint256

__all__ = [
    "UNMINED",
    "bans",
    "bindings",
    "deals",
    "effects",
    "grants",
    "journal",
    "leaders",
    "metadata",
    "payments",
    "processes",
    "redo",
    "repayments",
    "standings",
    "tasks",
]

metadata = sa.MetaData()

_Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")

bindings = sa.Table(
    "pool_binding",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.String(200), nullable=False),
)
"""What the database belongs to, and how far the chain was read."""

deals = sa.Table(
    "pool_deal",
    metadata,
    sa.Column("deal_id", sa.String(66), primary_key=True),
    sa.Column("first", Uint256, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("begun", sa.BigInteger, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("pool_deal_settled", "settled"),
)
"""One `Bag` each: the first ``begun`` of its tasks have rows in `tasks`. ``document`` is its `DealTerms` as JSON."""

tasks = sa.Table(
    "pool_task",
    metadata,
    sa.Column("number", _Number, primary_key=True, autoincrement=False),
    sa.Column("place", sa.BigInteger, nullable=False),
    sa.Column("task_id", sa.String(66), nullable=False),
    sa.Column("deal_id", sa.String(66), nullable=False),
    sa.Column("task_index", Uint256, nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("story", sa.Text, nullable=False),
    sa.Index("pool_task_place", "place"),
    sa.Index("pool_task_deal", "deal_id", "task_index"),
    sa.Index("pool_task_live", "number", sqlite_where=sa.text("settled = 0"), postgresql_where=sa.text("NOT settled")),
)
"""One `TaskState` each, as JSON, and its story as a JSON array of [time, text, worker].

``number`` counts them in the order in which their rows were first written. A live task's row may be some seconds
behind; `redo` has the rest.
"""

redo = sa.Table(
    "pool_redo",
    metadata,
    sa.Column("number", _Number, primary_key=True, autoincrement=False),
    sa.Column("document", sa.Text, nullable=False),
)
"""What the last commits changed of tasks whose rows were not written since (`fairgrid.pool.records.redo`), in order."""

journal = sa.Table(
    "pool_journal",
    metadata,
    sa.Column("number", _Number, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
"""Every event that led to something, those of one commit in one row: a JSON array of [kind, event]."""

effects = sa.Table(
    "pool_effect",
    metadata,
    sa.Column("number", _Number, primary_key=True, autoincrement=False),
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
    sa.Index("pool_effect_place", "place"),
    sa.Index(
        "pool_effect_unmined",
        "number",
        sqlite_where=sa.text("status <> 'mined'"),
        postgresql_where=sa.text("status <> 'mined'"),
    ),
)
"""Every transaction that the scheduler decided to send, with its signed bytes (decision 25), one row for a key.

Keys of a task begin with its id and a slash; a key is found by its place.
"""

UNMINED = sa.text("pool_effect.status <> 'mined'")
"""Of `effects`: it may still be sent. Said in a query, so that the index of these is used."""


bans = sa.Table(
    "pool_ban",
    metadata,
    sa.Column("worker", sa.String(42), primary_key=True),
    sa.Column("owner", sa.String(42), nullable=False),
    sa.Column("task_id", sa.String(66), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("pool_ban_owner", "owner"),
)

standings = sa.Table(
    "pool_standing",
    metadata,
    sa.Column("worker", sa.String(42), primary_key=True),
    sa.Column("owner", sa.String(42), nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
"""One `Standing` each, as JSON: what the pool knows of a worker from its own experience."""

grants = sa.Table(
    "pool_grant",
    metadata,
    sa.Column("worker", sa.String(42), primary_key=True),
    sa.Column("key", sa.String(42), nullable=False),
    sa.Column("owner", sa.String(42), nullable=False),
    sa.Column("network", sa.String(64), nullable=False),
    sa.Column("stake_nrlc", Uint256, nullable=False),
    sa.Column("coins_wei", Uint256, nullable=False),
    sa.Column("agreement", sa.String(140), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("repays", sa.Boolean, nullable=False, server_default=sa.false()),
)
repayments = sa.Table(
    "pool_repayment",
    metadata,
    sa.Column("tx_hash", sa.String(66), primary_key=True),
    sa.Column("log_index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("block_number", sa.BigInteger, nullable=False),
    sa.Column("block_hash", sa.String(66), nullable=False),
    sa.Column("worker", sa.String(42), nullable=False, index=True),
    sa.Column("sponsor", sa.String(42), nullable=False),
    sa.Column("nrlc", Uint256, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
"""What sponsored workers paid back; ``settled``: deep enough that no reorganisation is expected to take it."""
payments = sa.Table(
    "pool_grant_payment",
    metadata,
    sa.Column("worker", sa.String(42), sa.ForeignKey("pool_grant.worker"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("tx_hash", sa.String(66), nullable=False, unique=True),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("sender", sa.String(42), nullable=False),
    sa.Column("nonce", Uint256, nullable=False),
    sa.Column("function", sa.String(64), nullable=False),
    sa.Column("ended", sa.String(200), nullable=False),
)

leaders = sa.Table(
    "pool_leader",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("process", sa.String(64), nullable=False),
    sa.Column("address", sa.String(200), nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("renewed_at", sa.Float, nullable=False),
)
"""One row: who leads, since when, under which epoch. Times are the database's."""

processes = sa.Table(
    "pool_process",
    metadata,
    sa.Column("process", sa.String(64), primary_key=True),
    sa.Column("address", sa.String(200), nullable=False),
    sa.Column("version", sa.String(32), nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Column("fit", sa.Boolean, nullable=False),
)
"""Processes that stand by, and could take over."""
