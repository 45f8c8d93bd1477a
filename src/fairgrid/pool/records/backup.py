"""What a pool's backup is, and what a pool must know after one was restored.

A backup is old the moment it is written. What the chain knows is read again at the next start: deals, tasks, nonces,
payments of rewards. What only the pool knew of the time in between is gone: bans, standings, and whom it sponsored.
So a restored database says so (`restored_at`), and whoever could be paid twice by the sponsor is not paid.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.chain.network import Network
from fairgrid.errors import UsageError
from fairgrid.pool.records.schema import bindings
from fairgrid.seams.database import migrate
from fairgrid.wallet.backup_file import BackupKind

__all__ = ["POOL_BACKUP", "expected_of", "identity_of", "mark_restored", "restored_at"]

POOL_BACKUP: Final = BackupKind(
    name="pool",
    package="fairgrid.pool.migrations",
    prefix="pool_",
    database="pool.db",
    transient=frozenset({"pool_process"}),
    left_out=frozenset({"uploads"}),
)
_MARK: Final = "restored"
_IDENTITY: Final = ("chain_id", "hub", "workerpool")


def identity_of(engine: Engine) -> Mapping[str, str]:
    """Chain, hub and workerpool that a database belongs to.

    Raises:
        UsageError: no pool ever ran on it.
    """
    try:
        with _reading(engine) as connection:
            known = {row.name: row.value for row in connection.execute(sa.select(bindings))}
        return {name: known[name] for name in _IDENTITY}
    except (sa.exc.DatabaseError, KeyError) as error:
        raise UsageError(
            f"No pool ran on the database {engine.url.render_as_string()}, or it cannot be read. Name the pool's "
            f"folder with --dir, and its database with --database if it lies elsewhere."
        ) from error


def expected_of(network: Network) -> Mapping[str, str]:
    """The identity of this network's pool."""
    return {"chain_id": str(network.chain_id), "hub": network.hub, "workerpool": network.pool_address}


def mark_restored(engine: Engine, made_at: float) -> None:
    """Bring a restored database to this release, and note that it is one, and of when."""
    migrate(engine, POOL_BACKUP.package)
    with engine.begin() as connection:
        connection.execute(sa.delete(bindings).where(bindings.c.name == _MARK))
        connection.execute(sa.insert(bindings).values(name=_MARK, value=f"{made_at:.3f} {time.time():.3f}"))


def restored_at(engine: Engine) -> float | None:
    """Local time at which this database was last restored from a backup; None if it never was."""
    with _reading(engine) as connection:
        found = connection.execute(sa.select(bindings.c.value).where(bindings.c.name == _MARK)).scalar_one_or_none()
    return None if found is None else float(found.partition(" ")[2])


def _reading(engine: Engine) -> Connection:
    return engine.connect().execution_options(read_only=True)
