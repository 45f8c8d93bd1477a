"""Looks at a running job again and again: which limit it meets first, what it says of its progress, what it saves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.runtime.cgroups.interface import JobGroup, Reading
from fairgrid.runtime.interface import SandboxJob, Stop
from fairgrid.runtime.process.checkpoint import NativeCheckpoint
from fairgrid.runtime.process.disk import TooDeep, Used, disk_used, free_bytes, tail_of, unnamed_bytes, written_by
from fairgrid.runtime.watch import PROGRESS_BYTES

__all__ = ["TOO_DEEP", "Supervisor", "Verdict"]

_TICK_S: Final = 0.05
_WALK_SHARE: Final = 10
"""Counting files takes at most one part in so many of the time."""
_HIDDEN_SPARE: Final = 512 << 20
_BLOCKS_OF_A_FILE: Final = 8192
_SPARE_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a job is ended, or was."""

    stop: Stop
    detail: str = ""


TOO_DEEP: Final = Verdict(Stop.OUTPUT, "files")


class Supervisor:
    """For one job."""

    def __init__(
        self,
        group: JobGroup,
        job: SandboxJob,
        *,
        own_folder: Path,
        checkpoint: Path | None,
        saver: NativeCheckpoint | None = None,
    ) -> None:
        self._group = group
        self._saver = saver
        self._job = job
        self._own = own_folder
        self._folders = tuple(folder for folder in (job.output_folder, own_folder, checkpoint) if folder is not None)
        limits = job.limits
        self._cpu_s = limits.cpu_s if limits.cpu_s is not None else limits.wall_s * limits.cpus
        self._free = free_bytes(job.output_folder)
        self._next_walk = 0.0
        self._progress = b""

    async def watch(self) -> Verdict:
        """Returns when a limit is met, and not before."""
        while True:
            verdict = self._of_reading(self._group.read()) or await self._of_disk()
            if verdict is not None:
                return verdict
            self._pass_progress_on()
            if self._saver is not None:
                await asyncio.to_thread(self._saver.look)
            await asyncio.sleep(_TICK_S)

    def last_word(self, reading: Reading, used: Used) -> Verdict | None:
        """The verdict on a job that ended by itself: a limit may have been met since the last look."""
        self._pass_progress_on()
        return self._of_reading(reading) or self._of_used(used)

    def _of_reading(self, reading: Reading) -> Verdict | None:
        if reading.out_of_memory:
            return Verdict(Stop.MEMORY, "out of memory")
        if reading.cpu_s > self._cpu_s:
            return Verdict(Stop.CPU, f"{reading.cpu_s:.1f} s of processor time")
        return None

    async def _of_disk(self) -> Verdict | None:
        now = time.monotonic()
        if now < self._next_walk:
            return None
        verdict = await asyncio.to_thread(self._look_at_disk)
        self._next_walk = time.monotonic() + max((time.monotonic() - now) * _WALK_SHARE, _TICK_S)
        return verdict

    def _look_at_disk(self) -> Verdict | None:
        pids = self._group.pids()
        try:
            used = disk_used(*self._folders)
        except TooDeep:
            return TOO_DEEP
        verdict = self._of_used(used)
        if verdict is not None:
            return verdict
        most = self._job.limits.output_bytes
        unnamed = unnamed_bytes(pids, self._job.output_folder)
        if used.disk_bytes + unnamed > most + _room_for(used):
            return Verdict(Stop.OUTPUT, "bytes in files without a name")
        # What no process holds openly (a descriptor on its way between two) shows in what the disk has lost. Others may
        # have taken that, so it is this machine's affair and no result.
        lost = self._free - free_bytes(self._job.output_folder)
        if lost > used.disk_bytes + most + _HIDDEN_SPARE and written_by(pids) > lost // 2:
            return Verdict(Stop.HOST, "the job keeps more on the disk than its files show")
        return None

    def _of_used(self, used: Used) -> Verdict | None:
        limits = self._job.limits
        if used.files > limits.output_files:
            return Verdict(Stop.OUTPUT, "files")
        if used.bytes > limits.output_bytes or used.disk_bytes > limits.output_bytes + _room_for(used):
            return Verdict(Stop.OUTPUT)
        return None

    def _pass_progress_on(self) -> None:
        if self._job.watch is None:
            return
        progress = tail_of(self._own / "progress", PROGRESS_BYTES)
        if progress != self._progress:
            self._progress = progress
            with contextlib.suppress(OSError):
                (self._job.watch.folder / "progress").write_bytes(progress)


def _room_for(used: Used) -> int:
    """What a disk may take for files beyond their sizes: blocks that are not full, and folders."""
    return used.files * _BLOCKS_OF_A_FILE + _SPARE_BYTES
