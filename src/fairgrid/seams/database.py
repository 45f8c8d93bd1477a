"""The database seam: one way to open SQLite or PostgreSQL, one way to migrate, one column type for 256-bit amounts.

SQLite is the default and needs no server. Every service keeps its own tables and its own line of Alembic revisions
(``fairgrid.<room>.migrations``), so that several services may share one PostgreSQL database.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import CHAR, URL, Connection, Dialect, Engine, QueuePool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, InvalidatePoolError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.seams.http import one_line

__all__ = ["Uint256", "migrate", "open_engine", "open_migrated", "version_table", "without_password"]

_UINT256_LIMIT = 1 << 256
_BUSY_TIMEOUT_MS = 10_000
_CHECKPOINT_BYTES = 32 * 1_024 * 1_024
_PAGE_BYTES = 4_096
_CACHE_KIB = 32 * 1_024
_TRUSTED_S = 0.1
"""A connection to PostgreSQL that was used so lately is not asked whether it is there still: that is a round trip."""
_USED_AT = "fairgrid_used_at"
_MIGRATION_LOCK = 0x46616972  # any number that nobody else locks
_POSTGRESQL: dict[str, Any] = {
    # A server that vanished is noticed within seconds, on both sides.
    "connect_timeout": 5,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
    # At a rollback, so after whatever was only read, the driver has the server forget all prepared statements: its own
    # are hardly used then, and others' are lost (`fairgrid.pool.records.pipeline`).
    "prepare_threshold": None,
    # What was committed is acted upon: it must be on disk, whatever the server's default.
    "options": "-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 "
    "-c synchronous_commit=on",
}


class Uint256(TypeDecorator[int]):
    """An integer from 0 to 2^256 − 1, kept as 64 zero-padded lower-case hex digits (decision 56).

    The text sorts as the number does, so ORDER BY, comparisons, MIN and MAX are right; it is never summed in SQL.
    """

    impl = CHAR(64)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        """The column's text.

        Raises:
            ValueError: ``value`` does not fit 256 bits.
            TypeError: ``value`` is no integer.
        """
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"A Uint256 column takes an int, not {type(value).__name__}.")
        if not 0 <= value < _UINT256_LIMIT:
            raise ValueError(f"{value} does not fit an unsigned integer of 256 bits.")
        return f"{value:064x}"

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value, 16)


def open_engine(database: str | Path, *, page_bytes: int = _PAGE_BYTES) -> Engine:
    """An engine for a SQLite file (a path), for PostgreSQL (``postgresql://user@host/name``), or for any SQLAlchemy URL
    (``sqlite://`` is a database in memory).

    SQLite is opened with write-ahead log, foreign keys on, and a wait of 10 s for a lock. A transaction takes the write
    lock when it begins, so that it never fails half-way for want of it; one that only reads says so with
    ``engine.connect().execution_options(read_only=True)`` and then blocks nobody. Close with ``engine.dispose()``.

    ``page_bytes`` is the page of a SQLite file that is new (a power of two from 512 to 65,536): large ones suit whoever
    writes much at once and side by side. A file that is there keeps its own.

    Raises:
        UsageError: the URL cannot be understood, or its driver is not installed.
    """
    url = database if isinstance(database, str) and "://" in database else f"sqlite:///{Path(database).absolute()}"
    scheme, _, rest = url.partition("://")
    if scheme in ("postgres", "postgresql"):
        url = f"postgresql+psycopg://{rest}"
    in_memory = url in ("sqlite://", "sqlite:///:memory:")
    options: dict[str, Any] = {}
    if in_memory:
        # One connection for all threads, handed out to one at a time: each new connection would be a new database.
        options = {
            "poolclass": QueuePool,
            "pool_size": 1,
            "max_overflow": 0,
            "connect_args": {"check_same_thread": False},
        }
    elif url.startswith("postgresql+psycopg:"):
        options = {"connect_args": _POSTGRESQL}
    try:
        engine = create_engine(url, **options)
    except (ArgumentError, ImportError) as error:
        remedy = "Give a path for SQLite, or a URL whose driver is installed."
        if isinstance(error, ImportError) and "psycopg" in str(error):
            remedy = "PostgreSQL needs its driver: pip install 'fairgrid[postgres]'"
        raise UsageError(f"The database {without_password(url)} cannot be opened ({error}). {remedy}") from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, page_bytes)
    elif engine.dialect.name == "postgresql":
        _ask_idle_connections(engine)
    return engine


def open_migrated(database: str | Path, package: str, *, page_bytes: int = _PAGE_BYTES) -> Engine:
    """`open_engine`, then `migrate` to the newest revision of ``package``; nothing stays open if that fails.

    Raises:
        everything of the two.
    """
    engine = open_engine(database, page_bytes=page_bytes)
    try:
        migrate(engine, package)
    except BaseException:
        engine.dispose()
        raise
    return engine


def migrate(engine: Engine, package: str, *, revision: str = "head") -> None:
    """Bring the tables of ``package`` (for example ``fairgrid.pool.migrations``) to ``revision``, or to the newest.

    Safe to call at every start: nothing happens when the tables are new enough. The revisions are the package's
    modules.

    Raises:
        UsageError: the database was written by a newer release.
        ServiceUnavailable: the database server does not answer.
    """
    folder = Path(next(iter(_folders_of(package))))
    config = Config()
    config.set_main_option("script_location", _escaped(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", _escaped(folder))
    config.set_main_option("path_separator", "newline")
    with _transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            # Two processes that start at once: the second waits here, and then finds nothing to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        config.attributes["version_table"] = version_table(package)
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise UsageError(
                f"The database was written by another release of fairgrid ({error}). "
                f"Use that release, or a new database."
            ) from error


@contextlib.contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise ServiceUnavailable("database", without_password(engine.url), one_line(str(error.orig))) from error
    with connection, connection.begin():
        yield connection


def without_password(database: str | URL) -> str:
    """A database's URL as it may be shown and logged."""
    try:
        return make_url(database).render_as_string(hide_password=True)
    except ArgumentError:
        return re.sub(r"//[^@/]*@", "//***@", str(database))


def version_table(package: str) -> str:
    """Name of the table that remembers the revision of ``package``."""
    return package.removesuffix(".migrations").replace(".", "_") + "_revision"


def _folders_of(package: str) -> Iterable[str]:
    module = importlib.import_module(package)
    return list(module.__path__)


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def _prepare_sqlite(engine: Engine, page_bytes: int) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin transactions by itself, late and not before DDL: we begin them below.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        # This counts for a new file only, and before the journal is made.
        cursor.execute(f"PRAGMA page_size = {page_bytes}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        # Pages that many transactions touch reach the file once: a checkpoint comes every 32 MiB of log, not every 4.
        page = cursor.execute("PRAGMA page_size").fetchone()[0]
        cursor.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_BYTES // page}")
        cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _ask_idle_connections(engine: Engine) -> None:
    """Have a connection that was not used for a while asked whether it is there still, before it is given out."""
    dialect: Any = engine.dialect

    @event.listens_for(engine, "checkin")
    def on_checkin(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def on_checkout(connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        used_at = record.info.get(_USED_AT)
        if used_at is None or time.monotonic() - used_at < _TRUSTED_S:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            # The others were idle for as long: none of them is believed.
            raise InvalidatePoolError(one_line(str(error))) from error
