"""Keeps tasks on disk: a row when a task is over, or some seconds after it changed; before that, a redo record.

A row is dear and a record is cheap: so a task that a hundred commits touch within two seconds costs one row.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from fairgrid.pool.records import documents, schema
from fairgrid.pool.records.bulk import Batch, BulkInsert, written_at_once
from fairgrid.pool.records.places import find, place_of
from fairgrid.pool.records.redo import pack_redo, replayed
from fairgrid.pool.records.rows import TaskRow

__all__ = ["ROWS_BESIDE", "ROW_AFTER_S", "Behind", "TaskKeeper"]

ROW_AFTER_S = 2.0
"""The row of a task that goes on changing is written so many seconds after it changed first."""
ROWS_BESIDE = 200
"""So many of these rows are written with one commit at most."""
_DEALS_REMEMBERED = 10_000

_write_tasks = BulkInsert(
    schema.tasks,
    (
        "number",
        "place",
        "task_id",
        "deal_id",
        "task_index",
        "phase",
        "settled",
        "created_at",
        "updated_at",
        "document",
        "story",
    ),
    key="number",
    update={name: f"excluded.{name}" for name in ("phase", "settled", "updated_at", "document", "story")},
)
_write_redo = BulkInsert(schema.redo, ("number", "document"))


@dataclass(slots=True)
class Behind:
    """A task whose row is behind since the record ``since``, which was written ``at`` (local time)."""

    since: int
    at: float
    row: TaskRow
    number: int
    """Of its row; 0: it has none yet."""


class TaskKeeper:
    """Writes tasks within the transactions of whoever holds it, one at a time; others may read `behind` meanwhile."""

    def __init__(self) -> None:
        self.behind: dict[str, Behind] = {}
        """Tasks whose rows are behind, the longest first; read only."""
        self._last_number: int | None = None
        self._last_record: int | None = None
        self._first_record = 0
        self._numbers: dict[str, int] = {}
        self._found: dict[str, int] = {}
        self._highest: OrderedDict[str, str] = OrderedDict()
        self._done: list[str] = []
        self._left: list[TaskRow] = []
        self._left_in = 0
        self._left_at = 0.0

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Goes around one transaction: what `keep` did within it counts when the block is left without an error."""
        try:
            yield
        except BaseException:
            # Numbers that were given out are not taken.
            self._last_number = self._last_record = None
            self._first_record = -1
            self._numbers.clear()
            self._highest.clear()
            raise
        else:
            for task_id in self._done:
                del self.behind[task_id]
            for row in self._left:
                known = self.behind.get(row.task_id)
                if known is None:
                    number = self._numbers.get(row.task_id) or self._found.get(row.task_id, 0)
                    self.behind[row.task_id] = Behind(self._left_in, self._left_at, row, number)
                else:
                    known.row = row
        finally:
            self._done, self._left, self._found = [], [], {}

    def known(self, numbers: Mapping[str, int]) -> None:
        """The numbers of the rows of tasks that are not over, as they were read."""
        self._numbers.update(numbers)

    def prepare(self, connection: Connection, changed: Mapping[str, TaskRow]) -> list[str]:
        """Read what `keep` must know, if it is not known; gives those that changed of which there was no row ever."""
        if self._last_number is None:
            self._last_number = connection.execute(sa.select(sa.func.max(schema.tasks.c.number))).scalar_one() or 0
        if self._last_record is None:
            self._last_record = connection.execute(sa.select(sa.func.max(schema.redo.c.number))).scalar_one() or 0
        unknown = [
            row for task_id, row in changed.items() if task_id not in self.behind and task_id not in self._numbers
        ]
        born, sought = self._sorted_out(connection, unknown)
        tasks = schema.tasks.c
        for found in find(connection, schema.tasks, sought, columns=(tasks.number, tasks.task_id)):
            self._found[found.task_id] = found.number
        return born

    def _sorted_out(self, connection: Connection, unknown: Collection[TaskRow]) -> tuple[list[str], list[str]]:
        """Those that never had a row, and those that must be looked for.

        A task is new if all of its story is, and if its index is higher than any of its deal so far.
        """
        new = [row for row in unknown if row.fresh == len(row.story)]
        strange = {row.deal.deal_id for row in new} - self._highest.keys()
        if strange:
            tasks = schema.tasks.c
            highest = sa.select(tasks.deal_id, sa.func.max(tasks.task_index).label("highest")).group_by(tasks.deal_id)
            rows = connection.execute(highest.where(tasks.deal_id.in_(strange))).all()
            self._highest.update(dict.fromkeys(strange, ""))
            self._highest.update((row.deal_id, f"{row.highest:064x}") for row in rows)
        born = []
        for row in new:
            index, deal_id = f"{row.index:064x}", row.deal.deal_id
            if index > self._highest[deal_id]:
                self._highest[deal_id] = index
                born.append(row.task_id)
        while len(self._highest) > _DEALS_REMEMBERED:
            self._highest.popitem(last=False)
        certain = set(born)
        return born, [row.task_id for row in unknown if row.task_id not in certain]

    def keep(self, batch: Batch, changed: Mapping[str, TaskRow], at: float, *, before: float, most: int) -> None:
        """Write rows of tasks that are over, and of up to ``most`` others that are behind since ``before``; of all
        other tasks that changed leave a record. Once in a transaction, after `prepare`.
        """
        due = {task_id: row for task_id, row in changed.items() if row.settled}
        for task_id, behind in itertools.islice(self.behind.items(), most):
            if behind.at > before:
                break
            due[task_id] = changed.get(task_id, behind.row)
        self._write_rows(batch, due.values(), at)
        self._done = [task_id for task_id in due if task_id in self.behind]
        self._left = [row for task_id, row in changed.items() if task_id not in due] if due else list(changed.values())
        self._left_at = at
        others = len(self.behind) > len(self._done)
        if self._left or (self._done and others):
            assert self._last_record is not None
            self._left_in = self._last_record = self._last_record + 1
            _write_redo(batch, [(self._left_in, pack_redo(self._left, self._done))])
        self._forget_records(batch, due)

    def _forget_records(self, batch: Batch, due: Collection[str]) -> None:
        """Delete the records that no row needs any more."""
        first = next((behind.since for task_id, behind in self.behind.items() if task_id not in due), 0)
        if not first and self._left:
            first = self._left_in
        if first != self._first_record:
            if first:
                batch.run(f"DELETE FROM {schema.redo.name} WHERE number < {'$1' if batch.numbered else '?'}", (first,))
            else:
                batch.run(f"DELETE FROM {schema.redo.name}")
            self._first_record = first

    def _write_rows(self, batch: Batch, rows: Collection[TaskRow], at: float) -> None:
        if not rows:
            return
        assert self._last_number is not None
        numbered = []
        for row in rows:
            # One that has a row already keeps its number.
            known = self.behind.get(row.task_id)
            number = known.number if known is not None else 0
            number = number or self._numbers.get(row.task_id) or self._found.get(row.task_id, 0)
            if not number:
                number = self._last_number = self._last_number + 1
            if row.settled:
                self._numbers.pop(row.task_id, None)
            else:
                self._numbers[row.task_id] = number
            numbered.append((number, row))
        _write_tasks(
            batch,
            [
                (
                    number,
                    place_of(number, row.task_id),
                    row.task_id,
                    row.deal.deal_id,
                    f"{row.index:064x}",
                    row.phase,
                    row.settled,
                    row.created_at,
                    at,
                    row.told(),
                    documents.write_story(row.story),
                )
                for number, row in numbered
            ],
        )

    def recover(self, connection: Connection) -> None:
        """Write the rows that the records of an earlier process say more of, delete these, and commit."""
        self.behind, self._last_number, self._last_record, self._first_record = {}, None, None, 0
        self._numbers.clear()
        self._highest.clear()
        records = connection.execute(sa.select(schema.redo.c.document).order_by(schema.redo.c.number)).scalars()
        rows = []
        remembered = replayed(records.all())
        columns = (schema.tasks.c.number, schema.tasks.c.task_id, schema.tasks.c.story)
        stored = find(connection, schema.tasks, [item.task_id for item in remembered], columns=columns)
        self._found = {row.task_id: row.number for row in stored}
        stories = {row.task_id: row.story for row in stored}
        for item in remembered:
            state = documents.read_task(item.document)
            before = documents.read_story(item.task_id, stories.get(item.task_id, "[]"))
            state.story.extend([*before[: item.number - 1], *item.lines])
            rows.append(TaskRow.of(state))
        if rows:
            self.prepare(connection, {})
        with written_at_once(connection) as batch:
            if rows:
                at = max(row.story[-1].at if row.story else row.created_at for row in rows)
                self._write_rows(batch, rows, at)
            batch.run(f"DELETE FROM {schema.redo.name}")
        self._found = {}
