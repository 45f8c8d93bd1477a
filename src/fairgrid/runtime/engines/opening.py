"""Opens the engine that the owner's options name."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Final, cast

import structlog

from fairgrid.errors import UsageError
from fairgrid.runtime.engines.interface import Engine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions, SlurmMode
from fairgrid.runtime.engines.queue_engine import CellQueue, QueueEngine

__all__ = ["opened_engine"]

_log = structlog.get_logger(__name__)
_ENGINES: Final = {
    EngineKind.RAY: "fairgrid.runtime.engines.ray_engine",
    EngineKind.DASK: "fairgrid.runtime.engines.dask_engine",
}
_QUEUES: Final = {
    EngineKind.HTCONDOR: "fairgrid.runtime.engines.htcondor_queue",
    EngineKind.KUBERNETES: "fairgrid.runtime.engines.kubernetes_queue",
}
"""Imported late: each needs an extra of the package."""


@asynccontextmanager
async def opened_engine(options: EngineOptions, folder: Path, *, prefix: str) -> AsyncIterator[Engine]:
    """The engine, rid of what a killed worker left in it; all its cells are ended when the block ends.

    ``folder`` is the engine's own, made anew, on the file system that the nodes share. ``prefix`` (of
    ``[a-z0-9-]``) begins the name of every cell of this worker, and of no other's.

    Raises:
        UsageError: a package that the engine needs is not installed.
        HostFailure: the engine cannot be reached.
    """
    folder = folder.resolve()
    if not str(folder).isprintable():
        raise UsageError(f"The folder {str(folder)!r} has a name that no engine can be told. Use another.")
    engine = await _made(options, folder, prefix)
    try:
        left = await engine.sweep()
        if left:
            _log.warning("ended what a worker of before left", engine=engine.name, count=left)
        await asyncio.to_thread(_make_anew, folder)
        yield engine
    finally:
        await engine.close()


async def _made(options: EngineOptions, folder: Path, prefix: str) -> Engine:
    python = options.python or sys.executable
    name = _ENGINES.get(options.kind)
    if name is not None:
        make = cast("Callable[..., Engine]", (await asyncio.to_thread(import_module, name)).make_engine)
        return await asyncio.to_thread(make, options, prefix=prefix)
    return QueueEngine(
        await asyncio.to_thread(_queue, options, folder, prefix, python),
        poll_s=options.poll_s,
        max_queue_s=options.max_queue_minutes * 60.0 if options.max_queue_minutes is not None else None,
    )


def _queue(options: EngineOptions, folder: Path, prefix: str, python: str) -> CellQueue:
    if options.kind is EngineKind.SLURM:
        from fairgrid.runtime.engines.slurm_allocation import SlurmAllocation
        from fairgrid.runtime.engines.slurm_jobs import SlurmJobs

        if options.mode is SlurmMode.JOBS:
            return SlurmJobs(options, folder, prefix=prefix, python=python)
        return SlurmAllocation(options, folder, prefix=prefix, python=python)
    make = cast("Callable[..., CellQueue]", import_module(_QUEUES[options.kind]).make_queue)
    return make(options, prefix=prefix, python=python)


def _make_anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
