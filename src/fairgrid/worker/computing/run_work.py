"""Runs of the batch lane on this computer: many tasks of one deal, computed side by side, agreed on as one.

Inputs are fetched once for the whole run. Each finished task is kept at once, so that a run that was cut off goes on
where it was, and the halves of a run that was split need no computing (`fairgrid.worker.computing.finished`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from fairgrid.chain.interface import Chain
from fairgrid.errors import FairgridError, HostFailure, ManifestError
from fairgrid.protocol.archive import write_archive
from fairgrid.protocol.cid import CidBuilder
from fairgrid.protocol.data_keys import TaskKeys
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.hexes import keccak, to_hex32
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.manifest import FileRef, Manifest, TaskRef
from fairgrid.protocol.private_job import result_key
from fairgrid.protocol.run_results import RunResults, TaskResult
from fairgrid.protocol.usage import NO_USAGE, Usage
from fairgrid.protocol.views import Deal, Task
from fairgrid.runtime.job import TaskContext
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.job_result import Usage as JobUsage
from fairgrid.runtime.removal import make_anew, remove_tree
from fairgrid.worker.computing import transfers
from fairgrid.worker.computing.dependencies import fetch_dependencies
from fairgrid.worker.computing.finished import FinishedTasks
from fairgrid.worker.computing.inputs import ContentSource, InputCache
from fairgrid.worker.computing.misbehave import Misbehaviour, flip_byte, flip_last_byte
from fairgrid.worker.computing.private_work import PrivateNote, PrivateWork, blinded, encrypt_archive
from fairgrid.worker.core.events import Computed
from fairgrid.worker.core.held import HeldTask
from fairgrid.worker.owner.policy import WorkerPolicy

__all__ = ["JobRunner", "RunStorage", "RunWork"]

_log = structlog.get_logger(__name__)
_UPLOADS_AT_ONCE: Final = 8
_READ_BYTES: Final = 1 << 20


class RunStorage(ContentSource, Protocol):
    """What is needed of `fairgrid.storage.client.StorageClient`."""

    async def add_file(self, path: Path, *, keep_s: int | None = None) -> str: ...
    async def add_bytes(self, data: bytes, *, keep_s: int | None = None) -> str: ...


class JobRunner(Protocol):
    """Runs one task of a manifest in ``workdir``, when a slot of this computer is free."""

    async def __call__(
        self,
        manifest: Manifest,
        deal: Deal,
        context: TaskContext,
        *,
        inputs: Path,
        dependencies: Path,
        workdir: Path,
        wall_s: float,
        secrets: tuple[str, ...] = (),
    ) -> JobResult: ...


class RunWork:
    """The work on runs of one worker; ``slots`` tasks are computed at once at most."""

    def __init__(
        self,
        finished: FinishedTasks,
        *,
        chain: Chain,
        storage: RunStorage,
        cache: InputCache,
        policy: Callable[[], WorkerPolicy],
        private: PrivateWork,
        run_one: JobRunner,
        slots: int,
        misbehaviour: Misbehaviour | None,
    ) -> None:
        self._finished = finished
        self._chain = chain
        self._storage = storage
        self._cache = cache
        self._policy = policy
        self._private = private
        self._run_one = run_one
        self._slots = slots
        self._misbehaviour = misbehaviour
        self._pace: dict[str, float] = {}

    async def check(self, held: HeldTask, deal: Deal, task: Task) -> str | None:
        """Why the run does not fit its deadline here, by the time that earlier tasks of its deal took; None: it may.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        pace = self._pace.get(held.deal_id)
        if pace is None:
            return None
        missing = len(await asyncio.to_thread(self._missing, held))
        left = task.contribution_deadline - (await self._chain.head()).timestamp
        return self._refusal(missing, pace, left)

    async def download(
        self,
        held: HeldTask,
        manifest: Manifest,
        dependencies: Path,
        lay_out: Callable[[Mapping[str, Path], Sequence[int]], None],
    ) -> None:
        """Fetch what the run's unfinished tasks need, each file once; ``lay_out`` puts the files of these tasks into
        the run's folder.

        Results of other tasks that they depend on go into the folder ``dependencies``.

        Raises:
            HostFailure: the owner's limits do not allow them, or storage does not have them.
            ManifestError: the manifest has no such tasks, or states another size than a file has.
            ServiceUnavailable: storage does not answer.
            VerificationError: storage sent something else.
        """
        policy = self._policy()
        files: dict[str, FileRef] = {}
        needed: list[TaskRef] = []
        missing = await asyncio.to_thread(self._missing, held)
        for index in missing:
            wanted = manifest.files_of(index)
            if sum(file.size for file in wanted) > policy.max_input_bytes:
                raise HostFailure(
                    f"The inputs of task {index} are larger than the {policy.max_input_bytes} bytes that this worker's "
                    f"owner allows."
                )
            files.update({file.cid: file for file in wanted})
            needed += manifest.dependencies_of(index)
        if sum(file.size for file in files.values()) > policy.cache_bytes:
            raise HostFailure(f"The run's inputs are larger than this worker's cache of {policy.cache_bytes} bytes.")
        async with self._cache.holding(list(files), max_bytes=policy.cache_bytes) as paths:
            for cid, file in files.items():
                size = paths[cid].stat().st_size
                if size != file.size:
                    raise ManifestError(f"The manifest says that {file.name!r} has {file.size} bytes; it has {size}.")
            await asyncio.to_thread(lay_out, paths, missing)
        left = policy.cache_bytes - sum(file.size for file in files.values())
        await fetch_dependencies(self._chain, self._storage, needed, dependencies, max_bytes=left)

    async def compute(self, held: HeldTask, deal: Deal, task: Task, manifest: Manifest, folder: Path) -> Computed:
        """Compute what is missing of the run, and what its workers agree on.

        Raises:
            HostFailure: this machine could not compute a task, or not all of them before the deadline. What is finished
                is kept for the next try.
            ServiceUnavailable: the chain does not answer.
        """
        missing = await asyncio.to_thread(self._missing, held)
        note = await asyncio.to_thread(PrivateNote.read, folder)
        keys = await self._private.keys_of(held) if note.results and missing else None
        await asyncio.to_thread(self._finished.touch, held.deal_id)
        started = time.monotonic()
        ends_at = started + task.contribution_deadline - (await self._chain.head()).timestamp
        queue = iter(missing)
        progress = _Progress(len(missing))
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(min(self._slots, len(missing))):
                    workdir = folder / f"work-{number}"
                    group.create_task(
                        self._some(held, deal, task, manifest, workdir, queue, progress, ends_at, note.secrets, keys)
                    )
        except BaseExceptionGroup as failures:
            # One task failed and took the others along: its error is the one to tell.
            known, others = failures.split(FairgridError)
            raise (known or others or failures).exceptions[0] from failures
        _log.info("run computed", run=held.task_id, tasks=held.count, computed=len(missing))
        results = await asyncio.to_thread(self._results, held)
        seconds = time.monotonic() - started
        return Computed(held.task_id, results.digest, "0x", seconds, progress.usage, results.root)

    async def upload(self, held: HeldTask, keep_s: int | None) -> str:
        """Upload every task's archive, then the manifest of the results; gives the manifest's CID.

        Storage keeps them for ``keep_s`` seconds, or without end (None).

        Raises:
            HostFailure: the results on disk are not what was contributed.
            ServiceUnavailable, ServiceRefused, VerificationError: storage did not take them.
        """
        results = await asyncio.to_thread(self._results, held)
        if results.digest != held.digest:
            raise HostFailure(
                f"The results of run {held.task_id} were changed on disk: they are not what was contributed."
            )
        archives = iter([index for index in _indexes(held) if results.task(index).callback is None])

        async def some() -> None:
            for index in archives:
                archive = self._finished.archive(held.deal_id, index)
                await self._storage.add_file(archive, keep_s=keep_s)
                transfers.sent(archive.stat().st_size)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_UPLOADS_AT_ONCE):
                    group.create_task(some())
        except BaseExceptionGroup as failures:
            known, others = failures.split(FairgridError)
            raise (known or others or failures).exceptions[0] from failures
        if self._misbehaviour is Misbehaviour.UPLOAD_OTHER:
            _log.warning("misbehaves: uploads something else", run=held.task_id)
            other = TaskResult(to_hex32(keccak(b"other")), *_cid_and_size_of(b"other"))
            results = RunResults(results.first, (other, *results.tasks[1:]))
        return await self._storage.add_bytes(results.to_bytes(), keep_s=keep_s)

    async def discard(self, held: HeldTask, outcome: str) -> None:
        """Forget the results of a run that is over; those of one that was split or handed back are kept for a day."""
        if outcome in ("completed", "failed"):
            await asyncio.to_thread(self._finished.remove, held.deal_id, _indexes(held))

    # --- one run --------------------------------------------------------------------------------------------------

    def _missing(self, held: HeldTask) -> list[int]:
        return [index for index in _indexes(held) if self._finished.find(held.deal_id, index) is None]

    def _results(self, held: HeldTask) -> RunResults:
        return RunResults(held.index, self._finished.all_of(held.deal_id, _indexes(held)))

    async def _some(
        self,
        held: HeldTask,
        deal: Deal,
        task: Task,
        manifest: Manifest,
        workdir: Path,
        queue: Iterator[int],
        progress: _Progress,
        ends_at: float,
        secrets: tuple[str, ...],
        keys: TaskKeys | None,
    ) -> None:
        for index in queue:
            began = time.monotonic()
            await asyncio.to_thread(make_anew, workdir)
            context = TaskContext(
                deal_id=held.deal_id,
                task_id=task_id(held.deal_id, index),
                index=index,
                bot_first=deal.bot_first,
                bot_size=deal.bot_size,
                callback=deal.callback,
            )
            result = await self._run_one(
                manifest,
                deal,
                context,
                inputs=workdir.parent / "inputs",
                dependencies=workdir.parent / "dependencies",
                workdir=workdir,
                wall_s=float(task.timeref),
                secrets=secrets,
            )
            key = None if keys is None else keys.of(index)
            await asyncio.to_thread(self._keep, held, index, result, workdir, key)
            self._pace[held.deal_id] = progress.finished_one(time.monotonic() - began)
            progress.add(result.usage)
            refusal = self._refusal(progress.left, self._pace[held.deal_id], ends_at - time.monotonic())
            if refusal is not None:
                raise HostFailure(refusal)

    def _refusal(self, missing: int, pace: float, left_s: float) -> str | None:
        needed = -(-missing // self._slots) * pace
        if missing == 0 or needed < left_s:
            return None
        return (
            f"{missing} tasks of the run are left, which take about {needed:.0f} s here, and its contributions end in "
            f"{max(left_s, 0):.0f} s: the run does not fit. Open smaller runs."
        )

    def _keep(self, held: HeldTask, index: int, result: JobResult, workdir: Path, key: bytes | None) -> None:
        if key is not None:
            result = blinded(result, key)
        digest, callback, folder = result.digest, result.callback_data, result.result_folder
        if self._misbehaviour is Misbehaviour.FLIP_BYTE and index == held.index + held.count // 2:
            _log.warning("misbehaves: changed a byte of the result", deal=held.deal_id, index=index)
            if callback is not None:
                callback = flip_last_byte(callback)
                digest = to_hex32(keccak(callback))
            else:
                flip_byte(folder)
                digest = tree_digest_of_folder(folder)
        if callback is not None:
            self._finished.keep(held.deal_id, index, None, TaskResult(digest, callback=callback))
        else:
            archive = workdir / "result.zip"
            write_archive(folder, archive)
            if key is not None:
                encrypt_archive(archive, result_key(key))
            cid, size = _cid_and_size(archive)
            self._finished.keep(held.deal_id, index, archive, TaskResult(digest, cid, size))
        remove_tree(workdir)


class _Progress:
    """How many tasks of a run are left, and how long those took that were computed since it was begun here."""

    def __init__(self, left: int) -> None:
        self.left = left
        self._done = 0
        self._seconds = 0.0
        self.usage = NO_USAGE
        """What the tasks took together."""

    def add(self, spent: JobUsage) -> None:
        """One more task took so much."""
        known = self.usage
        self.usage = Usage(
            cpu_ms=known.cpu_ms + round(spent.cpu_s * 1000),
            wall_ms=known.wall_ms + round(spent.wall_s * 1000),
            peak_memory_bytes=max(known.peak_memory_bytes, spent.peak_memory_bytes),
        )

    def finished_one(self, seconds: float) -> float:
        """Count a task that took ``seconds``; gives what one takes on the average."""
        self.left -= 1
        self._done += 1
        self._seconds += seconds
        return self._seconds / self._done


def _indexes(held: HeldTask) -> range:
    return range(held.index, held.index + held.count)


def _cid_and_size(path: Path) -> tuple[str, int]:
    builder = CidBuilder()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            builder.update(piece)
    return builder.finish(), builder.size


def _cid_and_size_of(data: bytes) -> tuple[str, int]:
    builder = CidBuilder()
    builder.update(data)
    return builder.finish(), builder.size
