"""Slurm, one long allocation that hosts many cells: a cell is a step there, started in milliseconds.

An allocation is asked for when cells wait and none lives; what it cannot finish before it ends waits for the next.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.dispatcher import Orders
from fairgrid.runtime.engines.interface import Cell
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.runtime.engines.queue_engine import Seen, SeenState
from fairgrid.runtime.engines.slurm_commands import (
    SlurmJob,
    cancel,
    common_lines,
    end_all,
    find_slurm,
    limits_of,
    list_jobs,
    seen_of,
    slurm_command,
)
from fairgrid.runtime.engines.spool import Order, Spool

__all__ = ["SlurmAllocation"]

_log = structlog.get_logger(__name__)
_SILENCE_S: Final = 300.0
_ROOM_S: Final = 60.0
"""What an allocation cannot use: its start and its end."""


class SlurmAllocation:
    """Implements `CellQueue`. The spool is in ``folder``, which the nodes see."""

    def __init__(self, options: EngineOptions, folder: Path, *, prefix: str, python: str) -> None:
        """``prefix`` begins the name of every job.

        Raises:
            HostFailure: Slurm's commands are not on this machine.
        """
        find_slurm()
        self._options = options
        self._folder = folder / "spool"
        self._prefix = prefix
        self._python = python
        self._spool: Spool | None = None
        self._allocation = ""
        self._numbers = itertools.count(1)
        self._one_at_a_time = asyncio.Lock()
        self._looked_at: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What people call it."""
        return "slurm"

    def refusal(self, cell: Cell) -> str | None:
        """Why a cell fits into no allocation; None when it does."""
        options = self._options
        _, memory_mb, cpus, gpus = limits_of(cell, options)
        slot_mb = options.allocation_slot_memory_bytes >> 20
        if gpus:
            return "it asks for a graphics processor, and the allocation has none: use mode = 'jobs'"
        if cpus > options.allocation_slot_cpus:
            return f"it asks for {cpus} processors, and a slot has {options.allocation_slot_cpus}"
        if memory_mb > slot_mb:
            return f"it asks for {memory_mb} MiB with overhead, and a slot has {slot_mb} MiB"
        if cell.least_s + _ROOM_S > options.allocation_minutes * 60:
            return f"it may run for {cell.wall_s:.0f} s, and an allocation lives {options.allocation_minutes} minutes"
        return None

    async def submit(self, cells: Sequence[Cell]) -> list[str]:
        """Lay them into the spool; see `CellQueue`."""
        spool = await self._opened()
        ids = [f"{next(self._numbers):08d}-{cell.name}" for cell in cells]
        try:
            for engine_id, cell in zip(ids, cells, strict=True):
                order = Order(str(cell.folder), cell.least_s, cell.compile_s or None)
                await asyncio.to_thread(spool.order, engine_id, order)
            await self._ensure(spool)
        except (HostFailure, OSError) as error:
            for engine_id in ids:
                await asyncio.to_thread(spool.refuse, engine_id)
            raise HostFailure(str(error)) from error
        return ids

    async def look(self, cells: Mapping[str, Cell]) -> Mapping[str, Seen]:
        """One ``squeue``, and a look into the spool; see `CellQueue`."""
        spool = await self._opened()
        await asyncio.to_thread(spool.beat, next(self._numbers))
        jobs = {job.job_id: job for job in await list_jobs(self._prefix)}
        seen = await asyncio.to_thread(self._seen, spool, jobs, list(cells))
        for engine_id in self._looked_at - cells.keys():
            if await asyncio.to_thread(spool.finished, engine_id) is not None:
                await asyncio.to_thread(spool.forget, engine_id)
        self._looked_at = frozenset(cells)
        if any(one.state is SeenState.WAITING for one in seen.values()):
            await self._ensure(spool, jobs)
        return seen

    def _seen(self, spool: Spool, jobs: Mapping[str, SlurmJob], ids: Sequence[str]) -> dict[str, Seen]:
        mine = jobs.get(self._allocation)
        waits = f"allocation {self._allocation}: {mine.reason}" if mine is not None and not mine.is_over else "no nodes"
        seen = {}
        for engine_id in ids:
            ended, allocation = spool.finished(engine_id), spool.runs_in(engine_id)
            if ended is not None:
                state = SeenState.LOST if ended else SeenState.ENDED
                seen[engine_id] = Seen(state, mine.nodes if mine is not None else "", ended)
            elif allocation is None:
                seen[engine_id] = Seen(SeenState.WAITING, text=waits)
            else:
                job = jobs.get(allocation)
                if job is None or job.is_over:
                    why = seen_of(job).text if job is not None else "its allocation is gone"
                    seen[engine_id] = Seen(SeenState.LOST, job.nodes if job is not None else "", why or "it ended")
                else:
                    seen[engine_id] = Seen(SeenState.RUNNING, job.nodes)
        return seen

    async def _ensure(self, spool: Spool, jobs: Mapping[str, SlurmJob] | None = None) -> None:
        """Ask for an allocation when there is none."""
        async with self._one_at_a_time:
            if self._allocation:
                known = jobs if jobs is not None else {job.job_id: job for job in await list_jobs(self._prefix)}
                job = known.get(self._allocation)
                if job is not None and not job.is_over:
                    return
            options = self._options
            memory_mb = math.ceil((options.allocation_slot_memory_bytes >> 20) / options.allocation_slot_cpus)
            Orders(
                python=self._python,
                slots=options.allocation_slots,
                cpus=options.allocation_slot_cpus,
                memory_mb_per_cpu=memory_mb,
                lives_s=options.allocation_minutes * 60.0 - _ROOM_S / 2,
                idle_s=float(options.allocation_idle_s),
                silence_s=_SILENCE_S,
                poll_s=min(options.poll_s, 1.0),
            ).save(spool.folder)
            words = (self._python, "-m", "fairgrid.runtime.engines.dispatcher", str(spool.folder))
            said = await slurm_command(
                "sbatch",
                *common_lines(options),
                *(f"--job-name={self._prefix}-allocation", f"--ntasks={options.allocation_slots}"),
                *(f"--cpus-per-task={options.allocation_slot_cpus}", f"--mem-per-cpu={memory_mb}M"),
                *(f"--time={options.allocation_minutes}", "--chdir=/", "--input=/dev/null"),
                f"--output={str(spool.folder).replace('%', '%%')}/said",
                text=f"#!/bin/sh\nexec {shlex.join(words)}\n".encode(),
            )
            self._allocation = said.strip().splitlines()[-1].partition(";")[0]
            _log.info("asked for an allocation", job=self._allocation, slots=options.allocation_slots)

    async def end(self, cells: Mapping[str, Cell]) -> None:
        """Take them out of the spool; see `CellQueue`."""
        spool = await self._opened()
        for engine_id in cells:
            await asyncio.to_thread(spool.refuse, engine_id)

    async def sweep(self) -> int:
        """End allocations of before; see `CellQueue`."""
        return await end_all(self._prefix, poll_s=self._options.poll_s)

    async def close(self) -> None:
        """Give the nodes back."""
        if self._allocation:
            await cancel([self._allocation])

    async def _opened(self) -> Spool:
        if self._spool is None:
            self._spool = await asyncio.to_thread(Spool, self._folder)
        return self._spool
