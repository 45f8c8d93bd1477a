"""Cells as tasks of an existing Ray cluster. They end with the worker: Ray ends what its driver leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from typing import Any, Final

from fairgrid.errors import HostFailure, UsageError
from fairgrid.runtime.engines.interface import Cell, CellUse, Engine
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.runtime.engines.parcel import unpack_answer
from fairgrid.runtime.engines.remote_cell import RemoteAnswer, remote_cell, run_there

# Ray reads it when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
except ImportError as error:
    raise UsageError("The engine ray needs its package: pip install 'fairgrid[ray]'") from error

__all__ = ["RayEngine", "make_engine"]

_END_S: Final = 30.0
_KNOCK_S: Final = 10.0


class RayEngine:
    """Implements `Engine` on the cluster at ``options.address``. One in a process."""

    def __init__(self, options: EngineOptions, *, prefix: str) -> None:
        """Join the cluster. Blocking, for seconds.

        Raises:
            HostFailure: it does not answer, or is of another version of Ray or Python.
        """
        self._options = options
        self._running: dict[str, Any] = {}
        try:
            _knock(options.address)
            ray.init(
                address=options.address,
                namespace=prefix,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except Exception as error:
            raise HostFailure(
                f"The Ray cluster at {options.address} cannot be joined: {error}. Is it up, and are its Python and Ray "
                f"of the same versions as the worker's?"
            ) from error
        self._run_there = ray.remote(run_there)
        self._resources = {
            name.removeprefix("resources."): float(amount)
            for name, _, amount in (line.partition("=") for line in options.submit)
        }

    @property
    def name(self) -> str:
        """What people call it."""
        return "ray"

    async def run(self, cell: Cell) -> CellUse:
        """Have the cell run; see `Engine`."""
        asked = time.monotonic()
        travels = await asyncio.to_thread(remote_cell, cell, self._options)
        task = self._run_there.options(
            name=cell.name,
            num_cpus=cell.cpus,
            num_gpus=cell.gpus,
            memory=cell.memory_bytes + self._options.memory_overhead_bytes,
            max_retries=0,
            resources=self._resources or None,
        )
        reference = await asyncio.to_thread(task.remote, travels)
        self._running[cell.name] = reference
        try:
            limit = self._options.max_queue_minutes
            try:
                async with asyncio.timeout(limit * 60.0 + cell.limit_s if limit is not None else None):
                    answer: RemoteAnswer = await asyncio.wrap_future(reference.future())
            except TimeoutError:
                raise HostFailure(f"The cell (ray {cell.name}) waited longer than {limit} minutes.") from None
            except ray.exceptions.RayError as error:
                raise HostFailure(
                    f"The cell (ray {cell.name}) was lost: {type(error).__name__}: {_first_line(error)}. It can be run "
                    f"again."
                ) from error
        finally:
            await self._cancel(cell.name)
        if answer.failure:
            raise HostFailure(f"On {answer.node}: {answer.failure}")
        if answer.parcel:
            await asyncio.to_thread(unpack_answer, answer.parcel, cell.folder)
        queued_s = max(time.monotonic() - asked - answer.ran_s, 0.0)
        return CellUse(reference.task_id().hex(), answer.node, queued_s, answer.ran_s)

    async def _cancel(self, name: str) -> None:
        reference = self._running.pop(name, None)
        if reference is None:
            return
        await asyncio.to_thread(_end, reference)

    async def sweep(self) -> int:
        """None: Ray ends the tasks of a driver that is gone."""
        return 0

    async def close(self) -> None:
        """Leave the cluster; see `Engine`."""
        for name in list(self._running):
            await self._cancel(name)
        await asyncio.to_thread(ray.shutdown)


def _knock(address: str) -> None:
    """Ray itself would try for minutes where nobody listens."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()


def _end(reference: Any) -> None:
    """Ask the task to end; kill it when it does not."""
    done, _ = ray.wait([reference], timeout=0)
    if done:
        return
    for force in (False, True):
        with contextlib.suppress(Exception):
            ray.cancel(reference, force=force)
        done, _ = ray.wait([reference], timeout=_END_S)
        if done:
            return


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no message"


def make_engine(options: EngineOptions, *, prefix: str) -> Engine:
    """The engine; see `fairgrid.runtime.engines.opening`."""
    return RayEngine(options, prefix=prefix)
