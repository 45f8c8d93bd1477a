"""What a worker keeps on disk: the records it holds, the transactions it signed, and how its tasks ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.chain.interface import SignedTransaction
from fairgrid.chain.transaction_rows import transaction_columns, transaction_of, transaction_values
from fairgrid.errors import UsageError
from fairgrid.protocol.usage import Usage
from fairgrid.seams.database import Uint256, open_migrated
from fairgrid.worker.core.held import HeldTask, Phase, Step
from fairgrid.worker.owner.policy import PoolRecord

__all__ = ["Finished", "WorkerStore"]

_MIGRATIONS: Final = "fairgrid.worker.migrations"
_metadata = sa.MetaData()
_binding = sa.Table(
    "worker_binding",
    _metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.String(200), nullable=False),
)
_held = sa.Table(
    "worker_held_task",
    _metadata,
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
    sa.Column("task_count", sa.Integer, nullable=False),
    sa.Column("usage", sa.Text, nullable=False),
    sa.Column("trust", Uint256, nullable=False),
    sa.Column("fast", sa.Boolean, nullable=False),
    sa.Column("unopened", sa.Boolean, nullable=False),
    sa.Column("root", sa.String(66), nullable=False),
    sa.Column("outcome", sa.String(32), nullable=False),
    sa.Column("ended_block", sa.BigInteger, nullable=False),
)
_transaction = sa.Table(
    "worker_transaction",
    _metadata,
    sa.Column(
        "task_id", sa.String(66), sa.ForeignKey("worker_held_task.task_id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("step", sa.String(16), primary_key=True),
    *transaction_columns(),
)
_replaced = sa.Table(
    "worker_replaced_transaction",
    _metadata,
    sa.Column(
        "task_id", sa.String(66), sa.ForeignKey("worker_held_task.task_id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("place", sa.Integer, primary_key=True),
    *transaction_columns(),
)
"""Versions that dearer ones replaced, in order."""
_finished = sa.Table(
    "worker_finished_task",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("task_id", sa.String(66), nullable=False),
    sa.Column("deal_id", sa.String(66), nullable=False),
    sa.Column("workerpool", sa.String(42), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("outcome", sa.String(600), nullable=False),
    sa.Column("earned", Uint256, nullable=True),
    sa.Column("finished_at", sa.Float, nullable=False),
)
_PLAIN = (
    "lease_id",
    "deal_id",
    "round",
    "workerpool",
    "scheduler",
    "worker_stake",
    "final_deadline",
    "digest",
    "callback_data",
    "compute_s",
    "salt",
    "seal",
    "seal_signature",
    "authorisation",
    "attempts",
    "cid",
    "opening_requested",
    "upload_requested",
    "done_requested",
    "trust",
    "fast",
    "unopened",
    "root",
    "outcome",
    "ended_block",
)
_ENDS = ("completed", "failed", "split")
# Made once: to build a statement costs more than to run it.
_KNOWN: Final = sa.bindparam("known_task", type_=sa.String)
_UPDATE_HELD: Final = sa.update(_held).where(_held.c.task_id == _KNOWN)
_INSERT_HELD: Final = sa.insert(_held)
_NEXT_ARRIVAL: Final = sa.select(sa.func.coalesce(sa.func.max(_held.c.arrival), 0) + 1)
_HASHES: Final = sa.select(_transaction.c.step, _transaction.c.tx_hash).where(_transaction.c.task_id == _KNOWN)
_REPLACED_HASHES: Final = (
    sa.select(_replaced.c.tx_hash).where(_replaced.c.task_id == _KNOWN).order_by(_replaced.c.place)
)
_CONTRIBUTED_PHASES = (Phase.CONTRIBUTED, Phase.REVEALING, Phase.REVEALED, Phase.UPLOADING, Phase.UPLOADED)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a task ended on this worker. ``earned`` is the reward in nRLC, None where it is not known;
    ``phase`` is how far it came, ``finished_at`` local time in seconds since the epoch."""

    task_id: str
    deal_id: str
    workerpool: str
    phase: Phase
    outcome: str
    earned: int | None
    finished_at: float


