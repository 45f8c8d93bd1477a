"""A job as its requester has it: files on this machine. Prepared, it is a manifest and blobs in storage."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from fairgrid.errors import UsageError
from fairgrid.protocol.abilities import needs_fault
from fairgrid.protocol.canonical import CanonicalRule
from fairgrid.protocol.cid import CidBuilder
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources, TaskRef
from fairgrid.protocol.needs import GpuNeed, Needs
from fairgrid.protocol.network import destination
from fairgrid.protocol.paths import path_fault
from fairgrid.runtime.catalogue import runtime_info
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.job import TaskContext, run_job
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.program_check import check_program
from fairgrid.storage.client import StorageClient

__all__ = [
    "FUEL_PER_SECOND",
    "MAX_HOSTS",
    "MAX_INPUT_BYTES",
    "MAX_TASKS",
    "Job",
    "JobRuntime",
    "PreparedJob",
    "local_files",
    "manifest_of",
    "parse_gpus",
    "parse_size",
    "prepare_job",
    "read_items",
    "run_locally",
]

FUEL_PER_SECOND = 1_000_000_000
"""Fuel that a job may use for each second of its category's timeref, by default (decision 47)."""

MAX_INPUT_BYTES = 1 << 30
"""Script and inputs together: what a worker takes under its default policy. More would be paid for by nobody."""

MAX_HOSTS = 16
"""Destinations that a job's manifest can list."""

MAX_TASKS = 100_000
"""Tasks of one bag: what a manifest can list."""

_READ_BYTES = 1 << 20
_UPLOADS_AT_ONCE = 8
_SIZE = re.compile(r"(\d{1,12})\s*([KMG]?)I?B?", re.ASCII | re.IGNORECASE)
_GPUS = re.compile(r"(\d{1,3})(?::(\d{1,9}\s*[kmg]i?b?)?(?::([a-z0-9][a-z0-9 ._-]{0,99}))?)?", re.ASCII)
_MOST_GPUS = 64
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True)
class JobRuntime:
    """The runtime that a job asks for, and the generic app that this means (decision 44)."""

    runtime_id: str
    app_type: str
    checksum: str
    """SHA-256, as 0x-hex, of what the app names: the interpreter, or the description of the runtime."""

    @classmethod
    def of(cls, runtime_id: str) -> JobRuntime:
        """A runtime that this version knows.

        Raises:
            UsageError: it does not.
        """
        info = runtime_info(runtime_id)
        return cls(runtime_id, info.app_type, info.content.sha256)


