"""From a manifest to a digest: lays a job out, runs it, and applies the rules of results (decisions 5, 6, 9, 12, 40).

The worker and the client's comparison run use the same `run_job`. What it leaves in the result folder, and hence the
archive of that folder, is the same on every machine.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairgrid.errors import HostFailure, ManifestError, VerificationError
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.canonical import (
    MAX_CANONICAL_BYTES,
    CanonicalRule,
    NotCanonical,
    canonical_bytes,
    rules_for,
)
from fairgrid.protocol.digest import Entry, entries_of_folder, tree_digest
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.manifest import FileRef, Manifest, TaskRef, hashed_name, job_seed
from fairgrid.protocol.paths import path_fault
from fairgrid.protocol.results import (
    ERROR_FILE,
    MAX_CALLBACK_BYTES,
    error_in_folder,
    error_to_bytes,
    exit_error,
    limit_error,
    rule_error,
)
from fairgrid.runtime.interface import Limits, Outcome, Sandbox, SandboxJob, Stop
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.watch import JobWatch

__all__ = [
    "COMPUTED_FILE",
    "LOG_BYTES",
    "LOG_FILES",
    "JobResult",
    "TaskContext",
    "Usage",
    "run_job",
    "task_environment",
]

COMPUTED_FILE = "computed.json"
LOG_FILES = ("stdout.txt", "stderr.txt")
LOG_BYTES = 1 << 20

_GUEST_IN, _GUEST_OUT = "/iexec_in", "/iexec_out"
_GUEST_PROGRESS, _GUEST_CHECKPOINT = "/.fairgrid/progress", "/fairgrid_checkpoint"
_AGREED = (Stop.EXITED, Stop.FUEL, Stop.MEMORY, Stop.OUTPUT)
"""Ends on which every machine agrees."""
_MAX_COMPUTED_BYTES = 1 << 20
_FOLDERS = ("app", "in", "out", "result")


@dataclass(frozen=True, slots=True)
class TaskContext:
    """Which task the job is run for. Only ``index`` and whether there is a callback change the result by themselves."""

    deal_id: str
    task_id: str
    index: int
    bot_first: int
    bot_size: int
    callback: str = ZERO_ADDRESS


@dataclass(frozen=True, slots=True)
class Usage:
    """What the run cost; never part of a result."""

    fuel: int
    wall_s: float
    peak_memory_bytes: int
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class JobResult:
    """A result that may be contributed."""

    digest: str
    result_folder: Path
    """Exactly what goes into the archive."""
    covered: tuple[str, ...]
    """Paths in the result folder whose content ``digest`` commits to, in tree order; none in a task with a callback."""
    exit_code: int | None
    """None if a limit ended the job."""
    error: dict[str, Any] | None
    """The error document, if the job failed."""
    callback_data: bytes | None
    """What `finalize` passes to the callback; None without one."""
    usage: Usage


@dataclass(frozen=True, slots=True)
class _Collected:
    """What a job that ended well left: paths of the output folder, and the callback's bytes."""

    paths: tuple[str, ...]
    callback_data: bytes | None


