"""The parts of a task that run on this computer: fetch, compute, archive, upload. Each task has a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from fairgrid.chain.interface import Chain
from fairgrid.errors import HostFailure, ManifestError, VerificationError
from fairgrid.protocol.abilities import level_fault
from fairgrid.protocol.app_document import program_fault
from fairgrid.protocol.app_types import APP_TYPES, Level
from fairgrid.protocol.archive import write_archive
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.hexes import from_hex, keccak, to_hex, to_hex32
from fairgrid.protocol.manifest import MAX_MANIFEST_BYTES, Manifest, manifest_cid_of_params, parse_manifest
from fairgrid.protocol.usage import Usage
from fairgrid.protocol.views import Deal, Task
from fairgrid.protocol.worker_messages import MAX_REPORTED_FILES
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.job import JobResult, TaskContext, run_job
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.watch import JobWatch
from fairgrid.worker.computing import transfers
from fairgrid.worker.computing.dependencies import fetch_dependencies
from fairgrid.worker.computing.finished import FinishedTasks
from fairgrid.worker.computing.gpus import Gpus, NoGpus
from fairgrid.worker.computing.inputs import ContentSource, InputCache
from fairgrid.worker.computing.live import LiveJobs
from fairgrid.worker.computing.misbehave import Misbehaviour, flip_byte, flip_last_byte
from fairgrid.worker.computing.published import PublishedApps
from fairgrid.worker.computing.run_work import RunWork
from fairgrid.worker.connection.cache_report import MIN_REPORTED_BYTES
from fairgrid.worker.core.events import Computed
from fairgrid.worker.core.held import HeldTask
from fairgrid.worker.onchain.apps import KnownApps
from fairgrid.worker.owner.policy import WorkerPolicy, refusal_of_app, refusal_of_memory, refusal_of_network

__all__ = ["CACHE_FOLDER", "CHECKPOINT_FOLDER", "PARTIAL_FOLDER", "LocalRuntime", "LocalWork", "Storage"]

CACHE_FOLDER: Final = "cache"
CHECKPOINT_FOLDER: Final = "checkpoints"
"""Where jobs' checkpoints lie until their task is computed, also when its lease was handed back: it may come again."""
PARTIAL_FOLDER: Final = "partial"
"""Where downloads lie that are not whole yet; they go on after a restart."""

_log = structlog.get_logger(__name__)
_MANIFEST: Final = "manifest.json"
_INPUTS: Final = "inputs"
_DEPENDENCIES: Final = "dependencies"
_RESULT: Final = "result"
_LIVE: Final = "live"
_CHECKPOINT_KEPT_S: Final = 86_400.0
"""How long the checkpoint of a task stays that this worker does not hold any more."""


class Storage(ContentSource, Protocol):
    """What is needed of `fairgrid.storage.client.StorageClient`."""

    async def fetch_bytes(self, cid: str, *, max_bytes: int) -> bytes: ...
    async def add_file(self, path: Path, *, ticket: Path | None = None) -> str: ...
    async def add_bytes(self, data: bytes) -> str: ...


