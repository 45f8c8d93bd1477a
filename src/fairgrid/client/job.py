"""A job as its requester has it: files on this machine. Prepared, it is a manifest and blobs in storage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairgrid.errors import UsageError
from fairgrid.protocol.abilities import needs_fault
from fairgrid.protocol.canonical import CanonicalRule
from fairgrid.protocol.manifest import TaskRef
from fairgrid.protocol.needs import GpuNeed, Needs
from fairgrid.protocol.network import destination
from fairgrid.protocol.paths import path_fault
from fairgrid.runtime.catalogue import runtime_info
from fairgrid.runtime.program_check import check_program

__all__ = ["MAX_HOSTS", "MAX_INPUT_BYTES", "MAX_KEEP_DAYS", "MAX_TASKS", "WAITING_DAYS", "Job", "JobRuntime"]

MAX_INPUT_BYTES = 1 << 30
"""Script and inputs together: what a worker takes under its default policy. More would be paid for by nobody."""
MAX_HOSTS = 16
"""Destinations that a job's manifest can list."""
MAX_KEEP_DAYS = 36_500
"""The longest time after which a job's files may be removed."""
WAITING_DAYS = 7
"""So much longer than results, storage keeps what a job is computed from: it may wait for a machine."""
MAX_TASKS = 100_000
"""Tasks of one bag: what a manifest can list."""


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
    private: bool = False
    """Everything of it is encrypted, its results too; only its pool and the machines that compute it can read it."""
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Names and values that it gets as ``IEXEC_REQUESTER_SECRET_1`` and so on; they travel sealed, without their
    names."""
    keep_days: int | None = None
    """Storage removes its results so many days after their upload, what it was computed from `WAITING_DAYS` later;
    None: it removes nothing."""
    app: str = ""
    """Address of the published app whose program it is; empty: a program of one's own, in its runtime."""
    label: str = ""
    """What its deals are called in the journal; empty: as the script."""

    def __post_init__(self) -> None:
        """A job that no machine could ever compute is not made: a pool would lease it to nobody.

        Raises:
            UsageError: its runtime cannot give what it needs, or it cannot be private.
        """
        if self.private and self.checkpoint:
            raise UsageError(
                "A private run keeps no checkpoints: they would lie in plain form on its workers' disks for a day. "
                "Nothing was signed. Leave --checkpoint or --private out."
            )
        if self.private and self.dependencies:
            raise UsageError(
                "A private run cannot read results of other tasks yet: its workers have no key for them. Nothing was "
                "signed. Fetch the results with `fairgrid result`, and give them as --input."
            )
        fault = needs_fault(self.runtime.runtime_id, self.needs)
        if fault is not None:
            raise UsageError(f"{fault} Nothing was signed.")

    @property
    def uploads_keep_s(self) -> int | None:
        """Seconds for which storage keeps program, inputs and manifest from their upload; None: without end."""
        return None if self.keep_days is None else (self.keep_days + WAITING_DAYS) * 86_400

    def kept_for(self, days: int | None) -> Job:
        """The same job, whose files storage removes after ``days``; None: they stay.

        Raises:
            UsageError: this is no number of days that can be asked for.
        """
        if days is not None and not 1 <= days <= MAX_KEEP_DAYS:
            raise UsageError(f"Files of a run are kept for 1 to {MAX_KEEP_DAYS} days, not {days}. Nothing was signed.")
        return replace(self, keep_days=days)

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

    def hidden(self, *, private: bool, secrets: Sequence[tuple[str, str]] = ()) -> Job:
        """The same job, encrypted as a whole if ``private``, with ``secrets`` (names and values) that travel sealed.

        Raises:
            UsageError: it cannot be private, or a secret cannot be a variable of the environment.
        """
        for name, secret in secrets:
            if not secret or "\0" in secret:
                raise UsageError(f"The secret {name!r} is empty or holds a NUL character: no program can get it.")
        return replace(self, private=private, secrets=tuple(secrets))

    @property
    def is_sealed(self) -> bool:
        """Whether its manifest has a sealed key."""
        return self.private or bool(self.secrets)

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