class _RuleBroken(Exception):
    """The output breaks a rule: every machine says so with the same words."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        super().__init__(document["kind"])


async def run_job(
    manifest: Manifest,
    manifest_cid: str,
    context: TaskContext,
    *,
    inputs: Mapping[str, Path],
    workdir: Path,
    sandbox: Sandbox,
    wall_s: float = 300.0,
    dependencies: Mapping[str, Path] | None = None,
    watch: JobWatch | None = None,
    checkpoint: Path | None = None,
    gpus: tuple[int, ...] = (),
) -> JobResult:
    """Run task ``context.index`` of a manifest.

    ``inputs`` gives for each CID of `Manifest.files_of` a file whose content was verified; it is linked, not changed.
    ``dependencies`` gives for each task of `Manifest.dependencies_of` the folder of its verified result, likewise. A
    job that depends on a task that ended with an error is not run: that is its own, agreed error.
    ``workdir`` is this run's own; what an earlier run left there is removed, and at the end only ``result`` is in it.
    ``wall_s`` is this machine's patience. ``watch`` looks on while it runs.
    ``gpus`` are numbers of graphics processors that were leased for this run; it gets those and no others.
    ``checkpoint`` is a folder in which a job that asks for it keeps its checkpoint from run to run. A run that went on
    from one and did not end well is done again from the start, so that errors never depend on where a run began.

    Raises:
        ManifestError: the manifest has no such task.
        HostFailure: this machine could not run it (wrong runtime, wall clock, disk, memory): contribute nothing.
    """
    if manifest.runtime != sandbox.runtime_id:
        raise HostFailure(
            f"The job wants the runtime {manifest.runtime}; this sandbox is {sandbox.runtime_id}. "
            f"Results of another runtime would differ."
        )
    references = manifest.inputs_of(context.index)
    limits = Limits(
        fuel=manifest.resources.fuel,
        memory_bytes=manifest.resources.memory_bytes,
        output_bytes=manifest.resources.output_bytes,
        output_files=manifest.resources.output_files,
        log_bytes=LOG_BYTES,
        wall_s=wall_s,
        cpus=manifest.needs.cpus or 1,
    )
    try:
        await asyncio.to_thread(_lay_out, manifest.script, references, inputs, workdir)
        needed = manifest.dependencies_of(context.index)
        document = await asyncio.to_thread(_lay_out_dependencies, needed, dependencies or {}, workdir / "in")
        if document is not None:
            result = await asyncio.to_thread(_error_result, document, context, workdir, {}, Usage(0, 0.0, 0), None)
            await asyncio.to_thread(_tidy, workdir)
            return result
        job = SandboxJob(
            script=workdir / "app" / manifest.script.name,
            arguments=manifest.arguments_of(context.index),
            input_folder=workdir / "in",
            output_folder=workdir / "out",
            environment=task_environment(context, references, checkpoint=manifest.checkpoint),
            seed=job_seed(manifest_cid, context.index),
            limits=limits,
            checkpoint=manifest.checkpoint,
            checkpoint_folder=checkpoint if manifest.checkpoint else None,
            watch=watch,
            gpus=gpus,
        )
        if job.checkpoint_folder is not None:
            await asyncio.to_thread(job.checkpoint_folder.mkdir, parents=True, exist_ok=True)
        outcome = await sandbox.run(job)
        if outcome.resumed and outcome.stop in _AGREED and (outcome.stop, outcome.exit_code) != (Stop.EXITED, 0):
            assert checkpoint is not None
            await asyncio.to_thread(remove_tree, checkpoint)
            await asyncio.to_thread(checkpoint.mkdir, parents=True, exist_ok=True)
            await asyncio.to_thread(_make_anew, workdir / "out")
            outcome = await sandbox.run(job)
        result = await asyncio.to_thread(_result_of, outcome, limits, context, workdir, manifest.canonicaliser)
        await asyncio.to_thread(_tidy, workdir)
        return result
    except OSError as error:
        raise HostFailure(f"This machine could not store the job's files: {error}. Make room and try again.") from error


def task_environment(
    context: TaskContext, references: Sequence[FileRef], *, checkpoint: bool = False
) -> dict[str, str]:
    """The ``IEXEC_*`` variables of `task-runtime` §4.3; input names are the hashed ones. And our own beside them."""
    environment = {
        "IEXEC_DEAL_ID": context.deal_id,
        "IEXEC_TASK_ID": context.task_id,
        "IEXEC_TASK_INDEX": str(context.index),
        "IEXEC_BOT_TASK_INDEX": str(context.index),
        "IEXEC_BOT_SIZE": str(context.bot_size),
        "IEXEC_BOT_FIRST_INDEX": str(context.bot_first),
        "IEXEC_IN": _GUEST_IN,
        "IEXEC_OUT": _GUEST_OUT,
        "IEXEC_DATASET_ADDRESS": ZERO_ADDRESS,
        "IEXEC_DATASET_FILENAME": ZERO_ADDRESS,
        "IEXEC_INPUT_FILES_NUMBER": str(len(references)),
        "FAIRGRID_PROGRESS": _GUEST_PROGRESS,
    }
    if checkpoint:
        environment["FAIRGRID_CHECKPOINT"] = _GUEST_CHECKPOINT
    if references:
        environment["IEXEC_INPUT_FILES_FOLDER"] = _GUEST_IN
    for number, reference in enumerate(references, start=1):
        environment[f"IEXEC_INPUT_FILE_NAME_{number}"] = hashed_name(reference.cid)
    return environment


def _lay_out(script: FileRef, references: Sequence[FileRef], inputs: Mapping[str, Path], workdir: Path) -> None:
    for name in _FOLDERS:
        if (workdir / name).exists():
            remove_tree(workdir / name)
        (workdir / name).mkdir(parents=True)
    _place(script, inputs, workdir / "app" / script.name)
    for reference in references:
        _place(reference, inputs, workdir / "in" / reference.name)
        hashed = workdir / "in" / hashed_name(reference.cid)
        if not hashed.exists():
            _place(reference, inputs, hashed)


def _lay_out_dependencies(
    needed: Sequence[TaskRef], results: Mapping[str, Path], target: Path
) -> dict[str, Any] | None:
    """Lay the results of other tasks beside the inputs; an error document if one of them is an error itself."""
    for reference in needed:
        folder = results.get(reference.task)
        if folder is None:
            raise HostFailure(f"The result of task {reference.task}, on which the job depends, was not fetched.")
        if error_in_folder(folder) is not None:
            message = f"The job depends on task {reference.task} ({reference.name}), which ended with an error."
            return rule_error("dependency", message)
        (target / reference.name).mkdir()
        for entry in entries_of_folder(folder):
            place = target / reference.name / entry.path
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(folder / entry.path, place)
    return None


def _make_anew(folder: Path) -> None:
    remove_tree(folder)
    folder.mkdir(parents=True)


def _tidy(workdir: Path) -> None:
    """Keep the result and nothing else."""
    for name in _FOLDERS[:-1]:
        remove_tree(workdir / name)


def _place(reference: FileRef, inputs: Mapping[str, Path], target: Path) -> None:
    source = inputs.get(reference.cid)
    if source is None:
        raise HostFailure(f"The input {reference.name!r} ({reference.cid}) was not fetched.")
    size = source.stat().st_size
    if size != reference.size:
        raise ManifestError(
            f"The input {reference.name!r} has {size} bytes and the manifest says {reference.size}: "
            f"whoever made the manifest has to correct it."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    _link(source, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        # Another file system, or one without hard links.
        shutil.copyfile(source, target)


def _result_of(
    outcome: Outcome,
    limits: Limits,
    context: TaskContext,
    workdir: Path,
    canonicaliser: tuple[CanonicalRule, ...] = (),
) -> JobResult:
    has_callback = int(context.callback, 16) != 0
    usage = Usage(outcome.fuel_used, outcome.wall_s, outcome.peak_memory_bytes, outcome.cpu_s)
    result, logs = workdir / "result", dict(zip(LOG_FILES, (outcome.stdout, outcome.stderr), strict=True))
    try:
        document = _error_of(outcome, limits, with_logs=not has_callback)
        if document is None:
            collected = _collect(workdir / "out", limits, has_callback=has_callback)
            if not has_callback:
                _canonicalise(collected.paths, workdir / "out", canonicaliser, limits)
            return _success(collected, workdir / "out", result, logs, usage)
    except _RuleBroken as broken:
        document = broken.document
    exit_code = outcome.exit_code if outcome.stop is Stop.EXITED else None
    return _error_result(document, context, workdir, logs, usage, exit_code)


def _error_result(
    document: dict[str, Any],
    context: TaskContext,
    workdir: Path,
    logs: Mapping[str, bytes],
    usage: Usage,
    exit_code: int | None,
) -> JobResult:
    result, data = workdir / "result", error_to_bytes(document)
    (result / ERROR_FILE).write_bytes(data)
    if int(context.callback, 16) != 0:
        if document["kind"] == "exit":
            _write_logs(result, logs)
        return JobResult(to_hex32(keccak(data)), result, (), exit_code, document, data, usage)
    digest = tree_digest(entries_of_folder(result))
    return JobResult(digest, result, (ERROR_FILE,), exit_code, document, None, usage)


def _error_of(outcome: Outcome, limits: Limits, *, with_logs: bool) -> dict[str, Any] | None:
    """The error document of how the job ended; None if it ended well."""
    match outcome.stop:
        case Stop.FUEL:
            return limit_error("fuel", limits.fuel)
        case Stop.MEMORY:
            return limit_error("memory", limits.memory_bytes)
        case Stop.OUTPUT if outcome.detail == "files":
            return limit_error("outputFiles", limits.output_files)
        case Stop.OUTPUT:
            return limit_error("outputBytes", limits.output_bytes)
        case Stop.EXITED if outcome.exit_code == 0:
            return None
        case Stop.EXITED:
            logs = (outcome.stdout, outcome.stderr) if with_logs else (None, None)
            return exit_error(outcome.exit_code, *logs)
        case Stop.CPU:
            raise HostFailure(
                f"The job used more processor time than this machine gives it ({outcome.cpu_s:.0f} s). Nothing is "
                f"contributed; a faster machine may finish it."
            )
        case Stop.WALL_CLOCK:
            raise HostFailure(
                f"The job ran longer than this machine's limit of {limits.wall_s:.0f} s. Nothing is contributed; "
                f"a faster machine may finish it."
            )
        case Stop.HOST:
            raise HostFailure(f"This machine could not run the job: {outcome.detail}. Nothing is contributed.")


def _collect(out: Path, limits: Limits, *, has_callback: bool) -> _Collected:
    """Apply the rules of results to the output folder.

    Raises:
        _RuleBroken: it breaks one.
    """
    try:
        entries = entries_of_folder(out)
    except VerificationError:
        message = "The output holds a symbolic link, a special file or a name that a result cannot hold."
        raise _RuleBroken(rule_error("files", message)) from None
    if sum(entry.size for entry in entries) > limits.output_bytes:
        raise _RuleBroken(limit_error("outputBytes", limits.output_bytes))
    if len(entries) > limits.output_files:
        raise _RuleBroken(limit_error("outputFiles", limits.output_files))
    for name in LOG_FILES:
        if (out / name).exists():
            message = f"The job wrote a file {name} of its own; that name belongs to the job's log. Use another."
            raise _RuleBroken(rule_error("logName", message))
    computed = _read_computed(out)
    paths = tuple(entry.path for entry in entries if entry.path != COMPUTED_FILE)
    if has_callback:
        return _Collected(paths, _callback_data(computed))
    named = computed.get("deterministic-output-path")
    return _Collected(paths if named is None else _below(named, out, paths), None)


def _canonicalise(paths: tuple[str, ...], out: Path, rules: tuple[CanonicalRule, ...], limits: Limits) -> None:
    """Write the files of the result as the manifest declares, before they are hashed (decision 7).

    Raises:
        _RuleBroken: a file has no canonical form, or is too large in it.
    """
    if not rules:
        return
    for path in paths:
        place = out / path
        for rule in rules_for(path, rules):
            try:
                if place.stat().st_size > MAX_CANONICAL_BYTES:
                    raise NotCanonical(f"it is larger than {MAX_CANONICAL_BYTES} bytes")
                content = canonical_bytes(place.read_bytes(), rule)
            except NotCanonical as error:
                message = f"The manifest wants {path} in the canonical form {rule.kind!r}, but {error}."
                raise _RuleBroken(rule_error("canonical", message)) from None
            place.chmod(0o644)
            place.write_bytes(content)
    if sum((out / path).stat().st_size for path in paths) > limits.output_bytes:
        raise _RuleBroken(limit_error("outputBytes", limits.output_bytes))


def _read_computed(out: Path) -> dict[str, Any]:
    place = out / COMPUTED_FILE
    if not place.exists():
        return {}
    try:
        if not place.is_file() or place.stat().st_size > _MAX_COMPUTED_BYTES:
            raise ValueError
        document = load_json(place.read_bytes())
        if not isinstance(document, dict):
            raise ValueError
    except ValueError:
        message = f"{COMPUTED_FILE} is not a JSON object of at most {_MAX_COMPUTED_BYTES} bytes."
        raise _RuleBroken(rule_error("computed", message)) from None
    return document


def _below(named: object, out: Path, paths: tuple[str, ...]) -> tuple[str, ...]:
    """The paths at or below what ``deterministic-output-path`` names."""
    if not isinstance(named, str):
        raise _RuleBroken(rule_error("computed", f"{COMPUTED_FILE}: deterministic-output-path is not text."))
    relative = named.rstrip("/")
    if relative == _GUEST_OUT:
        return paths
    relative = relative.removeprefix(_GUEST_OUT + "/")
    if path_fault(relative) is not None or relative == COMPUTED_FILE or not (out / relative).exists():
        message = f"{COMPUTED_FILE}: deterministic-output-path names nothing that a result can hold in {_GUEST_OUT}."
        raise _RuleBroken(rule_error("computed", message))
    return tuple(path for path in paths if path == relative or path.startswith(relative + "/"))


def _callback_data(computed: Mapping[str, Any]) -> bytes:
    data = computed.get("callback-data")
    if not isinstance(data, str) or not re.fullmatch(r"0x([0-9a-fA-F]{2})*", data, re.ASCII):
        message = f"The deal has a callback, and {COMPUTED_FILE} has no callback-data in 0x-hexadecimal."
        raise _RuleBroken(rule_error("callback", message))
    if len(data) > 2 + 2 * MAX_CALLBACK_BYTES:
        raise _RuleBroken(rule_error("callback", f"callback-data is longer than {MAX_CALLBACK_BYTES} bytes."))
    return bytes.fromhex(data[2:])


def _success(collected: _Collected, out: Path, result: Path, logs: Mapping[str, bytes], usage: Usage) -> JobResult:
    for path in collected.paths:
        (result / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).rename(result / path)
    _write_logs(result, logs)
    if collected.callback_data is not None:
        digest = to_hex32(keccak(collected.callback_data))
        return JobResult(digest, result, (), 0, None, collected.callback_data, usage)
    entries: tuple[Entry, ...] = entries_of_folder(result)
    covered = tuple(entry.path for entry in entries)
    return JobResult(tree_digest(entries), result, covered, 0, None, None, usage)


def _write_logs(result: Path, logs: Mapping[str, bytes]) -> None:
    for name, content in logs.items():
        if content:
            (result / name).write_bytes(content)
