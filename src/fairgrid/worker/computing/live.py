"""What a running job prints and says of its progress, on its way to the pool; and its files so far, when asked for.

Only for tasks of trust 1: of others nothing may be known before consensus (decision 3), and nothing is sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from fairgrid.errors import FairgridError
from fairgrid.protocol.archive import write_archive
from fairgrid.protocol.pool_messages import PartialRequest
from fairgrid.protocol.worker_messages import LiveOutput, PartialResult, Progress, WorkerMessage
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.watch import JobProgress, JobWatch, read_progress
from fairgrid.seams.clock import Clock, SystemClock

__all__ = ["LiveJobs", "Uploader"]

_TICK_S: Final = 0.5
_PIECE_BYTES: Final = 24 * 1024
"""Most of one stream in one tick: 48 KiB a second and stream. What is more waits for the next tick."""
_AGAIN_BYTES: Final = 64 * 1024
"""So much is sent again after a lost connection, because the pool may have forgotten it."""
_MAX_PARTIAL_BYTES: Final = 64 << 20
_PARTIAL_EVERY_S: Final = 10.0
_MESSAGES_PER_S: Final = 10.0
"""Of all jobs together: a pool cuts off who sends much more."""
_STREAMS: Final[tuple[Literal["stdout", "stderr"], ...]] = ("stdout", "stderr")


class Uploader(Protocol):
    """What is needed of the storage."""

    async def add_file(self, path: Path, *, keep_s: int | None = None) -> str: ...


@dataclass(slots=True)
class _Job:
    task_id: str
    run: str
    watch: JobWatch
    sent: dict[str, int]
    keep_s: int | None
    progress: JobProgress | None = None
    lost: bool = False
    partial_at: float = float("-inf")


class LiveJobs:
    """The running jobs of one worker that may be watched; ``send`` is False while the pool is not connected."""

    def __init__(self, storage: Uploader, *, clock: Clock | None = None) -> None:
        self._storage = storage
        self._clock = clock or SystemClock()
        self._send: Callable[[WorkerMessage], bool] = lambda message: False
        self._jobs: dict[str, _Job] = {}
        self._tokens = _MESSAGES_PER_S
        self._at = self._clock.now()

    def listen(self, send: Callable[[WorkerMessage], bool]) -> None:
        """Tell ``send`` from now on."""
        self._send = send

    @asynccontextmanager
    async def watching(self, task_id: str, folder: Path, *, keep_s: int | None = None) -> AsyncIterator[JobWatch]:
        """Watch a job while the block runs; ``folder`` is made anew, and is gone afterwards.

        Storage keeps its partial results for ``keep_s`` seconds, or without end (None).
        """
        await asyncio.to_thread(remove_tree, folder)
        await asyncio.to_thread(folder.mkdir, parents=True)
        job = _Job(task_id, secrets.token_hex(8), JobWatch(folder), {}, keep_s)
        self._jobs[task_id] = job
        telling = asyncio.create_task(self._tell_for_ever(job))
        try:
            yield job.watch
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await self._tell(job)
            if self._jobs.get(task_id) is job:
                del self._jobs[task_id]
            await asyncio.to_thread(remove_tree, folder)

    async def partial(self, request: PartialRequest) -> PartialResult:
        """Archive and upload what a running job has written so far; never raises, the answer says what was wrong."""
        job = self._jobs.get(request.task_id)
        if job is None:
            return _refused(request, "No job of this task runs here, or its files may not be shown before consensus.")
        now = self._clock.now()
        if now < job.partial_at + _PARTIAL_EVERY_S:
            return _refused(request, f"Partial results are made every {_PARTIAL_EVERY_S:.0f} s at most. Ask later.")
        job.partial_at = now
        seen = job.watch.folder / f"partial-{secrets.token_hex(4)}"
        archive = seen.with_suffix(".zip")
        try:
            if not await job.watch.snapshot(seen, _MAX_PARTIAL_BYTES):
                return _refused(request, "The job ended meanwhile, or its runtime cannot show its files.")
            await asyncio.to_thread(write_archive, seen, archive)
            size = archive.stat().st_size
            cid = await self._storage.add_file(archive, keep_s=job.keep_s)
        except (FairgridError, OSError) as error:
            return _refused(request, f"The files cannot be archived or uploaded: {error}")
        finally:
            await asyncio.to_thread(remove_tree, seen)
            with contextlib.suppress(OSError):
                archive.unlink()
        return PartialResult(request.task_id, request.request_id, cid=cid, size=size)

    async def _tell_for_ever(self, job: _Job) -> None:
        while True:
            await self._clock.sleep(_TICK_S)
            await self._tell(job)

    async def _tell(self, job: _Job) -> None:
        for stream in _STREAMS:
            offset = job.sent.get(stream, 0)
            data = await asyncio.to_thread(_read, job.watch.folder / stream, offset)
            if data:
                text = base64.b64encode(data).decode()
                if self._put(job, LiveOutput(job.task_id, job.run, stream, offset, text)):
                    job.sent[stream] = offset + len(data)
        progress = await asyncio.to_thread(read_progress, job.watch.folder / "progress")
        if progress is not None and progress != job.progress:
            message = Progress(job.task_id, job.run, progress.ppm, progress.message)
            if self._put(job, message):
                job.progress = progress

    def _put(self, job: _Job, message: WorkerMessage) -> bool:
        now = self._clock.now()
        self._tokens = min(_MESSAGES_PER_S, self._tokens + max(now - self._at, 0.0) * _MESSAGES_PER_S)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        if not self._send(message):
            if not job.lost:
                job.lost, job.progress = True, None
                job.sent = {stream: max(sent - _AGAIN_BYTES, 0) for stream, sent in job.sent.items()}
            return False
        job.lost = False
        return True


def _refused(request: PartialRequest, reason: str) -> PartialResult:
    return PartialResult(request.task_id, request.request_id, reason=reason[:500])


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(_PIECE_BYTES)
    except OSError:
        return b""
