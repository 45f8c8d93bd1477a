"""The parts of a task that run on this computer: fetch, compute, archive, upload. Each task has a folder of its own."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog

from fairgrid.chain.interface import Chain
from fairgrid.errors import HostFailure, ManifestError, VerificationError
from fairgrid.protocol.archive import write_archive
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.hexes import from_hex, keccak, to_hex, to_hex32
from fairgrid.protocol.manifest import manifest_cid_of_params
from fairgrid.protocol.private_job import result_key
from fairgrid.protocol.usage import Usage
from fairgrid.protocol.views import Deal, Task
from fairgrid.protocol.worker_messages import MAX_REPORTED_FILES
from fairgrid.runtime.interface import Preparing
from fairgrid.runtime.job import TaskContext
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.watch import JobWatch
from fairgrid.worker.computing import transfers
from fairgrid.worker.computing.fetching import TaskFetcher
from fairgrid.worker.computing.finished import FinishedTasks
from fairgrid.worker.computing.folders import (
    CACHE_FOLDER,
    CHECKPOINT_FOLDER,
    PARTIAL_FOLDER,
    TaskFolder,
    forget_old_checkpoints,
)
from fairgrid.worker.computing.gpus import Gpus, NoGpus
from fairgrid.worker.computing.inputs import ContentSource, InputCache
from fairgrid.worker.computing.live import LiveJobs
from fairgrid.worker.computing.misbehave import Misbehaviour, flip_byte, flip_last_byte
from fairgrid.worker.computing.private_work import PrivateNote, PrivateWork, blinded, encrypt_archive
from fairgrid.worker.computing.published import PublishedApps
from fairgrid.worker.computing.run_work import RunWork
from fairgrid.worker.computing.running import LocalRunner, LocalRuntime
from fairgrid.worker.connection.cache_report import MIN_REPORTED_BYTES
from fairgrid.worker.core.events import Computed
from fairgrid.worker.core.held import HeldTask
from fairgrid.worker.onchain.apps import KnownApps
from fairgrid.worker.owner.policy import WorkerPolicy, refusal_of_app

__all__ = ["LocalWork", "Storage"]

_log = structlog.get_logger(__name__)


class Storage(ContentSource, Protocol):
    """What is needed of `fairgrid.storage.client.StorageClient`."""

    async def fetch_bytes(self, cid: str, *, max_bytes: int) -> bytes: ...
    async def add_file(self, path: Path, *, ticket: Path | None = None, keep_s: int | None = None) -> str: ...
    async def add_bytes(self, data: bytes, *, keep_s: int | None = None) -> str: ...


class LocalWork:
    """Implements `fairgrid.worker.agent.TaskWork` in ``folder``: ``tasks/<task id>/``, ``finished/`` and ``cache/``.

    ``slots`` jobs run at once, whether they are tasks or parts of runs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        chain: Chain,
        storage: Storage,
        runtimes: Mapping[str, LocalRuntime],
        policy: Callable[[], WorkerPolicy],
        misbehaviour: Misbehaviour | None = None,
        slots: int = 1,
        tally: Counter[str] | None = None,
        where: Callable[[str], str] | None = None,
        is_local: bool = False,
        gpus: Gpus | None = None,
    ) -> None:
        """``tally`` counts what `fairgrid.worker.observability.meter` tells; ``where`` says on which machine of an
        engine a task ran. ``is_local``: the network is of this machine alone (`NetworkGrant.allow_loopback`)."""
        self._where = where
        self._tally = tally if tally is not None else Counter()
        self._tasks = folder / "tasks"
        self._checkpoints = folder / CHECKPOINT_FOLDER
        self._storage = storage
        self._runtimes = dict(runtimes)
        self._policy = policy
        self._misbehaviour = misbehaviour
        self._apps = KnownApps(chain)
        self.live = LiveJobs(storage)
        self._cache = InputCache(
            folder / CACHE_FOLDER,
            storage,
            max_bytes=lambda: policy().cache_bytes,
            partials=folder / PARTIAL_FOLDER,
            tally=self._tally,
        )
        processors: Gpus = gpus if gpus is not None else NoGpus()
        self._runner = LocalRunner(
            self._runtimes, policy=policy, slots=slots, gpus=processors, tally=self._tally, is_local=is_local
        )
        self._finished = FinishedTasks(folder / "finished")
        self.private = PrivateWork()
        self._runs = RunWork(
            self._finished,
            chain=chain,
            storage=storage,
            cache=self._cache,
            policy=policy,
            private=self.private,
            run_one=self._runner.run_one,
            slots=slots,
            misbehaviour=misbehaviour,
        )
        self._published = PublishedApps(self._cache)
        self._fetcher = TaskFetcher(
            chain=chain,
            storage=storage,
            cache=self._cache,
            apps=self._apps,
            published=self._published,
            runs=self._runs,
            private=self.private,
            policy=policy,
            slots=slots,
            gpus=processors,
        )

    async def check_app(self, deal: Deal) -> str | None:
        """Why the deal's app is not run here; None when it is. Reads the app from the chain."""
        app = await self._apps.at(deal.app.pointer)
        installed = {name: (found.app_type, found.cid, found.sha256) for name, found in self._runtimes.items()}
        try:
            document = await self._published.document_of(app)
        except ManifestError as error:
            return str(error)
        refusal = refusal_of_app(self._policy(), app, installed, document)
        if refusal is None and manifest_cid_of_params(deal.params) is None:
            return "The deal's params do not name a manifest: they are not those of a job of this app."
        return refusal

    async def check_run(self, held: HeldTask, deal: Deal, task: Task) -> str | None:
        """Why a run does not fit its deadline on this computer, as far as is known; None when it may."""
        return await self._runs.check(held, deal, task) if held.count else None

    async def download(self, held: HeldTask, deal: Deal, tell: Callable[[str], None]) -> None:
        """`TaskFetcher.fetch` into the task's folder; then make what its sandbox needs of a program that is new here.

        A program is compiled before its job waits for a slot: the others go on, and none of it is in the job's time.
        ``tell`` hears how far that is, and the requester, where anything of the job may be seen.
        """
        folder = self._folder(held.task_id)
        manifest = await self._fetcher.fetch(held, deal, folder)
        runtime = self._runtimes.get(manifest.runtime)
        program = folder.inputs / manifest.script.cid
        if runtime is None or not isinstance(runtime.sandbox, Preparing) or not program.exists():
            return
        if await runtime.sandbox.is_prepared(program):
            return
        if held.count:
            await runtime.sandbox.prepare(program, tell)
            return
        note = await asyncio.to_thread(PrivateNote.read, folder.path)
        async with self._watched(held, deal, folder, hidden=note.results) as watch:

            def say(text: str) -> None:
                tell(text)
                if watch is not None:
                    watch.say(text)

            await runtime.sandbox.prepare(program, say)

    def cached(self) -> tuple[str, ...]:
        """CIDs of large inputs that need not be fetched, the most recently used first. Blocking."""
        return self._cache.cached(limit=MAX_REPORTED_FILES, min_bytes=MIN_REPORTED_BYTES)

    async def compute(self, held: HeldTask, deal: Deal, task: Task) -> Computed:
        """Run the job; its result is in the task's folder afterwards.

        Raises:
            HostFailure: this machine could not run it, or not within the category's reference time.
        """
        folder = self._folder(held.task_id)
        manifest = await asyncio.to_thread(folder.read_manifest)
        note = await asyncio.to_thread(PrivateNote.read, folder.path)
        if held.count:
            computed = await self._runs.compute(held, deal, task, manifest, folder.path)
            await asyncio.to_thread(_forget_opened, folder, note)
            return computed
        keys = await self.private.keys_of(held) if note.results else None
        await asyncio.to_thread(folder.make_workdir)
        started = time.monotonic()
        async with self._watched(held, deal, folder, hidden=note.results) as watch:
            result = await self._runner.run_one(
                manifest,
                deal,
                TaskContext(
                    deal_id=held.deal_id,
                    task_id=held.task_id,
                    index=held.index,
                    bot_first=deal.bot_first,
                    bot_size=deal.bot_size,
                    callback=deal.callback,
                ),
                inputs=folder.inputs,
                dependencies=folder.dependencies,
                workdir=folder.workdir,
                wall_s=float(task.timeref),
                watch=watch,
                checkpoint=self._checkpoint_of(held.task_id),
                secrets=note.secrets,
            )
        compute_s = time.monotonic() - started
        if keys is not None:
            result = await asyncio.to_thread(blinded, result, keys.of(held.index))
        await asyncio.to_thread(_forget_opened, folder, note)
        return await asyncio.to_thread(self._keep, held, result, folder, compute_s)

    @asynccontextmanager
    async def _watched(
        self, held: HeldTask, deal: Deal, folder: TaskFolder, *, hidden: bool
    ) -> AsyncIterator[JobWatch | None]:
        if deal.trust > 1 or hidden:
            yield None  # Nothing of it may be seen before consensus (decision 3), of a private job never.
            return
        manifest = await asyncio.to_thread(folder.read_manifest)
        async with self.live.watching(held.task_id, folder.live, keep_s=manifest.keep_s) as watch:
            yield watch

    async def upload(self, held: HeldTask) -> str:
        """Archive the result folder, upload the archive; gives its CID.

        Raises:
            HostFailure: the result on disk is not what was contributed.
            ServiceUnavailable, ServiceRefused, VerificationError: storage did not take it.
        """
        folder = self._folder(held.task_id)
        note = await asyncio.to_thread(PrivateNote.read, folder.path)
        keep_s = note.keep_s if note.results else (await asyncio.to_thread(folder.read_manifest)).keep_s
        if held.count:
            return await self._runs.upload(held, keep_s)
        archive = await asyncio.to_thread(self._archive, held)
        if note.results:
            key = result_key((await self.private.keys_of(held)).of(held.index))
            await asyncio.to_thread(encrypt_archive, archive, key)
        cid = await self._storage.add_file(archive, ticket=archive.with_suffix(".ticket"), keep_s=keep_s)
        size = archive.stat().st_size
        self._tally["uploaded_bytes"] += size
        transfers.sent(size)
        return cid

    async def discard(self, held: HeldTask, outcome: str) -> None:
        """Remove the folder of a task that ended so."""
        self.private.forget(held.task_id)
        await asyncio.to_thread(self._folder(held.task_id).remove)
        if held.count:
            await self._runs.discard(held, outcome)

    def suspend(self) -> bool:
        """Let running jobs stand still; False where a sandbox cannot."""
        return self._runner.suspend()

    def resume(self) -> None:
        """Let them go on."""
        self._runner.resume()

    async def sweep(self, held: Collection[HeldTask]) -> None:
        """Remove the folders of all tasks that are not ``held``."""
        await asyncio.to_thread(self._finished.sweep, {record.deal_id for record in held})
        names = {record.task_id for record in held}
        if await asyncio.to_thread(self._tasks.is_dir):
            for folder in await asyncio.to_thread(lambda: list(self._tasks.iterdir())):
                if folder.name not in names:
                    await asyncio.to_thread(remove_tree, folder)
        await asyncio.to_thread(forget_old_checkpoints, self._checkpoints, names)

    def _folder(self, task_id: str) -> TaskFolder:
        return TaskFolder(self._tasks / to_hex32(from_hex(task_id)))

    def _checkpoint_of(self, task_id: str) -> Path:
        return self._checkpoints / to_hex32(from_hex(task_id))

    def _keep(self, held: HeldTask, result: JobResult, folder: TaskFolder, compute_s: float) -> Computed:
        kept = folder.result
        remove_tree(kept)
        result.result_folder.rename(kept)
        remove_tree(folder.workdir)
        remove_tree(self._checkpoint_of(held.task_id))
        for place in (folder.inputs, folder.dependencies):
            remove_tree(place)
        digest, callback = result.digest, result.callback_data
        if self._misbehaviour is Misbehaviour.FLIP_BYTE:
            if callback is not None:
                callback = flip_last_byte(callback)
                digest = to_hex32(keccak(callback))
            else:
                flip_byte(kept)
                digest = tree_digest_of_folder(kept)
            _log.warning("misbehaves: changed a byte of the result", task=held.task_id)
        return Computed(
            task_id=held.task_id,
            digest=digest,
            callback_data=to_hex(callback) if callback is not None else "0x",
            compute_s=compute_s,
            usage=Usage(
                cpu_ms=round(result.usage.cpu_s * 1000),
                wall_ms=round(result.usage.wall_s * 1000),
                peak_memory_bytes=result.usage.peak_memory_bytes,
            ),
            where=self._where(held.task_id) if self._where is not None else "",
        )

    def _archive(self, held: HeldTask) -> Path:
        folder = self._folder(held.task_id)
        result = folder.result
        try:
            same = held.digest in (tree_digest_of_folder(result), to_hex32(keccak(from_hex(held.callback_data))))
        except (OSError, VerificationError) as error:
            raise HostFailure(f"The result of task {held.task_id} is not on disk any more ({error}).") from error
        if not same:
            raise HostFailure(f"The result of task {held.task_id} was changed on disk: it is not what was contributed.")
        if self._misbehaviour is Misbehaviour.UPLOAD_OTHER:
            other = folder.path / "other"
            remove_tree(other)
            shutil.copytree(result, other)
            flip_byte(other)
            result = other
            _log.warning("misbehaves: uploads something else", task=held.task_id)
        write_archive(result, folder.archive)
        return folder.archive


def _forget_opened(folder: TaskFolder, note: PrivateNote) -> None:
    """Remove what was decrypted for a job once it is computed; that its result is to be encrypted stays known."""
    if note.results:
        folder.forget_opened()
    if note.results or note.secrets:
        replace(note, secrets=()).write(folder.path)