@dataclass(frozen=True, slots=True)
class LocalRuntime:
    """A runtime that works here: what an app must name, and the sandbox that runs its jobs."""

    cid: str
    sha256: str
    """0x-hex."""
    sandbox: Sandbox
    level: Level = Level.WASM
    start_ms: float = 0.0
    """How long a job that does nothing took when the worker started; 0: not measured."""
    network: bool = False
    """True: it can give a job the network, and nothing near; the owner's policy says whether it does."""

    @property
    def app_type(self) -> str:
        """The type that its generic app has."""
        return APP_TYPES[self.level]


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
        self._is_local = is_local
        self._gpus: Gpus = gpus if gpus is not None else NoGpus()
        self._tally = tally if tally is not None else Counter()
        self._tasks = folder / "tasks"
        self._chain = chain
        self._storage = storage
        self._runtimes = dict(runtimes)
        self._policy = policy
        self._misbehaviour = misbehaviour
        self._cache = InputCache(
            folder / CACHE_FOLDER,
            storage,
            max_bytes=lambda: policy().cache_bytes,
            partials=folder / PARTIAL_FOLDER,
            tally=self._tally,
        )
        self._apps = KnownApps(chain)
        self._published = PublishedApps(self._cache)
        self._slots = slots
        self._permits = slots
        self._checkpoints = folder / CHECKPOINT_FOLDER
        self.live = LiveJobs(storage)
        self._free = asyncio.Semaphore(slots)
        self._finished = FinishedTasks(folder / "finished")
        self._runs = RunWork(
            self._finished,
            chain=chain,
            storage=storage,
            cache=self._cache,
            policy=policy,
            run_one=self._run_one,
            slots=slots,
            misbehaviour=misbehaviour,
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

    async def download(self, held: HeldTask, deal: Deal) -> None:
        """Fetch manifest, script and inputs into the task's folder.

        Raises:
            HostFailure: the owner's limits do not allow them, or storage does not have them.
            ManifestError: the manifest cannot be used.
            ServiceUnavailable: storage does not answer.
            VerificationError: storage sent something else.
        """
        folder = self._folder(held.task_id)
        await asyncio.to_thread(remove_tree, folder)
        data = await self._manifest_of(deal)
        manifest = await asyncio.to_thread(parse_manifest, data)
        app = await self._apps.at(deal.app.pointer)
        document = await self._published.document_of(app)
        if document is None and manifest.runtime != app.name:
            raise ManifestError(f"The manifest asks for runtime {manifest.runtime!r}, its app is {app.name!r}.")
        fault = None if document is None else await asyncio.to_thread(program_fault, document, manifest)
        if fault is not None:
            raise ManifestError(fault)
        policy = self._policy()
        refusal = level_fault(manifest.runtime, manifest.needs.level)
        refusal = refusal or refusal_of_memory(policy, manifest.resources.memory_bytes, policy.slots or self._slots)
        refusal = refusal or refusal_of_network(policy, manifest.needs.network)
        if refusal is None and manifest.needs.gpus is not None:
            refusal = self._gpus.refusal(manifest.runtime, manifest.needs.gpus)
        if refusal is not None:
            raise HostFailure(refusal)
        if held.count:
            await self._runs.download(
                held, manifest, folder / _DEPENDENCIES, lambda paths: _lay_out(folder, data, paths)
            )
            return
        files = manifest.files_of(held.index)
        limit = self._policy().max_input_bytes
        if sum(file.size for file in files) > limit:
            raise HostFailure(f"The inputs are larger than the {limit} bytes that this worker's owner allows.")
        async with self._cache.holding([file.cid for file in files], max_bytes=limit) as paths:
            for file in files:
                size = paths[file.cid].stat().st_size
                if size != file.size:
                    raise ManifestError(f"The manifest says that {file.name!r} has {file.size} bytes; it has {size}.")
            try:
                await asyncio.to_thread(_lay_out, folder, data, paths)
            except OSError as error:
                raise HostFailure(f"The inputs cannot be laid out in {folder} ({error}). Make room.") from error
        await fetch_dependencies(
            self._chain,
            self._storage,
            manifest.dependencies_of(held.index),
            folder / _DEPENDENCIES,
            max_bytes=limit - sum(file.size for file in files),
        )

    def cached(self) -> tuple[str, ...]:
        """CIDs of large inputs that need not be fetched, the most recently used first. Blocking."""
        return self._cache.cached(limit=MAX_REPORTED_FILES, min_bytes=MIN_REPORTED_BYTES)

    async def _manifest_of(self, deal: Deal) -> bytes:
        cid = _manifest_cid(deal)
        async with self._cache.holding([cid], max_bytes=MAX_MANIFEST_BYTES) as paths:
            return await asyncio.to_thread(paths[cid].read_bytes)

    async def compute(self, held: HeldTask, deal: Deal, task: Task) -> Computed:
        """Run the job; its result is in the task's folder afterwards.

        Raises:
            HostFailure: this machine could not run it, or not within the category's reference time.
        """
        folder = self._folder(held.task_id)
        manifest = await asyncio.to_thread(_read_manifest, folder)
        if held.count:
            return await self._runs.compute(held, deal, task, manifest, folder)
        workdir = folder / "work"
        await asyncio.to_thread(_make_anew, workdir)
        started = time.monotonic()
        async with self._watched(held, deal, folder) as watch:
            result = await self._run_one(
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
                inputs=folder / _INPUTS,
                dependencies=folder / _DEPENDENCIES,
                workdir=workdir,
                wall_s=float(task.timeref),
                watch=watch,
                checkpoint=self._checkpoint_of(held.task_id),
            )
        compute_s = time.monotonic() - started
        return await asyncio.to_thread(self._keep, held, result, folder, compute_s)

    @asynccontextmanager
    async def _watched(self, held: HeldTask, deal: Deal, folder: Path) -> AsyncIterator[JobWatch | None]:
        if deal.trust > 1:
            yield None  # Nothing of it may be seen before consensus (decision 3).
            return
        async with self.live.watching(held.task_id, folder / _LIVE) as watch:
            yield watch

    async def _run_one(
        self,
        manifest: Manifest,
        deal: Deal,
        context: TaskContext,
        *,
        inputs: Path,
        dependencies: Path,
        workdir: Path,
        wall_s: float,
        watch: JobWatch | None = None,
        checkpoint: Path | None = None,
    ) -> JobResult:
        runtime = self._runtimes.get(manifest.runtime)
        if runtime is None:
            raise HostFailure(f"Runtime {manifest.runtime!r} is not installed here. Run `fairgrid runtime install`.")
        while self._permits < (self._policy().slots or self._slots):
            # The owner gave more slots since; fewer are kept by taking fewer leases.
            self._permits += 1
            self._free.release()
        need = manifest.needs.gpus
        async with self._free, self._gpus.lease(need) if need is not None else nullcontext(()) as gpus:
            # The owner may have changed the policy since the job was fetched.
            policy, wanted = self._policy(), manifest.needs.network
            refusal = refusal_of_network(policy, wanted)
            if refusal is not None:
                raise HostFailure(refusal)
            result = await run_job(
                manifest,
                _manifest_cid(deal),
                context,
                inputs={file.cid: inputs / file.cid for file in manifest.files_of(context.index)},
                dependencies={
                    reference.task: dependencies / reference.task
                    for reference in manifest.dependencies_of(context.index)
                },
                workdir=workdir,
                sandbox=runtime.sandbox,
                wall_s=wall_s,
                watch=watch,
                checkpoint=checkpoint,
                network=NetworkGrant(wanted, policy.network_bytes, self._is_local) if wanted else None,
                gpus=gpus,
            )
        self._tally["cpu_ms"] += round(result.usage.cpu_s * 1000)
        self._tally["job_network_bytes"] += result.usage.network_bytes
        return result

    async def upload(self, held: HeldTask) -> str:
        """Archive the result folder, upload the archive; gives its CID.

        Raises:
            HostFailure: the result on disk is not what was contributed.
            ServiceUnavailable, ServiceRefused, VerificationError: storage did not take it.
        """
        if held.count:
            return await self._runs.upload(held)
        archive = await asyncio.to_thread(self._archive, held)
        cid = await self._storage.add_file(archive, ticket=archive.with_suffix(".ticket"))
        size = archive.stat().st_size
        self._tally["uploaded_bytes"] += size
        transfers.sent(size)
        return cid

    async def discard(self, held: HeldTask, outcome: str) -> None:
        """Remove the folder of a task that ended so."""
        await asyncio.to_thread(remove_tree, self._folder(held.task_id))
        if held.count:
            await self._runs.discard(held, outcome)

    def suspend(self) -> bool:
        """Let running jobs stand still; False where a sandbox cannot."""
        answers = [runtime.sandbox.suspend() for runtime in self._runtimes.values()]
        return all(answers)

    def resume(self) -> None:
        """Let them go on."""
        for runtime in self._runtimes.values():
            runtime.sandbox.resume()

    async def sweep(self, held: Collection[HeldTask]) -> None:
        """Remove the folders of all tasks that are not ``held``."""
        await asyncio.to_thread(self._finished.sweep, {record.deal_id for record in held})
        names = {record.task_id for record in held}
        if await asyncio.to_thread(self._tasks.is_dir):
            for folder in await asyncio.to_thread(lambda: list(self._tasks.iterdir())):
                if folder.name not in names:
                    await asyncio.to_thread(remove_tree, folder)
        await asyncio.to_thread(_forget_old, self._checkpoints, names)

    def _folder(self, task_id: str) -> Path:
        return self._tasks / to_hex32(from_hex(task_id))

    def _checkpoint_of(self, task_id: str) -> Path:
        return self._checkpoints / to_hex32(from_hex(task_id))

    def _keep(self, held: HeldTask, result: JobResult, folder: Path, compute_s: float) -> Computed:
        kept = folder / _RESULT
        remove_tree(kept)
        result.result_folder.rename(kept)
        remove_tree(folder / "work")
        remove_tree(self._checkpoint_of(held.task_id))
        for name in (_INPUTS, _DEPENDENCIES):
            remove_tree(folder / name)
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
        result = folder / _RESULT
        try:
            same = held.digest in (tree_digest_of_folder(result), to_hex32(keccak(from_hex(held.callback_data))))
        except (OSError, VerificationError) as error:
            raise HostFailure(f"The result of task {held.task_id} is not on disk any more ({error}).") from error
        if not same:
            raise HostFailure(f"The result of task {held.task_id} was changed on disk: it is not what was contributed.")
        if self._misbehaviour is Misbehaviour.UPLOAD_OTHER:
            other = folder / "other"
            remove_tree(other)
            shutil.copytree(result, other)
            flip_byte(other)
            result = other
            _log.warning("misbehaves: uploads something else", task=held.task_id)
        archive = folder / "result.zip"
        write_archive(result, archive)
        return archive


def _manifest_cid(deal: Deal) -> str:
    cid = manifest_cid_of_params(deal.params)
    if cid is None:
        raise ManifestError("The deal's params do not name a manifest.")
    return cid


def _read_manifest(folder: Path) -> Manifest:
    return parse_manifest((folder / _MANIFEST).read_bytes())


def _forget_old(checkpoints: Path, held: set[str]) -> None:
    """Remove checkpoints of tasks that are not held and were not worked on for a day."""
    with contextlib.suppress(OSError):
        for folder in list(checkpoints.iterdir()):
            if folder.name not in held and folder.stat().st_mtime < time.time() - _CHECKPOINT_KEPT_S:
                remove_tree(folder)


def _make_anew(folder: Path) -> None:
    remove_tree(folder)
    folder.mkdir(parents=True)


def _lay_out(folder: Path, manifest: bytes, paths: Mapping[str, Path]) -> None:
    inputs = folder / _INPUTS
    inputs.mkdir(parents=True)
    for cid, path in paths.items():
        # A second name of the cached file: the cache may forget it, the task keeps it.
        os.link(path, inputs / cid)
    (folder / _MANIFEST).write_bytes(manifest)