class WorkerStore:
    """The worker's tables in one SQLite file. Blocking: call it from a thread. Close it in the end."""

    def __init__(self, engine: Engine, path: Path | None = None) -> None:
        self._engine = engine
        self._path = path
        self._bound: dict[str, str] = {}

    @classmethod
    def open(cls, database: str | Path) -> WorkerStore:
        """Open, create or upgrade the tables.

        Raises:
            UsageError: the database cannot be opened, or was written by a newer release.
        """
        return cls(open_migrated(database, _MIGRATIONS), Path(database) if "://" not in str(database) else None)

    @property
    def database(self) -> Engine:
        """For other rooms' tables in the same file; ask anew each time, it may be made anew."""
        return self._engine

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def bind(self, *, chain_id: int, hub: str, worker: str) -> None:
        """Tie this folder to one chain, hub and key, at first use; later it must be the same.

        Raises:
            UsageError: the folder belongs to another.
        """
        wanted = {"chain_id": str(chain_id), "hub": hub, "worker": worker}
        self._bound = wanted
        with self._engine.begin() as connection:
            known = {row.name: row.value for row in connection.execute(sa.select(_binding))}
            for name, value in wanted.items():
                if name not in known:
                    connection.execute(sa.insert(_binding).values(name=name, value=value))
                elif known[name] != value:
                    raise UsageError(
                        f"This worker's folder belongs to {name.replace('_', ' ')} {known[name]}, not {value}. "
                        f"Its stakes hang on it: use another --dir for another network."
                    )

    def is_gone(self) -> bool:
        """True when the file was removed while it was open: what is written now would be lost at the next start."""
        return self._path is not None and not self._path.exists()

    def recreate(self, held: Sequence[HeldTask]) -> None:
        """Make the file anew with what is ``held``, after somebody removed it; the history of finished tasks is lost.

        Raises:
            OSError: its folder is gone, too, and cannot be made.
        """
        assert self._path is not None
        self._engine.dispose()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._engine = open_migrated(self._path, _MIGRATIONS)
        with self._engine.begin() as connection:
            for name, value in self._bound.items():
                connection.execute(sa.insert(_binding).values(name=name, value=value))
        self.apply(held)

    def load(self) -> tuple[HeldTask, ...]:
        """Every record that is held or kept, in the order of arrival."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            transactions: dict[tuple[str, str], SignedTransaction] = {
                (row.task_id, row.step): transaction_of(row) for row in connection.execute(sa.select(_transaction))
            }
            earlier: dict[str, list[SignedTransaction]] = {}
            for row in connection.execute(sa.select(_replaced).order_by(_replaced.c.place)):
                earlier.setdefault(row.task_id, []).append(transaction_of(row))
            rows = connection.execute(sa.select(_held).order_by(_held.c.arrival)).mappings().all()
        return tuple(
            HeldTask(
                task_id=row["task_id"],
                index=row["task_index"],
                count=row["task_count"],
                phase=Phase(row["phase"]),
                story=tuple(json.loads(row["story"])),
                usage=Usage(**json.loads(row["usage"] or "{}")),
                contribution=transactions.get((row["task_id"], Step.CONTRIBUTE.value)),
                reveal=transactions.get((row["task_id"], Step.REVEAL.value)),
                earlier=tuple(earlier.get(row["task_id"], ())),
                **{name: row[name] for name in _PLAIN},
            )
            for row in rows
        )

    def apply(
        self,
        saves: Sequence[HeldTask],
        forgets: Sequence[Finished] = (),
        *,
        retired: Sequence[Finished] = (),
        taken_up: Sequence[str] = (),
        dropped: Sequence[str] = (),
    ) -> None:
        """Store records and drop finished ones, all in one transaction; on disk when it returns.

        Of what is ``retired`` the record stays; of the tasks that are ``taken_up`` the end is stricken from the
        history; of those that are ``dropped`` only the record goes.
        """
        with self._engine.begin() as connection:
            if taken_up:
                ended = _finished.c.task_id.in_(taken_up) & _finished.c.outcome.in_(_ENDS)
                connection.execute(sa.delete(_finished).where(ended))
            for held in saves:
                self._save(connection, held)
            for task_id in (*dropped, *(finished.task_id for finished in forgets)):
                connection.execute(sa.delete(_held).where(_held.c.task_id == task_id))
            for finished in (*retired, *forgets):
                connection.execute(
                    sa.insert(_finished).values(
                        task_id=finished.task_id,
                        deal_id=finished.deal_id,
                        workerpool=finished.workerpool,
                        phase=finished.phase.value,
                        outcome=finished.outcome[:600],
                        earned=finished.earned,
                        finished_at=finished.finished_at,
                    )
                )

    def _save(self, connection: Connection, held: HeldTask) -> None:
        values = {name: getattr(held, name) for name in _PLAIN} | {
            "task_index": held.index,
            "task_count": held.count,
            "phase": held.phase.value,
            "story": json.dumps(held.story),
            "usage": json.dumps(asdict(held.usage)),
        }
        known = connection.execute(_UPDATE_HELD, {"known_task": held.task_id, **values})
        if known.rowcount == 0:
            arrival = connection.execute(_NEXT_ARRIVAL).scalar_one()
            connection.execute(_INSERT_HELD, {"task_id": held.task_id, "arrival": arrival, **values})
        if held.contribution is None and held.reveal is None:
            return  # Nothing was signed; what was is never unsigned.
        hashes = {row.step: row.tx_hash for row in connection.execute(_HASHES, {"known_task": held.task_id})}
        for step in Step:
            transaction = held.transaction(step)
            if transaction is None or hashes.get(step.value) == transaction.hash:
                continue
            key = (_transaction.c.task_id == held.task_id) & (_transaction.c.step == step.value)
            connection.execute(sa.delete(_transaction).where(key))
            connection.execute(
                sa.insert(_transaction).values(
                    task_id=held.task_id,
                    step=step.value,
                    **transaction_values(transaction),
                )
            )
        self._save_replaced(connection, held)

    def _save_replaced(self, connection: Connection, held: HeldTask) -> None:
        stored = connection.execute(_REPLACED_HASHES, {"known_task": held.task_id}).scalars()
        if list(stored) == [version.hash for version in held.earlier]:
            return
        connection.execute(sa.delete(_replaced).where(_replaced.c.task_id == held.task_id))
        for place, version in enumerate(held.earlier):
            connection.execute(
                sa.insert(_replaced).values(
                    task_id=held.task_id,
                    place=place,
                    **transaction_values(version),
                )
            )

    def bound(self, name: str) -> str:
        """What this folder is bound to under ``name`` (``chain_id``, ``hub``, ``worker``); empty before `bind`."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            query = sa.select(_binding.c.value).where(_binding.c.name == name)
            return connection.execute(query).scalar_one_or_none() or ""

    def finished(self, *, limit: int | None = 100) -> tuple[Finished, ...]:
        """The last ``limit`` finished tasks (None: all), newest first."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(sa.select(_finished).order_by(_finished.c.number.desc()).limit(limit)).all()
        return tuple(
            Finished(
                task_id=row.task_id,
                deal_id=row.deal_id,
                workerpool=row.workerpool,
                phase=Phase(row.phase),
                outcome=row.outcome,
                earned=row.earned,
                finished_at=row.finished_at,
            )
            for row in rows
        )

    def pool_record(self, workerpool: str) -> PoolRecord:
        """How many of this worker's contributions to ``workerpool`` were finalized, and how many ended unpaid."""
        query = (
            sa.select(_finished.c.outcome, sa.func.count().label("times"))
            .where(_finished.c.workerpool == workerpool)
            .where(_finished.c.phase.in_([phase.value for phase in _CONTRIBUTED_PHASES]))
            .group_by(_finished.c.outcome)
        )
        with self._engine.connect().execution_options(read_only=True) as connection:
            counts = {row.outcome: row.times for row in connection.execute(query)}
        return PoolRecord(completed=counts.get("completed", 0), failed=counts.get("failed", 0))

    def earned(self, workerpool: str = "") -> int:
        """All rewards in the history, or those of one workerpool, in nRLC.

        They are added up here, never in SQL (decision 56).
        """
        query = sa.select(_finished.c.earned)
        if workerpool:
            query = query.where(_finished.c.workerpool == workerpool)
        with self._engine.connect().execution_options(read_only=True) as connection:
            return sum(row.earned or 0 for row in connection.execute(query))
