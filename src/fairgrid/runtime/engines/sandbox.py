"""A runtime whose jobs an engine runs elsewhere: to the worker it is a sandbox like any other."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from fairgrid.errors import HostFailure
from fairgrid.runtime.container.settings import DEFAULT_SETTINGS, ContainerSettings
from fairgrid.runtime.engines.cell_files import read_outcome, write_containers, write_job
from fairgrid.runtime.engines.interface import Cell, CellUse, Engine
from fairgrid.runtime.interface import Outcome, SandboxJob
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.wasm.provider import compile_allowance_s

__all__ = ["EngineSandbox"]

_log = structlog.get_logger(__name__)
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9-]")


class EngineSandbox:
    """Implements `Sandbox` for ``runtime_id`` on ``engine``; ``used`` is told what the engine says of each job."""

    def __init__(
        self,
        engine: Engine,
        runtime_id: str,
        *,
        used: Callable[[SandboxJob, CellUse], Awaitable[None]] | None = None,
        prefix: str = "fairgrid",
        containers: ContainerSettings = DEFAULT_SETTINGS,
    ) -> None:
        """``prefix`` begins the name of every cell: the engine's `sweep` knows a worker's cells by it."""
        self._engine = engine
        self._runtime_id = runtime_id
        self._used = used
        self._prefix = prefix
        self._containers = containers

    @property
    def runtime_id(self) -> str:
        """The runtime as it is on the engine's machines."""
        return self._runtime_id

    async def close(self) -> None:
        """Nothing is kept ready."""

    def suspend(self) -> bool:
        """False: an engine's machines are not this one, and its queue is not ours to stop."""
        return False

    def resume(self) -> None:
        """Nothing stands still."""

    async def run(self, job: SandboxJob) -> Outcome:
        """Run the job on a machine of the engine's.

        The cell writes into a folder of its own: one that was taken for lost and still runs cannot touch a later run.

        Raises:
            HostFailure: the engine could not, or lost it.
        """
        compile_s = await compile_allowance_s(self._runtime_id, job.script)
        name = self._name(job)
        folder = (job.output_folder.parent / f"cell-{name.rpartition('-')[2]}").resolve()
        output = folder / "out"
        await asyncio.to_thread(output.mkdir, parents=True)
        await asyncio.to_thread(write_job, folder, self._runtime_id, replace(job, output_folder=output))
        await asyncio.to_thread(write_containers, folder, self._containers)
        cell = Cell(
            name=name,
            folder=folder,
            wall_s=job.limits.wall_s,
            memory_bytes=job.limits.memory_bytes,
            cpus=job.limits.cpus,
            gpus=len(job.gpus),
            compile_s=compile_s,
        )
        try:
            use = await self._engine.run(cell)
            outcome = await asyncio.to_thread(read_outcome, folder)
            if outcome is None:
                raise HostFailure(
                    f"The job ran on {use.node or self._engine.name} ({self._engine.name} {use.engine_id}) and left no "
                    f"outcome: the machine was lost, or does not share the worker's folder. It can be run again."
                )
            await asyncio.to_thread(_bring_home, output, job.output_folder)
        finally:
            await asyncio.to_thread(remove_tree, folder)
        if self._used is not None:
            await self._used(job, use)
        _log.debug("a cell ended", engine=self._engine.name, number=use.engine_id, node=use.node, ran_s=use.ran_s)
        return outcome

    def _name(self, job: SandboxJob) -> str:
        task = _NOT_IN_NAMES.sub("", job.environment.get("IEXEC_TASK_ID", ""))[:12].lower() or "job"
        return f"{self._prefix}-{task}-{job.environment.get('IEXEC_TASK_INDEX', '0')}-{secrets.token_hex(3)}"


def _bring_home(source: Path, target: Path) -> None:
    remove_tree(target)
    os.replace(source, target)