@dataclass(frozen=True, slots=True)
class Job:
    """A script, its input files and its arguments. ``fuel`` None is the category's default.

    ``dependencies`` are tasks whose results are inputs too: the job is computed once they are COMPLETED.
    """

    script: Path
    inputs: tuple[Path, ...]
    arguments: tuple[str, ...]
    runtime: JobRuntime
    fuel: int | None = None
    memory_bytes: int = 1 << 30
    output_bytes: int = 256 << 20
    dependencies: tuple[TaskRef, ...] = ()
    items: tuple[tuple[str, ...], ...] = ()
    """Of a bag: what each of its tasks has as arguments after ``arguments``; empty if all are alike."""
    item_inputs: tuple[tuple[Path, ...], ...] = ()
    """Of a bag: the files that each of its tasks has besides ``inputs``; empty if none has any."""
    tasks: int = 1
    canonicaliser: tuple[CanonicalRule, ...] = ()
    """How files of the result are written before they are hashed, so that machines that differ a little agree."""
    checkpoint: bool = False
    """Each task has a folder that survives a restart of its worker."""
    network: tuple[str, ...] = ()
    """Hosts that it connects to (`fairgrid.protocol.network`); empty: no network."""
    gpus: GpuNeed | None = None
    """Graphics processors that each task needs."""

    def __post_init__(self) -> None:
        """A job that no machine could ever compute is not made: a pool would lease it to nobody.

        Raises:
            UsageError: its runtime cannot give what it needs.
        """
        fault = needs_fault(self.runtime.runtime_id, self.needs)
        if fault is not None:
            raise UsageError(f"{fault} Nothing was signed.")

    @property
    def needs(self) -> Needs:
        """What each task needs of its machine."""
        return Needs(gpus=self.gpus, network=self.network)

    def connecting_to(self, hosts: Sequence[str]) -> Job:
        """The same job with network: only workers get it whose owners allow all of ``hosts``.

        Raises:
            UsageError: one is no destination, there are too many, or the job's runtime has no network on any machine.
        """
        for host in hosts:
            destination(host)
        if len(hosts) > MAX_HOSTS:
            raise UsageError(f"A job may name {MAX_HOSTS} hosts, not {len(hosts)}. Nothing was signed.")
        return replace(self, network=tuple(dict.fromkeys(hosts)))

    def needing(self, gpus: GpuNeed | None) -> Job:
        """The same job on machines with such graphics processors; None: it needs none.

        Raises:
            UsageError: its runtime cannot reach any.
        """
        return replace(self, gpus=gpus)

    def as_bag(self, items: Sequence[Sequence[str]] = (), *, tasks: int | None = None) -> Job:
        """The same job many times: once for each of ``items``, or ``tasks`` times alike (their index differs).

        Raises:
            UsageError: both are given and differ, or there are none or too many tasks.
        """
        count = len(items) or tasks or 0
        if not 1 <= count <= MAX_TASKS or (items and tasks not in (None, len(items))):
            raise UsageError(
                f"A bag has 1 to {MAX_TASKS} tasks, as many as there are lines of arguments: not {tasks} tasks and "
                f"{len(items)} lines. Nothing was signed."
            )
        return replace(self, items=tuple(tuple(item) for item in items), tasks=count)

    @classmethod
    def from_files(
        cls,
        script: Path,
        inputs: Sequence[Path],
        arguments: Sequence[str],
        *,
        runtime_id: str,
        fuel: int | None = None,
        memory_bytes: int = 1 << 30,
        output_bytes: int = 256 << 20,
        checkpoint: bool = False,
    ) -> Job:
        """Look at every file now, so that nothing is signed for a job that cannot start.

        Raises:
            UsageError: a file is missing, unreadable or no file, or two inputs have one name, or they
                are too large for workers, or every machine would refuse the program.
        """
        total = _check_file(script, "script")
        names: set[str] = set()
        for path in inputs:
            total += _check_file(path, "input")
            fault = path_fault(path.name)
            if fault is not None:
                raise UsageError(f"The input {path} has a name that workers refuse: {fault}. Rename it.")
            if path.name in names:
                raise UsageError(f"Two inputs are named {path.name}: the script could not tell them apart. Rename one.")
            names.add(path.name)
        if total > MAX_INPUT_BYTES:
            raise UsageError(
                f"Script and inputs have {total} bytes together, and workers take at most {MAX_INPUT_BYTES} bytes. "
                f"Nothing was signed. Split the job, or give it less."
            )
        runtime = JobRuntime.of(runtime_id)
        check_program(script, runtime_info(runtime_id), names)
        return cls(
            script,
            tuple(inputs),
            tuple(arguments),
            runtime,
            fuel,
            memory_bytes,
            output_bytes,
            checkpoint=checkpoint,
        )

    def after(self, dependencies: Sequence[TaskRef]) -> Job:
        """The same job, but computed after other tasks, whose results it reads.

        Raises:
            UsageError: a name cannot be that of a folder beside the inputs.
        """
        names = {path.name for path in self.inputs}
        for reference in dependencies:
            fault = "it holds a '/'" if "/" in reference.name else path_fault(reference.name)
            if fault is not None:
                raise UsageError(f"{reference.name!r} cannot be the name of a folder: {fault}. Choose another name.")
            if reference.name in names:
                raise UsageError(f"Two inputs are named {reference.name}: the script could not tell them apart.")
            names.add(reference.name)
        return replace(self, dependencies=tuple(dependencies))


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job whose files lie in storage, and the manifest that names them."""

    name: str
    manifest: Manifest
    manifest_cid: str


def parse_size(text: str, option: str) -> int:
    """Bytes of ``512M``, ``2G``, ``4096``; K, M and G are powers of 1,024.

    Raises:
        UsageError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise UsageError(f"{option} {text!r} is not a size. Give one such as 512M or 2G.")
    return int(found[1]) * _UNITS[found[2].upper()]


