"""A runtime whose jobs an engine runs elsewhere: to the worker it is a sandbox like any other."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
from collections.abc import Callable
from typing import Final

import structlog

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.cell_files import read_outcome, write_job
from fairgrid.runtime.engines.interface import Cell, CellUse, Engine
from fairgrid.runtime.interface import Outcome, SandboxJob

__all__ = ["EngineSandbox"]

_log = structlog.get_logger(__name__)
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9-]")


class EngineSandbox:
    """Implements `Sandbox` for ``runtime_id`` on ``engine``; ``used`` is told what the engine says of each job."""

    def __init__(
        self, engine: Engine, runtime_id: str, *, used: Callable[[SandboxJob, CellUse], None] | None = None
    ) -> None:
        self._engine = engine
        self._runtime_id = runtime_id
        self._used = used
        self._numbers = itertools.count(1)

    @property
    def runtime_id(self) -> str:
        """The runtime as it is on the engine's machines."""
        return self._runtime_id

    def suspend(self) -> bool:
        """False: an engine's machines are not this one, and its queue is not ours to stop."""
        return False

    def resume(self) -> None:
        """Nothing stands still."""

    async def run(self, job: SandboxJob) -> Outcome:
        """Run the job on a machine of the engine's.

        Raises:
            HostFailure: the engine could not, or lost it.
        """
        folder = job.output_folder.parent / "cell"
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await asyncio.to_thread(write_job, folder, self._runtime_id, job)
        cell = Cell(
            name=self._name(job),
            folder=folder.resolve(),
            wall_s=job.limits.wall_s,
            memory_bytes=job.limits.memory_bytes,
            cpus=job.limits.cpus,
            gpus=len(job.gpus),
        )
        try:
            use = await self._engine.run(cell)
            outcome = await asyncio.to_thread(read_outcome, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        if outcome is None:
            raise HostFailure(
                f"The job ran on {use.node or self._engine.name} ({self._engine.name} {use.engine_id}) and left no "
                f"outcome: the machine was lost, or does not share the worker's folder. It can be run again."
            )
        if self._used is not None:
            self._used(job, use)
        _log.debug("a cell ended", engine=self._engine.name, number=use.engine_id, node=use.node, ran_s=use.ran_s)
        return outcome

    def _name(self, job: SandboxJob) -> str:
        task = _NOT_IN_NAMES.sub("", job.environment.get("IEXEC_TASK_ID", ""))[:12] or "job"
        return f"fairgrid-{task}-{job.environment.get('IEXEC_TASK_INDEX', '0')}-{next(self._numbers)}"
