"""What a worker's backup is: its key, settings and held tasks. Cache, checkpoints and results are not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Engine

from fairgrid.chain.network import Network
from fairgrid.errors import UsageError
from fairgrid.seams.database import migrate
from fairgrid.wallet.backup_file import BackupKind
from fairgrid.worker.computing.folders import CACHE_FOLDER, CHECKPOINT_FOLDER, PARTIAL_FOLDER
from fairgrid.worker.owner.control import CONTROL_NAME
from fairgrid.worker.setup.opening import DATABASE_NAME

__all__ = ["WORKER_BACKUP", "expected_of", "identity_of", "mark_restored"]

WORKER_BACKUP: Final = BackupKind(
    name="worker",
    package="fairgrid.worker.migrations",
    prefix="worker_",
    database=DATABASE_NAME,
    left_out=frozenset({CACHE_FOLDER, CHECKPOINT_FOLDER, PARTIAL_FOLDER, "tasks", "finished", CONTROL_NAME}),
)
_IDENTITY: Final = ("chain_id", "hub", "worker")


def identity_of(engine: Engine) -> Mapping[str, str]:
    """Chain, hub and worker that a database belongs to.

    Raises:
        UsageError: no worker ever ran with it.
    """
    try:
        with engine.connect().execution_options(read_only=True) as connection:
            found = connection.execute(sa.text("SELECT name, value FROM worker_binding")).all()
        known = {row.name: row.value for row in found}
        return {name: known[name] for name in _IDENTITY}
    except (sa.exc.DatabaseError, KeyError) as error:
        raise UsageError(
            f"No worker ran with the database {engine.url.database}, or it cannot be read. Name its folder with --dir."
        ) from error


def expected_of(network: Network) -> Mapping[str, str]:
    """The identity that workers of this network have in common."""
    return {"chain_id": str(network.chain_id), "hub": network.hub}


def mark_restored(engine: Engine, made_at: float) -> None:
    """Bring a restored database to this release."""
    migrate(engine, WORKER_BACKUP.package)
