"""A consistent copy of a service's tables while the service runs, and back again: SQLite as one file, PostgreSQL as a
file of COPY lines for each table. No external program is needed.

Every function blocks: call it from a thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from fairgrid.errors import ServiceUnavailable, UsageError, VerificationError
from fairgrid.seams.database import migrate, version_table, without_password
from fairgrid.seams.http import one_line

__all__ = ["DatabaseCopy", "Part", "check_copy", "copy_database", "load_copy", "refuse_used_database"]

_SQLITE_NAME: Final = "database.sqlite"


@dataclass(frozen=True, slots=True)
class Part:
    """A table of PostgreSQL, or the whole of SQLite (with an empty ``table``); ``columns`` in the file's order."""

    name: str
    table: str = ""
    columns: tuple[str, ...] = ()
    rows: int = 0


@dataclass(frozen=True, slots=True)
class DatabaseCopy:
    """What lies in a folder. ``rows`` counts those of each table."""

    dialect: str
    revision: str
    parts: tuple[Part, ...]
    rows: Mapping[str, int]


def copy_database(
    engine: Engine, folder: Path, *, package: str, prefix: str, transient: Collection[str] = ()
) -> DatabaseCopy:
    """Write the tables whose names begin with ``prefix`` into ``folder``, all of one moment; writers go on meanwhile.

    ``package`` names the migrations whose revision goes along; of ``transient`` tables no rows are taken.

    Raises:
        UsageError: there is no such database, or the service never ran on it.
        ServiceUnavailable: the database does not answer.
    """
    if engine.dialect.name == "sqlite":
        return _copy_sqlite(engine, folder, package=package, prefix=prefix)
    try:
        return _copy_postgresql(engine, folder, package=package, prefix=prefix, transient=transient)
    except OperationalError as error:
        raise ServiceUnavailable("database", without_password(engine.url), one_line(str(error.orig))) from error


def check_copy(copy: DatabaseCopy, folder: Path) -> None:
    """Make sure that the files in ``folder`` are whole: SQLite's own check, and every table's number of rows.

    Raises:
        VerificationError: they are not.
    """
    if copy.dialect == "sqlite":
        with _sqlite(folder / copy.parts[0].name) as database:
            found = database.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                raise VerificationError(f"The copy of the database is damaged: {found}.")
            counted = {table: _count_sqlite(database, table) for table in copy.rows}
    else:
        counted = {part.table: _lines(folder / part.name) for part in copy.parts}
    for table, rows in copy.rows.items():
        if counted.get(table) != rows:
            raise VerificationError(f"The copy has {counted.get(table)} rows of {table}, not {rows} as it says.")


def refuse_used_database(engine: Engine, *, prefix: str) -> None:
    """Make sure that nothing is overwritten: the tables of ``prefix`` must be empty or absent.

    Raises:
        UsageError: they are not.
        ServiceUnavailable: the database does not answer.
    """
    where = without_password(engine.url)
    try:
        with engine.connect() as connection:
            connection = connection.execution_options(read_only=True)
            for table in _tables(connection, prefix):
                if connection.execute(sa.select(sa.literal(1)).select_from(sa.table(table)).limit(1)).first():
                    raise UsageError(
                        f"The database {where} is in use: {table} has rows. Nothing was overwritten; name an empty one."
                    )
    except OperationalError as error:
        raise ServiceUnavailable("database", where, one_line(str(error.orig))) from error


def load_copy(copy: DatabaseCopy, folder: Path, engine: Engine, *, package: str, prefix: str) -> None:
    """Put a copy of PostgreSQL into an empty database, all or nothing, and bring it to this release's revision.

    Raises:
        UsageError: the database is in use, is no PostgreSQL, or the copy was made by a newer release.
        ServiceUnavailable: the database does not answer.
        VerificationError: a line cannot be loaded.
    """
    refuse_used_database(engine, prefix=prefix)
    migrate(engine, package, revision=copy.revision)
    try:
        with engine.begin() as connection:
            cursor = _driver(connection).cursor()
            for part in copy.parts:
                columns = ", ".join(_quoted(column) for column in part.columns)
                with (
                    (folder / part.name).open("rb") as file,
                    cursor.copy(f"COPY {_quoted(part.table)} ({columns}) FROM STDIN") as lines,
                ):
                    while data := file.read(1 << 20):
                        lines.write(data)
                _raise_sequences(connection, part)
    except OperationalError as error:
        raise ServiceUnavailable("database", without_password(engine.url), one_line(str(error.orig))) from error
    except Exception as error:
        if isinstance(error, DBAPIError) or type(error).__module__.startswith("psycopg"):
            raise VerificationError(
                f"The copy cannot be loaded: {one_line(str(error))}. Nothing was loaded."
            ) from error
        raise
    migrate(engine, package)


