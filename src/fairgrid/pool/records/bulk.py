"""Many rows in one statement, on SQLite and on PostgreSQL, and all statements of a transaction in one piece."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from fairgrid.pool.records.pipeline import Statement, commit_statements

__all__ = ["Batch", "BulkInsert", "written_at_once"]

_COUNTS = (200, 100, 50, 25, 10, 5, 2, 1)
"""Rows of one statement, which is prepared once for each count."""


class Batch:
    """What a transaction writes at its end. PostgreSQL gets it in one piece, other databases as it comes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kept: list[Statement] | None = [] if connection.dialect.name == "postgresql" else None
        self.numbered = self._kept is not None
        """Whether parameters are ``$1``, ``$2``, …; they are ``?`` otherwise."""

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Do this, now or with the commit: nothing that gives rows."""
        if self._kept is None:
            self._connection.exec_driver_sql(sql, tuple(values))
        else:
            self._kept.append((sql, values))

    def commit(self, handed: Callable[[], None]) -> None:
        """Do what was not done yet, and commit."""
        if self._kept is None:
            handed()
            self._connection.commit()
        else:
            commit_statements(self._connection, self._kept, handed=handed)


@contextmanager
def written_at_once(connection: Connection, *, handed: Callable[[], None] = lambda: None) -> Iterator[Batch]:
    """Commit what the block writes into the batch that it is given. Within it nothing may be read that it wrote, and
    after it the transaction is over.

    ``handed`` is told when the database, or its driver, has all, and only its word is missing that it is on the disk.

    Raises:
        DBAPIError: a statement, or the commit, failed; where the block ends, at the latest.
    """
    batch = Batch(connection)
    yield batch
    batch.commit(handed)


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
        self._statements: dict[tuple[bool, int], str] = {}

    def __call__(self, batch: Batch, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows; none is fine."""
        # Few statements of many rows: each is one turn of the database, and lets other threads go on once.
        place = 0
        for count in _COUNTS:
            while len(rows) - place >= count:
                values = tuple(itertools.chain.from_iterable(rows[place : place + count]))
                batch.run(self._statement(count, numbered=batch.numbered), values)
                place += count

    def _statement(self, count: int, *, numbered: bool) -> str:
        known = self._statements.get((numbered, count))
        if known is not None:
            return known
        names = ", ".join(self._columns)
        places = (f"${number}" if numbered else "?" for number in itertools.count(1))
        row = [f"({', '.join(itertools.islice(places, len(self._columns)))})" for _ in range(count)]
        made = f"INSERT INTO {self._table.name} ({names}) VALUES {', '.join(row)}{self._conflict}"
        self._statements[numbered, count] = made
        return made
