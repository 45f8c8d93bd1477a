"""Slurm, a job for each cell: those that wait together and want the same become one array, one ``sbatch``."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.interface import Cell
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.runtime.engines.queue_engine import Seen
from fairgrid.runtime.engines.slurm_commands import (
    cancel,
    common_lines,
    end_all,
    find_slurm,
    gpu_lines,
    limits_of,
    list_jobs,
    seen_of,
    slurm_command,
)

__all__ = ["SlurmJobs"]

_TAIL: Final = 600
_BATCH_KEPT_S: Final = 60.0
"""A batch that was just submitted is not looked at yet, and must not count as over."""


@dataclass(frozen=True, slots=True)
class _Batch:
    folder: Path
    ids: frozenset[str]
    since: float


class SlurmJobs:
    """Implements `CellQueue`. Batches have a folder each in ``folder``: the list of their cells, and what they said."""

    def __init__(self, options: EngineOptions, folder: Path, *, prefix: str, python: str) -> None:
        """``folder`` is seen by the nodes; ``prefix`` begins the name of every job.

        Raises:
            HostFailure: Slurm's commands are not on this machine.
        """
        find_slurm()
        self._options = options
        self._folder = folder
        self._prefix = prefix
        self._python = python
        self._batches: dict[str, _Batch] = {}

    @property
    def name(self) -> str:
        """What people call it."""
        return "slurm"

    def refusal(self, cell: Cell) -> str | None:
        """None: Slurm itself says what fits no node of it."""
        return None

    async def submit(self, cells: Sequence[Cell]) -> list[str]:
        """One array for each size of cell; see `CellQueue`."""
        groups: dict[tuple[int, int, int, int], list[Cell]] = {}
        for cell in cells:
            groups.setdefault(limits_of(cell, self._options), []).append(cell)
        ids: dict[str, str] = {}
        try:
            for limits, group in groups.items():
                ids.update(await self._submit(limits, group))
        except HostFailure:
            await cancel(ids.values())
            raise
        return [ids[cell.name] for cell in cells]

    async def _submit(self, limits: tuple[int, int, int, int], cells: Sequence[Cell]) -> dict[str, str]:
        minutes, memory, cpus, gpus = limits
        batch = self._folder / f"batch-{secrets.token_hex(4)}"
        await asyncio.to_thread(_lay_down, batch, cells)
        name = cells[0].name if len(cells) == 1 else f"{self._prefix}-{len(cells)}-cells-{batch.name[-8:]}"
        script = (
            "#!/bin/sh\n"
            f'cell=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(batch / "cells"))})\n'
            f'exec {shlex.quote(self._python)} -m fairgrid.runtime.engines.cell "$cell"\n'
        )
        try:
            said = await slurm_command(
                "sbatch",
                *common_lines(self._options),
                *(f"--job-name={name}", f"--array=0-{len(cells) - 1}", "--nodes=1", "--ntasks=1"),
                *(f"--time={minutes}", f"--mem={memory}M", f"--cpus-per-task={cpus}"),
                *gpu_lines(gpus, self._options),
                *("--chdir=/", "--input=/dev/null", f"--output={_escaped(batch)}/said-%a"),
                text=script.encode(),
            )
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, batch, ignore_errors=True)
            raise
        job_id = said.strip().splitlines()[-1].partition(";")[0]
        if not job_id.isdecimal():
            raise HostFailure(f"sbatch answered {said.strip()[:200]!r}, which is no job id.")
        ids = {cell.name: f"{job_id}_{place}" for place, cell in enumerate(cells)}
        self._batches[job_id] = _Batch(batch, frozenset(ids.values()), time.monotonic())
        return ids

    async def look(self, cells: Mapping[str, Cell]) -> Mapping[str, Seen]:
        """One ``squeue`` for all; see `CellQueue`."""
        jobs = {job.job_id: job for job in await list_jobs(self._prefix)}
        await self._forget_batches(set(cells))
        seen = {}
        for engine_id in cells:
            job = jobs.get(engine_id)
            if job is not None:
                seen[engine_id] = seen_of(job) if job.state != "FAILED" else await self._failed(engine_id, seen_of(job))
        return seen

    async def _failed(self, engine_id: str, seen: Seen) -> Seen:
        job_id, _, place = engine_id.partition("_")
        batch = self._batches.get(job_id)
        said = await asyncio.to_thread(_tail, batch.folder / f"said-{place}") if batch is not None else ""
        return Seen(seen.state, seen.node, f"{seen.text}{': ' + said if said else ''}")

    async def _forget_batches(self, running: set[str]) -> None:
        old = time.monotonic() - _BATCH_KEPT_S
        for job_id, batch in list(self._batches.items()):
            if batch.since < old and not batch.ids & running:
                del self._batches[job_id]
                await asyncio.to_thread(shutil.rmtree, batch.folder, ignore_errors=True)

    async def end(self, cells: Mapping[str, Cell]) -> None:
        """One ``scancel`` for all; see `CellQueue`."""
        await cancel(cells)

    async def sweep(self) -> int:
        """End what bears the prefix, and wait until Slurm says that it is gone; see `CellQueue`."""
        return await end_all(self._prefix, poll_s=self._options.poll_s)

    async def close(self) -> None:
        """Remove the batches' folders."""
        for batch in self._batches.values():
            await asyncio.to_thread(shutil.rmtree, batch.folder, ignore_errors=True)
        self._batches = {}


def _lay_down(batch: Path, cells: Sequence[Cell]) -> None:
    try:
        batch.mkdir(parents=True)
        (batch / "cells").write_text("".join(f"{cell.folder}\n" for cell in cells))
    except OSError as error:
        raise HostFailure(f"The batch {batch} cannot be laid down: {error}. Make room.") from error


def _escaped(path: Path) -> str:
    """Slurm reads ``%`` and backslashes in names of output files."""
    return str(path).replace("\\", "\\\\").replace("%", "%%")


def _tail(path: Path) -> str:
    try:
        return path.read_bytes()[-_TAIL:].decode(errors="replace").strip()
    except OSError:
        return ""