# --- SQLite ----------------------------------------------------------------------------------------------------------


def _copy_sqlite(engine: Engine, folder: Path, *, package: str, prefix: str) -> DatabaseCopy:
    source_path = Path(engine.url.database or "")
    if not source_path.is_file():
        raise UsageError(f"There is no database at {source_path}. Name the folder or the database of one that ran.")
    target_path = folder / _SQLITE_NAME
    with _sqlite(source_path) as source, _sqlite(target_path) as target:
        try:
            # In one step: a reader of a write-ahead log blocks nobody, while one that goes step by step begins anew
            # whenever the service writes.
            source.backup(target, pages=-1)
        except sqlite3.DatabaseError as error:
            raise UsageError(f"The database {source_path} cannot be read ({error}).") from error
        target.execute("PRAGMA journal_mode = DELETE")
        names = [
            name
            for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            if name.startswith(prefix)
        ]
        revision = _revision_sqlite(target, package, source_path)
        rows = {name: _count_sqlite(target, name) for name in names}
    target_path.chmod(0o600)
    return DatabaseCopy("sqlite", revision, (Part(_SQLITE_NAME),), rows)


class _sqlite:
    """A connection that is closed in the end, which the driver's own context manager does not do."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _revision_sqlite(database: sqlite3.Connection, package: str, path: Path) -> str:
    try:
        row = database.execute(f"SELECT version_num FROM {_quoted(version_table(package))}").fetchone()
    except sqlite3.OperationalError:
        row = None
    if row is None:
        raise UsageError(f"The database {path} is not one of {package.removesuffix('.migrations')}.")
    return str(row[0])


def _count_sqlite(database: sqlite3.Connection, table: str) -> int:
    try:
        return int(database.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0])
    except sqlite3.DatabaseError as error:
        raise VerificationError(f"The copy of the database is damaged ({table}: {error}).") from error


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def _copy_postgresql(
    engine: Engine, folder: Path, *, package: str, prefix: str, transient: Collection[str]
) -> DatabaseCopy:
    with engine.connect() as plain:
        connection = plain.execution_options(isolation_level="REPEATABLE READ", read_only=True)
        with connection.begin():
            tables = _tables(connection, prefix)
            version = version_table(package)
            if not tables or not sa.inspect(connection).has_table(version):
                raise UsageError(f"There is nothing of {package.removesuffix('.migrations')} in this database.")
            revision: str = connection.execute(
                sa.select(sa.column("version_num")).select_from(sa.table(version))
            ).scalar_one()
            parts = []
            cursor = _driver(connection).cursor()
            for table in tables:
                name = f"{table}.copy"
                columns = tuple(column["name"] for column in sa.inspect(connection).get_columns(table))
                listed = ", ".join(_quoted(column) for column in columns)
                path = folder / name
                with path.open("wb") as file:
                    if table not in transient:
                        with cursor.copy(f"COPY {_quoted(table)} ({listed}) TO STDOUT") as lines:
                            for data in lines:
                                file.write(data)
                path.chmod(0o600)
                parts.append(Part(name, table, columns, _lines(path)))
    return DatabaseCopy("postgresql", revision, tuple(parts), {part.table: part.rows for part in parts})


def _tables(connection: Connection, prefix: str) -> list[str]:
    """The tables of ``prefix``, those that others refer to first."""
    metadata = sa.MetaData()
    metadata.reflect(connection, only=lambda name, _: name.startswith(prefix))
    return [table.name for table in metadata.sorted_tables]


def _raise_sequences(connection: Connection, part: Part) -> None:
    """Numbers that the database gives out go on after the highest that was loaded."""
    for column in part.columns:
        sequence = connection.execute(
            sa.select(sa.func.pg_get_serial_sequence(_quoted(part.table), column))
        ).scalar_one_or_none()
        if sequence is not None:
            highest = sa.select(sa.func.max(sa.column(column))).select_from(sa.table(part.table)).scalar_subquery()
            connection.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(highest, 1))))


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _lines(path: Path) -> int:
    # COPY writes a row a line; line ends inside of values are escaped.
    with path.open("rb") as file:
        return sum(data.count(b"\n") for data in iter(lambda: file.read(1 << 20), b""))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
