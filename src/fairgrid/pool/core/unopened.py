"""Runs that are settled in one transaction, `settleRun`: computed before they are opened, ended at the deal's cursor.

Only runs of trust 1, and only workers that can do it. The hub takes runs at its cursor and nowhere else, so they stand
in a line: a run is authorised when all before it are opened or over. One that cannot end so (it is audited, its result
cannot be had, its workers fail) is opened by the pool, `openRun`, and goes on like any other, with the same seals and
authorisations; and so is one that holds up those behind it for too long.
"""

from __future__ import annotations

from fairgrid.pool.core.book import Book
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.worker_state import WorkerState
from fairgrid.protocol.views import TaskStatus

__all__ = ["LINE_WAIT_S", "call_next", "displaced", "has_turn", "is_unopened", "plan", "review", "to_be_opened"]

LINE_WAIT_S = 20.0
"""So long a run that is ready waits for the one at the cursor, before that one is opened."""


def is_unopened(task: TaskState) -> bool:
    """Whether it is a run that the chain does not know."""
    return task.count > 0 and not task.is_rest and task.facts.status is TaskStatus.UNSET


def plan(book: Book, task: TaskState) -> None:
    """Decide whether a run that begins is computed before it is opened."""
    able, unable = _ready(book)
    idle = any(worker.free_slots > 0 for worker in able)
    wanted = book.policy.fast_path > 0 and task.deal.trust <= 1 and not task.parent and "openrun" not in task.steps
    # Nobody stands idle because others could do it in fewer transactions.
    task.planned = wanted and (not unable or idle or (bool(able) and not any(worker.free_slots for worker in unable)))
    task.in_line_since = 0.0
    book.touch(task)


def review(book: Book, task: TaskState) -> None:
    """Have a run opened that its workers do not bring to an end."""
    if not task.planned or not is_unopened(task):
        return
    if task.failures() >= book.policy.max_replicas_per_task:
        to_be_opened(book, task, "too many of its workers failed")
    elif task.phase is Phase.SEALING and not task.pending_weights():
        able, unable = _ready(book)
        if unable and not able:
            to_be_opened(book, task, "no worker is here that can")


def to_be_opened(book: Book, task: TaskState, why: str) -> None:
    """It goes on like any other run."""
    if task.planned:
        task.planned = False
        book.tell(task, f"It is not settled in one transaction: {why}.")


def has_turn(book: Book, task: TaskState) -> bool:
    """Whether the deal's cursor is at this run; if it waits for too long, the run that is there is opened."""
    head = _head(book, task.deal.deal_id)
    if head is None or head is task:
        task.in_line_since = 0.0
        return True
    if not task.in_line_since:
        task.in_line_since = book.now
        book.tell(task, "It is ready, and waits for the runs before it.")
    elif book.now >= task.in_line_since + LINE_WAIT_S and head.planned and not head.has(ReplicaPhase.AUTHORISED):
        to_be_opened(book, head, "those behind it are ready")
        book.restless[head.task_id] = None
    return False


def call_next(book: Book, deal_id: str) -> None:
    """Have the run looked at that is at the cursor now, if it waited for that."""
    head = _head(book, deal_id)
    if head is not None and head.in_line_since:
        head.in_line_since = 0.0
        book.touch(head)
        book.restless[head.task_id] = None


def displaced(book: Book, bag: Bag, run: str, first: int, count: int) -> list[TaskState]:
    """Runs that cannot be any more, because another, ``run``, was opened in their place; the bag begins them anew.

    Only an opening that comes too late leads to it: its run was settled just before.
    """
    waiting = [
        task
        for task in map(book.tasks.__getitem__, book.deals[bag.deal.deal_id].tasks)
        if is_unopened(task) and not task.is_final and task.task_id != run and not _is_being_opened(task)
    ]
    if not any(task.index < first + count and first < task.index + task.count for task in waiting):
        return []
    bag.begun = first + count - bag.first
    book.touch_bag(bag)
    return [task for task in waiting if first < task.index + task.count]


def _is_being_opened(task: TaskState) -> bool:
    step = task.steps.get("openrun")
    return step is not None and step.issued


def _head(book: Book, deal_id: str) -> TaskState | None:
    """The first run of a deal that the chain does not know yet."""
    record = book.deals.get(deal_id)
    runs = [book.tasks[task_id] for task_id in record.tasks] if record is not None else []
    waiting = [task for task in runs if is_unopened(task) and not task.is_final and task.phase is not Phase.ABANDONED]
    return min(waiting, key=lambda task: task.index, default=None)


def _ready(book: Book) -> tuple[list[WorkerState], list[WorkerState]]:
    """The workers that are here and can settle a run at once, and those that cannot."""
    ready = [worker for worker in book.workers.values() if worker.ready]
    return [worker for worker in ready if worker.settles], [worker for worker in ready if not worker.settles]
