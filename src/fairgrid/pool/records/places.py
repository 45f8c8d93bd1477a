"""Finding a row by a random id without an index that every write would scatter over.

Ids are hashes: an index of a million of them is touched at another page by each new row. So what is indexed is a row's
``place``: its shelf (4,096 rows that were written one after the other) and the beginning of its id. New rows all lie in
the last shelf, a few pages. Who looks for an id asks each shelf, the newest first: some microseconds for each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

__all__ = ["ROWS_OF_SHELF", "TAG_BITS", "find", "place_of", "tag_of"]

ROWS_OF_SHELF = 4_096
TAG_BITS = 40
_PROBES = 10_000
"""Places that one statement asks for: SQLite takes 32,766 parameters."""


def tag_of(name: str) -> int:
    """The first 40 bits of a 0x-hex id, or of what begins with one; 0 for anything else."""
    try:
        return int(name[2:12], 16) if len(name) >= 12 else 0
    except ValueError:
        return 0


def place_of(number: int, name: str) -> int:
    """Where a row of this number and name lies."""
    return number // ROWS_OF_SHELF << TAG_BITS | tag_of(name)


def find(
    connection: Connection,
    table: sa.Table,
    names: Collection[str],
    *,
    columns: Iterable[sa.ColumnElement[Any]] = (),
    prefix: bool = False,
) -> list[Any]:
    """Rows of a table with ``number`` and ``place`` whose name is one of ``names``: the given columns, or all.

    The name is the ``key`` of a transaction, or a ``task_id``. ``prefix``: all keys that begin with a name and a slash.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return []
    name = table.c.key if "key" in table.c else table.c.task_id
    selected = sa.select(*(columns or table.c), name.label("found_name"))
    found: list[Any] = []
    missing = set(wanted)
    for shelves in _shelves(connection, table, len(wanted)):
        for start in range(0, len(wanted), _PROBES):
            part = [one for one in wanted[start : start + _PROBES] if one in missing]
            if not part:
                continue
            places = [shelf << TAG_BITS | tag_of(one) for shelf in shelves for one in part]
            for row in connection.execute(selected.where(table.c.place.in_(places))):
                if prefix:
                    if row.found_name.partition("/")[0] in missing:
                        found.append(row)
                elif row.found_name in missing:
                    missing.discard(row.found_name)
                    found.append(row)
        if not missing:
            break
    return found


def _shelves(connection: Connection, table: sa.Table, names: int) -> Iterator[range]:
    """The shelves that there are, the newest first, so many at once as one statement takes."""
    first, last = connection.execute(sa.select(sa.func.min(table.c.number), sa.func.max(table.c.number))).one()
    if last is None:
        return
    lowest, shelf = first // ROWS_OF_SHELF, last // ROWS_OF_SHELF
    # What is looked for is young as a rule.
    at_once, most = 2, max(_PROBES // names, 1)
    while shelf >= lowest:
        at_once = min(at_once, most)
        yield range(shelf, max(shelf - at_once, lowest - 1), -1)
        shelf -= at_once
        at_once *= 16
