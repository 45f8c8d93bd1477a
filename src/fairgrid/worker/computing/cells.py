"""Takes down what an engine says of the worker's cells: for the task's story, the metrics and the accounts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fairgrid.runtime.engines.interface import CellUse
from fairgrid.runtime.interface import SandboxJob
from fairgrid.worker.records.cells import CellRecord, add_cell
from fairgrid.worker.records.store import WorkerStore

__all__ = ["CellBook"]

_log = structlog.get_logger(__name__)
_KEPT: Final = 4096


class CellBook:
    """One worker's cells on one engine."""

    def __init__(self, engine: str, tally: Counter[str]) -> None:
        """``tally`` counts what `fairgrid.worker.observability.meter` tells."""
        self._engine = engine
        self._tally = tally
        self._store: WorkerStore | None = None
        self._places: dict[str, str] = {}

    def keep_in(self, store: WorkerStore) -> None:
        """From now on records go there, too."""
        self._store = store

    async def used(self, job: SandboxJob, use: CellUse) -> None:
        """Take one cell down. A database that cannot be written does not cost the task its result."""
        task_id = job.environment.get("IEXEC_TASK_ID", "")
        self._tally["cells"] += 1
        self._tally["cell_queued_ms"] += round(use.queued_s * 1000)
        self._tally["cell_ran_ms"] += round(use.ran_s * 1000)
        self._places[task_id] = (
            f"on {use.node or 'an unnamed node'} ({self._engine} {use.engine_id}, waited {use.queued_s:.1f} s)"
        )
        if len(self._places) > _KEPT:
            del self._places[next(iter(self._places))]
        if self._store is None:
            return
        record = CellRecord(
            task_id=task_id,
            task_index=job.environment.get("IEXEC_TASK_INDEX", ""),
            engine=self._engine,
            engine_id=use.engine_id[:200],
            node=use.node[:200],
            cpus=job.limits.cpus,
            queued_s=use.queued_s,
            ran_s=use.ran_s,
            ended_at=time.time(),
        )
        try:
            await asyncio.to_thread(add_cell, self._store, record)
        except SQLAlchemyError as error:
            _log.warning("a cell is missing in the accounts", task=task_id, number=use.engine_id, reason=str(error))

    def where(self, task_id: str) -> str:
        """Where the task's last cell ran, for people; empty when it was not a cell."""
        return self._places.pop(task_id, "")
