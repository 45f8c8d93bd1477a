"""Pure: which calls are one task, and how a deal's tasks lie in files. A task has one price for any number of calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from typing import Final

from fairgrid.executors.calls import Call

__all__ = ["MAX_DEAL_TASKS", "Packing", "Pages", "Place", "Task", "deals_of", "halves", "lay_out", "pack"]

Task = tuple[Call, ...]

MAX_DEAL_TASKS: Final = 5_000
"""Tasks of one deal: more would not fit into a manifest."""


_LONGEST: Final = 10
"""Times the wanted length of a task."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How calls are put into tasks."""

    width: int = 8
    """At least so many tasks, if there are as many calls: that many machines work at once."""
    task_seconds: float = 30.0
    """About how long a task is to compute."""
    call_seconds: float = 0.5
    """What a call takes of which nobody said it."""
    task_bytes: int = 4 << 20
    """At most so many bytes of calls in a task, if it has more than one."""
    task_files_bytes: int = 256 << 20
    """At most so many bytes of files and large arguments for a task, if it has more than one call."""
    page_bytes: int = 1 << 20
    """Bytes of a file with calls, about."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the calls of a task lie: lines ``first`` and the next ones of a page."""

    page: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Pages:
    """The calls of a deal as files by name, and where each task's are."""

    files: dict[str, str]
    places: tuple[Place, ...]


def pack(calls: Sequence[Call], packing: Packing, *, most_tasks: int) -> tuple[Task, ...]:
    """Put calls into tasks, in their order; a call of a published app is one.

    No more than ``most_tasks`` are made to have many machines work at once.
    """
    tasks: list[Task] = []
    for (app, _, chunk), group in groupby(calls, key=_kind):
        some = list(group)
        if app:
            tasks += [(call,) for call in some]
        elif chunk:
            tasks += [tuple(some[start : start + chunk]) for start in range(0, len(some), chunk)]
        else:
            tasks += _by_cost(some, packing, most_tasks)
    return tuple(tasks)


def _kind(call: Call) -> tuple[str, int, int]:
    return (call.app, call.group, call.chunk) if call.chunk and not call.app else (call.app, 0, 0)


def _by_cost(calls: Sequence[Call], packing: Packing, most_tasks: int) -> Iterator[Task]:
    costs = [call.seconds or packing.call_seconds for call in calls]
    total = sum(costs)
    wanted = max(packing.width, ceil(total / packing.task_seconds))
    # Where money is short, tasks are longer than they should be, but not so long that none would end in time.
    count = min(wanted, len(calls), max(most_tasks, ceil(total / packing.task_seconds / _LONGEST), 1))
    task: list[Call] = []
    files: dict[str, int] = {}
    before, size, part = 0.0, 0, 0
    for call, cost in zip(calls, costs, strict=True):
        here = min(int((before + cost / 2) / total * count), count - 1)
        own = dict(zip(call.blobs, call.sizes, strict=False))
        too_large = size + len(call.line) > packing.task_bytes or (
            own and sum((files | own).values()) > packing.task_files_bytes
        )
        if task and (here != part or too_large):
            yield tuple(task)
            task, files, size = [], {}, 0
        part = here
        task.append(call)
        files |= own
        before, size = before + cost, size + len(call.line)
    if task:
        yield tuple(task)


def halves(task: Task) -> tuple[Task, ...]:
    """A task whose calls failed together, as two; a single call is not tried again."""
    if len(task) < 2:
        return ()
    middle = len(task) // 2
    return task[:middle], task[middle:]


def deals_of(tasks: Sequence[Task]) -> Iterator[tuple[Task, ...]]:
    """The tasks of each deal."""
    for start in range(0, len(tasks), MAX_DEAL_TASKS):
        yield tuple(tasks[start : start + MAX_DEAL_TASKS])


def lay_out(tasks: Sequence[Task], packing: Packing) -> Pages:
    """Write the calls of a deal's tasks into pages; no task lies in two."""
    files: dict[str, str] = {}
    places: list[Place] = []
    lines: list[str] = []
    size = 0
    for task in tasks:
        name = f"calls-{len(files)}.txt"
        places.append(Place(name, len(lines), len(task)))
        lines += [call.line for call in task]
        size += sum(len(call.line) for call in task)
        if size >= packing.page_bytes:
            files[name] = "\n".join(lines)
            lines, size = [], 0
    if lines:
        files[f"calls-{len(files)}.txt"] = "\n".join(lines)
    return Pages(files, tuple(places))
