"""A job gets its manifest, and its files go to storage; or it runs here, from the same manifest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from fairgrid.client.job import Job
from fairgrid.errors import UsageError
from fairgrid.protocol.cid import CidBuilder
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.job import TaskContext, run_job
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.storage.client import StorageClient

__all__ = [
    "FUEL_PER_SECOND",
    "PreparedJob",
    "file_ref",
    "local_files",
    "manifest_of",
    "prepare_job",
    "run_locally",
    "upload_files",
]

FUEL_PER_SECOND = 1_000_000_000
"""Fuel that a job may use for each second of its category's timeref, by default (decision 47)."""
_READ_BYTES = 1 << 20
_UPLOADS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job whose files lie in storage, and the manifest that names them."""

    name: str
    manifest: Manifest
    manifest_cid: str


def manifest_of(job: Job, *, timeref: int) -> Manifest:
    """The manifest of a job; ``timeref`` in seconds gives the default fuel.

    Raises:
        UsageError: there are files for more or fewer tasks than the bag has.
    """
    references = {path: file_ref(path) for path in dict.fromkeys((*job.inputs, *chain.from_iterable(job.item_inputs)))}
    manifest = Manifest(
        script=file_ref(job.script),
        runtime=job.runtime.runtime_id,
        resources=Resources(
            fuel=job.fuel if job.fuel is not None else FUEL_PER_SECOND * timeref,
            memory_bytes=job.memory_bytes,
            output_bytes=job.output_bytes,
        ),
        arguments=job.arguments,
        inputs=_in_order(references[path] for path in job.inputs),
        dependencies=job.dependencies,
        canonicaliser=job.canonicaliser,
        items=tuple(_items(job, references)),
        checkpoint=job.checkpoint,
        needs=job.needs,
    )
    if job.keep_days is None:
        return manifest
    return replace(manifest, retention_days=job.keep_days, deleted_after=True)


def _items(job: Job, references: Mapping[Path, FileRef]) -> Iterator[Item]:
    if job.item_inputs and len(job.item_inputs) != job.tasks:
        raise UsageError(
            f"Files are given for {len(job.item_inputs)} tasks of a bag of {job.tasks}. Nothing was signed."
        )
    for number, item in enumerate(job.items or ((),) * len(job.item_inputs)):
        more = job.item_inputs[number] if job.item_inputs else ()
        inputs = _in_order(references[path] for path in (*job.inputs, *more)) if more else None
        yield Item(arguments=(*job.arguments, *item), inputs=inputs)


def _in_order(references: Iterable[FileRef]) -> tuple[FileRef, ...]:
    return tuple(sorted(references, key=lambda reference: reference.name))


async def prepare_job(job: Job, storage: StorageClient, *, timeref: int) -> PreparedJob:
    """Upload script, inputs and manifest; what storage has already is not sent again.

    Raises:
        ManifestError: a worker would refuse the job.
        UsageError: a file changed while it was read.
        ServiceError: storage is down, or refuses (too large, full).
    """
    manifest = await asyncio.to_thread(manifest_of, job, timeref=timeref)
    data = await asyncio.to_thread(manifest.to_bytes)
    await upload_files(job, manifest, storage)
    return PreparedJob(job.label or job.script.name, manifest, await storage.add_bytes(data, keep_s=job.uploads_keep_s))


async def upload_files(job: Job, manifest: Manifest, storage: StorageClient) -> None:
    """Upload the files of a job that storage does not have.

    Raises:
        UsageError: a file changed while it was read.
        ServiceError: storage is down, or refuses.
    """
    await _upload(_files(job, manifest), storage, job.uploads_keep_s)


async def _upload(files: Iterable[tuple[Path, FileRef]], storage: StorageClient, keep_s: int | None) -> None:
    queue = iter(files)

    async def some() -> None:
        for path, reference in queue:
            if await storage.kept(reference.cid, keep_s=keep_s) == reference.size:
                continue
            if await storage.add_file(path, keep_s=keep_s) != reference.cid:
                raise UsageError(f"{path} changed while it was being uploaded. Nothing was signed; run it again.")

    uploads = [asyncio.ensure_future(some()) for _ in range(_UPLOADS_AT_ONCE)]
    try:
        await asyncio.gather(*uploads)
    finally:
        for upload in uploads:
            upload.cancel()
        await asyncio.gather(*uploads, return_exceptions=True)


async def run_locally(
    job: Job,
    *,
    timeref: int,
    index: int,
    workdir: Path,
    sandbox: Sandbox,
    deal_id: str = ZERO32,
    task_id: str = ZERO32,
    dependencies: Mapping[str, Path] | None = None,
    network: NetworkGrant | None = None,
) -> JobResult:
    """The same job in the same runtime with the same seed, on this machine: what workers' results are compared with.

    A script that reads ``$IEXEC_DEAL_ID`` or ``$IEXEC_TASK_ID`` gives the same result only with the deal's own ids.
    ``dependencies`` gives the folder of the result of each task that the job depends on. ``network`` is what a job
    that asks for it gets of this machine's.

    Raises:
        HostFailure: this machine cannot run it.
    """
    manifest = manifest_of(job, timeref=timeref)
    files = local_files(job, timeref=timeref)
    context = TaskContext(deal_id=deal_id, task_id=task_id, index=index, bot_first=index, bot_size=1)
    return await run_job(
        manifest,
        manifest.cid(),
        context,
        inputs=files,
        workdir=workdir,
        sandbox=sandbox,
        dependencies=dependencies,
        network=network,
    )


def local_files(job: Job, *, timeref: int) -> dict[str, Path]:
    """The program and the inputs of a job on this machine, by CID."""
    return {reference.cid: path for path, reference in _files(job, manifest_of(job, timeref=timeref))}


def _files(job: Job, manifest: Manifest) -> list[tuple[Path, FileRef]]:
    """Every file once; two tasks of a bag may have different files of one name, but never one task."""
    inputs = [(job.inputs, manifest.inputs)]
    if job.item_inputs:
        pairs = zip(job.item_inputs, manifest.items, strict=True)
        inputs += [((*job.inputs, *more), item.inputs or ()) for more, item in pairs if more]
    found = {job.script: manifest.script}
    for paths, references in inputs:
        named = {reference.name: reference for reference in references}
        found |= {path: named[path.name] for path in paths}
    return list(found.items())


def file_ref(path: Path) -> FileRef:
    builder = CidBuilder()
    try:
        with open(path, "rb") as source:
            while piece := source.read(_READ_BYTES):
                builder.update(piece)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
    return FileRef(path.name, builder.finish(), builder.size)
