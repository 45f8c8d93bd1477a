"""Which of a pool's processes leads: one, fenced by an epoch (decision 25).

On PostgreSQL several processes may share one database. One holds an advisory lock and leads; when it dies, the server
drops its session and with it the lock, and another takes it within a poll. Taking it raises the *epoch*; every
transaction that writes checks the epoch first, so that a leader that was cut off, or stood still for a while, can write
nothing after another took over. What cannot be written is not done: effects are stored before they are sent.

A leader also notes the time of the database in its row. One that holds its session but does not do so (its machine is
frozen) is ended by the others.

On SQLite a lock on a file beside the database lets one process in, and tells the second who has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from fairgrid import __version__
from fairgrid.errors import ServiceError, ServiceUnavailable, UsageError
from fairgrid.pool.records.schema import leaders, processes
from fairgrid.seams.database import without_password
from fairgrid.seams.http import one_line

__all__ = ["RENEW_S", "STALE_S", "Leader", "Leadership", "LeadershipLost", "ProcessSeen"]

RENEW_S = 1.0
"""How often a leader renews, and a process that stands by tries."""
STALE_S = 10.0
"""A leader that did not renew for so long is ended by the others, though its session stands."""
SEEN_S = 5.0
"""A process that did not show up for so long is no process to hand over to."""

_ROW = "scheduler"


class LeadershipLost(ServiceError):
    """This process does not lead any more: it must stop acting at once; nothing more of it was written."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"This process does not lead the pool any more ({reason}). It stopped acting.")


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads: ``epoch`` grows with each change, ``address`` is its URL, ``since`` is in seconds since 1970."""

    epoch: int
    process: str
    address: str
    since: float


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """A process that stands by. ``fit`` False: it just handed over itself, and lets others go first."""

    process: str
    address: str
    version: str
    fit: bool


class Leadership:
    """One process's place among the pool's. Every method blocks: call it from a thread.

    From the moment it is made, nothing can be written through ``engine`` unless this process leads; `unfenced` makes
    the exception that standing by needs.
    """

    def __init__(self, engine: Engine, *, address: str) -> None:
        """``address`` is told to whoever asks a process that stands by."""
        self.process = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.address = address
        self._engine = engine
        self._postgresql = engine.dialect.name == "postgresql"
        self._session: Connection | None = None
        self._file: IO[bytes] | None = None
        self._epoch: int | None = None
        self._one_at_a_time = threading.Lock()
        event.listen(engine, "begin", self._on_begin)
        if self._postgresql:
            event.listen(engine, "connect", self._on_connect)
            engine.dispose()

    @property
    def epoch(self) -> int | None:
        """The epoch under which this process leads; None while it does not."""
        return self._epoch

    @property
    def may_be_several(self) -> bool:
        """Whether other processes could stand by: the database is PostgreSQL."""
        return self._postgresql

    # --- taking and leaving ---------------------------------------------------------------------------------------

    def lead(self) -> Leader | None:
        """Take the lead if nobody has it; None if somebody has.

        Raises:
            UsageError: another process has the SQLite database (it cannot be shared).
            ServiceUnavailable: the database does not answer.
        """
        with self._one_at_a_time, self._reachable():
            if self._postgresql:
                self._show_up(fit=True)
                if not self._lock_session():
                    self._end_a_frozen_leader()
                    return None
            else:
                self._lock_file()
            return self._begin_term()

    def renew(self) -> None:
        """Make sure that this process still leads; call it every `RENEW_S`.

        Raises:
            LeadershipLost: it does not, or cannot know.
        """
        if self._epoch is None:
            raise LeadershipLost("it never took the lead")
        if not self._postgresql:
            return
        with self._one_at_a_time:
            epoch = self._epoch
            try:
                if self._session is None:
                    raise LeadershipLost("it resigned")
                renewed = self._session.execute(
                    sa.update(leaders).where(leaders.c.epoch == epoch).values(renewed_at=_database_time())
                )
            except (DBAPIError, sa.exc.InvalidRequestError) as error:
                self._forget()
                raise LeadershipLost(f"its connection to the database is gone: {one_line(str(error))}") from error
            if renewed.rowcount != 1:
                self._forget()
                raise LeadershipLost(f"another process took over; its own epoch was {epoch}")

    def resign(self, *, stay_away: bool = False) -> None:
        """Leave the lead to others. ``stay_away``: note that this process handed over, so that it is not the next."""
        self._epoch = None  # before a thread that still renews is waited for
        with self._one_at_a_time:
            file = self._file
            self._forget()
            if file is not None:
                file.close()
        if stay_away and self._postgresql:
            with contextlib.suppress(DBAPIError, ServiceUnavailable):
                self._show_up(fit=False)

    def stand_by(self, *, fit: bool) -> None:
        """Be seen as a process that could take over (``fit``), or as one that is only here."""
        if self._postgresql:
            with self._reachable():
                self._show_up(fit=fit)

    def close(self) -> None:
        """Resign and disappear from the list of processes."""
        self.resign()
        if self._postgresql:
            with contextlib.suppress(DBAPIError), self.unfenced() as connection:
                connection.execute(sa.delete(processes).where(processes.c.process == self.process))
        event.remove(self._engine, "begin", self._on_begin)
        if self._postgresql:
            event.remove(self._engine, "connect", self._on_connect)

    # --- asking ---------------------------------------------------------------------------------------------------

    def leader(self) -> Leader | None:
        """Who led last; it may be gone.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        with self._reachable(), self._reading() as connection:
            row = connection.execute(sa.select(leaders)).one_or_none()
        return None if row is None else Leader(row.epoch, row.process, row.address, row.since)

    def others(self) -> list[ProcessSeen]:
        """Processes that stand by now, this one left out.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        if not self._postgresql:
            return []
        with self._reachable(), self._reading() as connection:
            rows = connection.execute(
                sa.select(processes)
                .where(processes.c.seen_at > _database_time() - SEEN_S)
                .where(processes.c.process != self.process)
                .order_by(processes.c.process)
            ).all()
        return [ProcessSeen(row.process, row.address, row.version, row.fit) for row in rows]

    @contextlib.contextmanager
    def unfenced(self) -> Iterator[Connection]:
        """A transaction that may write without leading: only for what no leader depends on."""
        with self._engine.connect().execution_options(unfenced=True) as connection, connection.begin():
            yield connection

    # --- the fence ------------------------------------------------------------------------------------------------

    def _on_begin(self, connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("read_only") or options.get("unfenced"):
            return
        if self._epoch is None:
            raise LeadershipLost("it stands by")
        if not self._postgresql:
            return
        # FOR SHARE: whoever takes over waits until this transaction is over, and this one fails if it comes later.
        found = connection.exec_driver_sql("SELECT epoch FROM pool_leader FOR SHARE").scalar_one_or_none()
        if found != self._epoch:
            raise LeadershipLost(f"epoch {found} began; its own was {self._epoch}")

    def _on_connect(self, connection: object, _record: object) -> None:
        connection.execute(f"SET application_name = '{_named(self.process)}'")  # type: ignore[attr-defined]
        connection.commit()  # type: ignore[attr-defined]

    # --- PostgreSQL -------------------------------------------------------------------------------------------------

    def _lock_session(self) -> bool:
        if self._session is None:
            self._session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT", unfenced=True)
        try:
            return bool(self._session.execute(sa.select(sa.func.pg_try_advisory_lock(self._lock_key()))).scalar_one())
        except DBAPIError:
            self._session.invalidate()
            self._session.close()
            self._session = None
            raise

    def _lock_key(self) -> int:
        # Databases have their own advisory locks, schemas have not: two pools in two schemas must not meet.
        with self._reading() as connection:
            schema = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
        return int.from_bytes(hashlib.sha256(f"fairgrid pool {schema}".encode()).digest()[:8], "big", signed=True)

    def _end_a_frozen_leader(self) -> None:
        with self.unfenced() as connection:
            frozen = connection.execute(
                sa.select(leaders.c.process).where(leaders.c.renewed_at < _database_time() - STALE_S)
            ).scalar_one_or_none()
            if frozen is not None:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
                    (_named(frozen),),
                )

    def _show_up(self, *, fit: bool) -> None:
        values = {"address": self.address, "version": __version__, "seen_at": _database_time(), "fit": fit}
        with self.unfenced() as connection:
            known = connection.execute(sa.update(processes).where(processes.c.process == self.process).values(values))
            if known.rowcount == 0:
                connection.execute(sa.insert(processes).values(process=self.process, **values))
                connection.execute(sa.delete(processes).where(processes.c.seen_at < _database_time() - 3_600))

    def _begin_term(self) -> Leader:
        now = _database_time() if self._postgresql else sa.literal(time.time())
        values = {"process": self.process, "address": self.address, "since": now, "renewed_at": now}
        with self.unfenced() as connection:
            known = connection.execute(
                sa.update(leaders).where(leaders.c.name == _ROW).values(epoch=leaders.c.epoch + 1, **values)
            )
            if known.rowcount == 0:
                connection.execute(sa.insert(leaders).values(name=_ROW, epoch=1, **values))
            if self._postgresql:
                connection.execute(sa.delete(processes).where(processes.c.process == self.process))
            row = connection.execute(sa.select(leaders)).one()
        self._epoch = row.epoch
        return Leader(row.epoch, row.process, row.address, row.since)

    # --- SQLite -----------------------------------------------------------------------------------------------------

    def _lock_file(self) -> None:
        database = self._engine.url.database
        if self._file is not None or not database or database == ":memory:":
            return
        import fcntl

        try:
            file = Path(database + ".lock").open("ab+", buffering=0)
        except OSError as error:
            raise ServiceUnavailable("database", database, f"its lock file: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            with file, contextlib.suppress(ValueError, KeyError):
                holder = json.loads(file.read())
                raise UsageError(
                    f"Another pool process ({holder['pid']}, at {holder['address']}) uses {database}. End it first; "
                    f"for several processes at once give --database postgresql://…"
                ) from None
            raise UsageError(f"Another pool process uses {database}. End it first.") from None
        # Who holds it is told to those who come in vain; on a full disk it cannot be, and is held all the same.
        with contextlib.suppress(OSError):
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "address": self.address}).encode())
        self._file = file

    # --- both ---------------------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._epoch = None
        if self._session is not None:
            # A session that may hold the lock never goes back to the pool of connections.
            with contextlib.suppress(DBAPIError, sa.exc.InvalidRequestError):
                self._session.invalidate()
                self._session.close()
        self._session = None
        self._file = None

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise ServiceUnavailable(
                "database", without_password(self._engine.url), one_line(str(error.orig))
            ) from error


def _database_time() -> sa.ColumnElement[float]:
    # clock_timestamp, not now(): a transaction's own time stands still.
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float)


def _named(process: str) -> str:
    return f"fairgrid pool {process}"