def parse_gpus(text: str) -> GpuNeed:
    """What ``--gpus`` says: ``2``, ``2:16G`` (memory of each), or ``1:40G:a100`` (a part of the model's name).

    Raises:
        UsageError: it says something else.
    """
    found = _GPUS.fullmatch(text.strip().lower())
    if found is None or not 1 <= int(found[1]) <= _MOST_GPUS:
        raise UsageError(
            f"--gpus {text!r} is not COUNT[:MEMORY[:MODEL]] with a count from 1 to {_MOST_GPUS}. Give one such as 1, "
            f"2:16G or 1:40G:a100."
        )
    return GpuNeed(int(found[1]), parse_size(found[2], "--gpus") if found[2] else 0, found[3] or "")


def manifest_of(job: Job, *, timeref: int) -> Manifest:
    """The manifest of a job; ``timeref`` in seconds gives the default fuel."""
    references = {path: _file_ref(path) for path in dict.fromkeys((*job.inputs, *chain.from_iterable(job.item_inputs)))}
    return Manifest(
        script=_file_ref(job.script),
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


def _items(job: Job, references: Mapping[Path, FileRef]) -> Iterator[Item]:
    for number, item in enumerate(job.items):
        more = job.item_inputs[number] if job.item_inputs else ()
        inputs = _in_order(references[path] for path in (*job.inputs, *more)) if more else None
        yield Item(arguments=(*job.arguments, *item), inputs=inputs)


def _in_order(references: Iterable[FileRef]) -> tuple[FileRef, ...]:
    return tuple(sorted(references, key=lambda reference: reference.name))


def read_items(file: Path) -> list[list[str]]:
    """The arguments of a bag's tasks: one line a task, split as a shell does; empty lines are skipped.

    Raises:
        UsageError: it cannot be read, or a quote is not closed.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The list of arguments {file} cannot be read ({error}). Nothing was signed.") from error
    items: list[list[str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            items.append(shlex.split(line))
        except ValueError as error:
            raise UsageError(f"Line {number} of {file} cannot be split into arguments: {error}.") from error
    if not items:
        raise UsageError(f"The list of arguments {file} is empty: a bag has a line for each task. Nothing was signed.")
    return items


async def prepare_job(job: Job, storage: StorageClient, *, timeref: int) -> PreparedJob:
    """Upload script, inputs and manifest; what storage has already is not sent again.

    Raises:
        ManifestError: a worker would refuse the job.
        UsageError: a file changed while it was read.
        ServiceError: storage is down, or refuses (too large, full).
    """
    manifest = await asyncio.to_thread(manifest_of, job, timeref=timeref)
    data = await asyncio.to_thread(manifest.to_bytes)
    await _upload(_files(job, manifest), storage)
    return PreparedJob(job.script.name, manifest, await storage.add_bytes(data))


async def _upload(files: Iterable[tuple[Path, FileRef]], storage: StorageClient) -> None:
    queue = iter(files)

    async def some() -> None:
        for path, reference in queue:
            if await storage.stat(reference.cid) == reference.size:
                continue
            if await storage.add_file(path) != reference.cid:
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


def _file_ref(path: Path) -> FileRef:
    builder = CidBuilder()
    try:
        with open(path, "rb") as source:
            while piece := source.read(_READ_BYTES):
                builder.update(piece)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
    return FileRef(path.name, builder.finish(), builder.size)


def _check_file(path: Path, what: str) -> int:
    """Bytes of a file that exists and can be read."""
    try:
        if not path.exists():
            raise UsageError(f"There is no {what} {path}. Nothing was signed; check the name.")
        if not path.is_file():
            raise UsageError(f"The {what} {path} is not a file. Nothing was signed; name a file.")
        with path.open("rb") as source:
            return os.fstat(source.fileno()).st_size
    except OSError as error:
        raise UsageError(
            f"The {what} {path} cannot be read ({error.strerror}). Nothing was signed; name a file that you may read."
        ) from error
