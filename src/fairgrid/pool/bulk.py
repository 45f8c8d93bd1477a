"""Many rows in one statement, on SQLite and on PostgreSQL: the fastest plain way that each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

__all__ = ["BulkInsert"]


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
        self._statements: dict[str, str] = {}

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows; none is fine."""
        if not rows:
            return
        dialect = connection.dialect.name
        statement = self._statements.get(dialect)
        if statement is None:
            statement = self._statements[dialect] = self._statement(connection)
        if dialect == "postgresql":
            # One array for each column: a single statement and round trip, whatever the number of rows.
            connection.exec_driver_sql(statement, tuple(list(column) for column in zip(*rows, strict=True)))
        else:
            connection.exec_driver_sql(statement, list(rows))

    def _statement(self, connection: Connection) -> str:
        names = ", ".join(self._columns)
        if connection.dialect.name == "postgresql":
            types = [self._table.c[name].type.compile(connection.dialect) for name in self._columns]
            arrays = ", ".join(f"%s::{kind}[]" for kind in types)
            values = f"SELECT * FROM unnest({arrays})"
        else:
            values = f"VALUES ({', '.join('?' * len(self._columns))})"
        return f"INSERT INTO {self._table.name} ({names}) {values}{self._conflict}"
