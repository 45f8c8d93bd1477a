"""Many rows in one statement, on SQLite and on PostgreSQL: the fastest plain way that each of them has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

__all__ = ["BulkInsert", "at_once"]

_COUNTS = (200, 100, 50, 25, 10, 5, 2, 1)
"""Rows of one statement on SQLite, which is prepared once for each count."""


@contextmanager
def at_once(connection: Connection) -> Iterator[None]:
    """Have PostgreSQL work on the statements of the block one after the other without waiting for each to be answered;
    other databases work as always. Nothing may be read within the block.

    Raises:
        DBAPIError: one of the statements failed; where the block ends, at the latest.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    try:
        with driver.pipeline():
            yield
    except connection.dialect.loaded_dbapi.Error as error:
        raise sa.exc.DBAPIError("a pipeline of statements", None, error) from error


class BulkInsert:
    """Inserts rows, given as tuples in the order of ``columns``.

    With ``key``, a row whose key is known changes the columns ``update`` instead (SQL expressions by column; None: all
    others as given), if ``where`` holds for the known row. Rows of one call must have different keys.
    """

    def __init__(
        self,
        table: sa.Table,
        columns: Sequence[str],
        *,
        key: str = "",
        update: dict[str, str] | None = None,
        where: str = "",
    ) -> None:
        self._table = table
        self._columns = tuple(columns)
        conflict = ""
        if key:
            changes = update or {name: f"excluded.{name}" for name in columns if name != key}
            told = ", ".join(f"{name} = {value}" for name, value in changes.items())
            conflict = f" ON CONFLICT ({key}) DO UPDATE SET {told}" + (f" WHERE {where}" if where else "")
        self._conflict = conflict
        self._statements: dict[tuple[str, int], str] = {}

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows; none is fine."""
        if not rows:
            return
        if connection.dialect.name == "postgresql":
            if len(rows) == 1:
                connection.exec_driver_sql(self._statement(connection, 1), tuple(rows[0]))
                return
            # One JSON text for all rows: a single round trip, and the server takes it apart.
            named = [dict(zip(self._columns, row, strict=True)) for row in rows]
            connection.exec_driver_sql(self._statement(connection, 0), (msgspec.json.encode(named).decode(),))
            return
        # Few statements of many rows: each lets other threads go on once, instead of once a row.
        place = 0
        for count in _COUNTS:
            while len(rows) - place >= count:
                values = tuple(itertools.chain.from_iterable(rows[place : place + count]))
                connection.exec_driver_sql(self._statement(connection, count), values)
                place += count

    def _statement(self, connection: Connection, count: int) -> str:
        dialect = connection.dialect.name
        known = self._statements.get((dialect, count))
        if known is not None:
            return known
        names = ", ".join(self._columns)
        if dialect == "postgresql" and not count:
            typed = [f"{name} {self._table.c[name].type.compile(connection.dialect)}" for name in self._columns]
            values = f"SELECT {names} FROM json_to_recordset(%s::json) AS given({', '.join(typed)})"
        else:
            place = "%s" if dialect == "postgresql" else "?"
            row = f"({', '.join([place] * len(self._columns))})"
            values = f"VALUES {', '.join([row] * count)}"
        made = f"INSERT INTO {self._table.name} ({names}) {values}{self._conflict}"
        self._statements[dialect, count] = made
        return made
