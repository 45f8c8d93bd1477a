"""Jobs that read the results of other tasks: named before the signature, refused where they can never come."""

from __future__ import annotations

from fairgrid.chain.interface import Chain
from fairgrid.client.journal import Journal
from fairgrid.errors import ServiceRefused, UsageError
from fairgrid.pool.client import PoolClient
from fairgrid.protocol.hexes import ZERO_ADDRESS, is_hex32
from fairgrid.protocol.manifest import TaskRef
from fairgrid.protocol.views import TaskStatus

__all__ = ["check_dependency", "parse_dependency"]


def parse_dependency(text: str, journal: Journal) -> TaskRef:
    """Read ``NAME=TASK``: a whole task id, or the beginning of a deal's or task's id in the journal, or ``last``.

    Raises:
        UsageError: it is none of these, or names a deal of several tasks.
    """
    name, separator, wanted = text.partition("=")
    if not (separator and name and wanted):
        raise UsageError(f"--after {text!r} must be NAME=TASK: the folder for its result, and the task.")
    if is_hex32(wanted.lower()) and not any(wanted.lower() == record.deal_id for record in journal.all()):
        return TaskRef(name, wanted.lower())
    record = journal.find(wanted)
    named = [task_id for task_id in record.task_ids if task_id.startswith(wanted)]
    if len(record.task_ids) > 1 and len(named) != 1:
        raise UsageError(f"Deal {record.deal_id} has {len(record.task_ids)} tasks. Name one of them in --after.")
    return TaskRef(name, (named or record.task_ids)[0])


async def check_dependency(chain: Chain, pool: PoolClient, journal: Journal, reference: TaskRef) -> None:
    """Make sure that the result of a task may still come, and that a job can read it.

    Raises:
        UsageError: nobody knows the task, or it was refunded, or its result is private or goes to a contract.
    """
    task = await chain.view_task(reference.task)
    for record in journal.all():
        if record.private and (reference.task in record.task_ids or record.deal_id == task.deal_id):
            raise UsageError(
                f"The result of task {reference.task} is private: no worker of another job has its key. Nothing was "
                f"signed. Fetch it with `fairgrid result`, and give it as --input."
            )
    if task.status is TaskStatus.UNSET:
        if any(reference.task in record.task_ids for record in journal.all()):
            return
        try:
            await pool.task(reference.task)
        except ServiceRefused as error:
            raise UsageError(
                f"Nobody knows task {reference.task}, on which the job is to depend. Nothing was signed; check its id."
            ) from error
        return
    if task.status not in (TaskStatus.ACTIVE, TaskStatus.REVEALING, TaskStatus.COMPLETED):
        raise UsageError(
            f"Task {reference.task} is {task.status.name}: its result will never come. "
            f"Nothing was signed; run it again first."
        )
    deal = await chain.view_deal(task.deal_id)
    if deal is not None and deal.callback != ZERO_ADDRESS:
        raise UsageError(
            f"Task {reference.task} answers the contract {deal.callback}: no job can read its result. "
            f"Nothing was signed."
        )
