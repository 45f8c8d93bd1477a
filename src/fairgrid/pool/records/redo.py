"""The record of changed tasks that a commit leaves, from which their rows can be made again after a crash.

A task's row is written when the task is over, or some seconds after it changed; until then each commit only leaves what
changed, packed into one row of its own: one write for hundreds of tasks. What was not written into rows when a process
ended is read from these records when the next one begins, in order, and the last word of each task counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.task_state import StoryLine
from fairgrid.pool.records import documents
from fairgrid.pool.records.rows import TaskRow

__all__ = ["Remembered", "pack_redo", "replayed"]


class _Entry(msgspec.Struct, array_like=True):
    deal: int
    """Which of the record's deals is its own."""
    task: msgspec.Raw
    number: int
    """Of the first of ``lines`` in the task's story."""
    lines: list[tuple[float, str, str]]


class _Redo(msgspec.Struct, array_like=True):
    fields: tuple[str, ...]
    """Names of a task's values, by the release that wrote them."""
    deals: list[DealTerms]
    tasks: list[_Entry]
    written: list[str]
    """Tasks whose rows were written with this commit: what was remembered of them before is done."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Redo)


def pack_redo(tasks: Iterable[TaskRow], written: Iterable[str]) -> str:
    """The record of one commit: ``tasks`` changed, and the rows of ``written`` are as they should be."""
    places: dict[int, int] = {}
    deals: list[DealTerms] = []
    entries = []
    for row in tasks:
        place = places.get(id(row.deal))
        if place is None:
            place = places[id(row.deal)] = len(deals)
            deals.append(row.deal)
        told = len(row.story) - row.fresh
        lines = [(line.at, line.text, line.worker) for line in row.story[told:]]
        entries.append(_Entry(place, msgspec.Raw(row.record), told + 1, lines))
    return _encoder.encode(_Redo(documents.TASK_FIELDS, deals, entries, list(written))).decode()


@dataclass(slots=True)
class Remembered:
    """What is remembered of a task whose row is behind: its last document, and its story from line ``number``."""

    task_id: str
    document: str
    number: int
    lines: list[StoryLine] = field(default_factory=list)


def replayed(records: Iterable[str]) -> Sequence[Remembered]:
    """What the records in order say of tasks whose rows are behind, the first that changed first."""
    found: dict[str, Remembered] = {}
    for record in records:
        redo = _decoder.decode(record)
        for task_id in redo.written:
            found.pop(task_id, None)
        for entry in redo.tasks:
            document = documents.unpack_task(redo.fields, bytes(entry.task), redo.deals[entry.deal])
            task_id = documents.read_task(document).task_id
            known = found.get(task_id)
            if known is None:
                known = found[task_id] = Remembered(task_id, document, entry.number)
            known.document = document
            # A line that comes twice is the same line.
            del known.lines[max(entry.number - known.number, 0) :]
            first = known.number + len(known.lines)
            known.lines += [
                StoryLine(task_id, number, at, text, worker)
                for number, (at, text, worker) in enumerate(entry.lines, start=first)
            ]
    return tuple(found.values())
