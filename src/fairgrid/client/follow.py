"""Waiting for a task: the chain decides, the pool only tells how far it is."""

from __future__ import annotations

from enum import StrEnum

from fairgrid.chain.interface import Chain
from fairgrid.client.journal import DealRecord
from fairgrid.client.progress import OnProgress, Phase, Progress, WorkerProgress
from fairgrid.errors import ServiceError, ServiceRefused, ServiceUnavailable, UsageError
from fairgrid.pool.client import PoolClient, TaskView
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.clock import Clock

__all__ = ["CHAIN_PATIENCE_S", "Ending", "follow_task"]

CHAIN_PATIENCE_S = 60.0
"""How long a chain that does not answer is waited for before giving up."""

_POLL_S = 0.5
_PHASES = {
    TaskStatus.UNSET: Phase.WAITING,
    TaskStatus.ACTIVE: Phase.COMPUTING,
    TaskStatus.REVEALING: Phase.REVEALING,
}


class Ending(StrEnum):
    """How waiting ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    OVERDUE = "overdue"
    """The final deadline has passed and nobody has claimed yet: the money can be taken back."""


async def follow_task(
    chain: Chain, pool: PoolClient, record: DealRecord, *, clock: Clock, on_progress: OnProgress
) -> Ending:
    """Poll until the task has ended.

    Raises:
        UsageError: the hub does not know the deal.
        ServiceUnavailable: the chain has been away for `CHAIN_PATIENCE_S`.
    """
    watch = _ChainWatch(clock)
    deadline: int | None = None
    while True:
        try:
            if deadline is None:
                deadline = await _final_deadline(chain, record.deal_id)
            task = await chain.view_task(record.task_ids[0])
            now = (await chain.head()).timestamp
        except ServiceUnavailable as error:
            watch.missed(error)
            on_progress(Progress(Phase.WAITING, "the chain does not answer; waiting for it"))
            await clock.sleep(_POLL_S)
            continue
        watch.answered()
        if task.status is TaskStatus.COMPLETED:
            return Ending.COMPLETED
        if task.status is TaskStatus.FAILED:
            return Ending.FAILED
        if now >= deadline:
            return Ending.OVERDUE
        on_progress(await _progress(pool, record.task_ids[0], task.status))
        await clock.sleep(_POLL_S)


async def _final_deadline(chain: Chain, deal_id: str) -> int:
    deal = await chain.view_deal(deal_id)
    if deal is None:
        raise UsageError(f"The hub does not know deal {deal_id}. Is this the right network?")
    return deal.start_time + 10 * (await chain.view_category(deal.category)).timeref


async def _progress(pool: PoolClient, task_id: str, status: TaskStatus) -> Progress:
    try:
        view: TaskView = await pool.task(task_id)
    except ServiceRefused:
        return Progress(_PHASES[status], "the pool has not seen the deal yet")
    except ServiceError:
        return Progress(_PHASES[status], "the pool does not answer; the deal stays on chain")
    workers = tuple(WorkerProgress(replica.worker, replica.phase) for replica in view.replicas)
    return Progress(_PHASES[status], view.phase, workers)


class _ChainWatch:
    """How long the chain has been silent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._silent_since: float | None = None

    def answered(self) -> None:
        self._silent_since = None

    def missed(self, error: ServiceUnavailable) -> None:
        """Raise ``error`` when patience is over."""
        if self._silent_since is None:
            self._silent_since = self._clock.now()
        elif self._clock.now() - self._silent_since > CHAIN_PATIENCE_S:
            raise error
