"""Stores what the worker's machine wants stored, before anything else of it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fairgrid.seams.clock import Clock
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.held import HeldTask
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.records.store import Finished, WorkerStore

__all__ = ["Recorder"]

_log = structlog.get_logger(__name__)


class Recorder:
    """``earned`` gives (and forgets) what a task brought, in nRLC; ``ended`` hears of every end, once for each task;
    ``waits`` hears why nothing can be stored."""

    def __init__(
        self,
        store: WorkerStore,
        machine: WorkerMachine,
        *,
        clock: Clock,
        retry_s: float,
        earned: Callable[[str], int | None],
        ended: Callable[[Finished], None],
        waits: Callable[[str], None],
    ) -> None:
        self._store = store
        self._machine = machine
        self._clock = clock
        self._retry_s = retry_s
        self._earned = earned
        self._ended = ended
        self._waits = waits
        self._ended_before: set[str] = set()

    async def store(self, instructions: Sequence[to_do.Instruction]) -> None:
        """Have all of it on disk when this returns; a database that cannot be written is waited for."""
        saves: list[HeldTask] = []
        forgets: list[Finished] = []
        retired: list[Finished] = []
        taken_up: list[str] = []
        dropped: list[str] = []
        for instruction in instructions:
            match instruction:
                case to_do.Save(held):
                    saves.append(held)
                case to_do.Forget(held, outcome):
                    forgets.append(self._finished(held, outcome))
                case to_do.Retire(held):
                    saves.append(held)
                    retired.append(self._finished(held, held.outcome))
                case to_do.TakeUp(held):
                    saves.append(held)
                    taken_up.append(held.task_id)
                case to_do.Drop(held):
                    dropped.append(held.task_id)
                case _:
                    pass
        if not saves and not forgets and not dropped:
            return

        def apply() -> None:
            if self._store.is_gone():
                # Only the machine knows now what stakes hang on.
                _log.error("the database was removed; what is held is written anew, the history is lost")
                self._store.recreate((*self._machine.held, *self._machine.kept))
            self._store.apply(saves, forgets, retired=retired, taken_up=taken_up, dropped=dropped)

        while True:
            try:
                await asyncio.to_thread(apply)
            except (SQLAlchemyError, OSError) as error:
                # Nothing is promised, sent or signed meanwhile: that comes after this.
                self._waits(
                    f"The worker's database cannot be written ({getattr(error, 'orig', None) or error}). Make room on "
                    f"the disk, or give back its folder: the worker promises nothing until then, and goes on by itself."
                )
                await self._clock.sleep(self._retry_s)
                continue
            for finished in (*retired, *forgets):
                if finished.task_id not in self._ended_before:
                    self._ended(finished)
            self._ended_before.difference_update(dropped, (finished.task_id for finished in forgets))
            self._ended_before.update(finished.task_id for finished in retired)
            return

    def _finished(self, held: HeldTask, outcome: str) -> Finished:
        return Finished(
            task_id=held.task_id,
            deal_id=held.deal_id,
            workerpool=held.workerpool,
            phase=held.phase,
            outcome=outcome,
            earned=self._earned(held.task_id),
            finished_at=self._clock.now(),
        )
