"""What a task needs is fetched, before anything of it runs: manifest, script, inputs, results of other tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fairgrid.chain.interface import Chain
from fairgrid.errors import HostFailure, ManifestError
from fairgrid.protocol.abilities import level_fault
from fairgrid.protocol.app_document import program_fault
from fairgrid.protocol.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from fairgrid.protocol.private_job import is_private
from fairgrid.protocol.views import Deal
from fairgrid.worker.computing.dependencies import fetch_dependencies
from fairgrid.worker.computing.folders import TaskFolder
from fairgrid.worker.computing.gpus import Gpus
from fairgrid.worker.computing.inputs import ContentSource, InputCache
from fairgrid.worker.computing.private_work import PrivateWork, open_files
from fairgrid.worker.computing.published import PublishedApps
from fairgrid.worker.computing.run_work import RunWork
from fairgrid.worker.computing.running import manifest_cid_of
from fairgrid.worker.core.held import HeldTask
from fairgrid.worker.onchain.apps import KnownApps
from fairgrid.worker.owner.policy import WorkerPolicy, refusal_of_memory, refusal_of_network

__all__ = ["TaskFetcher"]


class TaskFetcher:
    """Fetches through the worker's cache, within the limits of its owner; a run's tasks by `RunWork`."""

    def __init__(
        self,
        *,
        chain: Chain,
        storage: ContentSource,
        cache: InputCache,
        apps: KnownApps,
        published: PublishedApps,
        runs: RunWork,
        private: PrivateWork,
        policy: Callable[[], WorkerPolicy],
        slots: int,
        gpus: Gpus,
    ) -> None:
        self._chain = chain
        self._storage = storage
        self._cache = cache
        self._apps = apps
        self._published = published
        self._runs = runs
        self._private = private
        self._policy = policy
        self._slots = slots
        self._gpus = gpus

    async def fetch(self, held: HeldTask, deal: Deal, folder: TaskFolder) -> Manifest:
        """Fetch manifest, script and inputs into the task's ``folder``, which is made anew; gives the manifest of
        the job, decrypted if it is private.

        Raises:
            HostFailure: the owner's limits do not allow them, or storage does not have them.
            ManifestError: the manifest cannot be used.
            ServiceUnavailable: storage does not answer.
            VerificationError: storage sent something else.
        """
        await asyncio.to_thread(folder.remove)
        data = await self._manifest_of(deal)
        manifest = await asyncio.to_thread(parse_manifest, data)
        app = await self._apps.at(deal.app.pointer)
        document = await self._published.document_of(app)
        hidden = is_private(manifest)
        if document is None and manifest.runtime != app.name:
            raise ManifestError(f"The manifest asks for runtime {manifest.runtime!r}, its app is {app.name!r}.")
        fault = None if document is None or hidden else await asyncio.to_thread(program_fault, document, manifest)
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
        keys = await self._private.keys_for(held, deal, manifest)

        laid_out = [manifest]

        def lay_out(paths: Mapping[str, Path], indexes: Sequence[int]) -> None:
            if keys is None or not hidden:
                folder.lay_out(data, paths)
            if keys is not None:
                opened, note = open_files(manifest, keys, indexes, paths, folder.path)
                if document is not None and hidden and (wrong := program_fault(document, opened)) is not None:
                    raise ManifestError(wrong)
                folder.lay_out_opened(opened)
                laid_out[0] = opened
                note.write(folder.path)

        if held.count:
            await self._runs.download(held, manifest, folder.dependencies, lay_out)
            return laid_out[0]
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
                await asyncio.to_thread(lay_out, paths, (held.index,))
            except OSError as error:
                # The names of a private job's files are nobody's business: only what went wrong is told.
                what = error.strerror or str(error)
                raise HostFailure(f"The inputs cannot be laid out in {folder.path} ({what}). Make room.") from error
        await fetch_dependencies(
            self._chain,
            self._storage,
            manifest.dependencies_of(held.index),
            folder.dependencies,
            max_bytes=limit - sum(file.size for file in files),
        )
        return laid_out[0]

    async def _manifest_of(self, deal: Deal) -> bytes:
        cid = manifest_cid_of(deal)
        async with self._cache.holding([cid], max_bytes=MAX_MANIFEST_BYTES) as paths:
            return await asyncio.to_thread(paths[cid].read_bytes)
