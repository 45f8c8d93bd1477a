"""From a manifest to a digest: lays a job out, runs it, and applies the rules of results (decisions 5, 6, 9, 12, 40).

The worker and the client's comparison run use the same `run_job`. What it leaves in the result folder, and hence the
archive of that folder, is the same on every machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairgrid.errors import HostFailure
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.manifest import FileRef, Manifest, hashed_name, job_seed
from fairgrid.protocol.network import uncovered
from fairgrid.runtime.interface import Limits, Sandbox, SandboxJob, Stop
from fairgrid.runtime.job_folders import GUEST_IN, GUEST_OUT, lay_out, lay_out_dependencies, tidy
from fairgrid.runtime.job_result import JobResult, Usage, error_result, result_of
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.removal import make_anew, remove_tree
from fairgrid.runtime.watch import JobWatch

__all__ = ["LOG_BYTES", "TaskContext", "run_job", "task_environment"]

LOG_BYTES = 1 << 20

_GUEST_PROGRESS, _GUEST_CHECKPOINT = "/.fairgrid/progress", "/fairgrid_checkpoint"
_AGREED = (Stop.EXITED, Stop.FUEL, Stop.MEMORY, Stop.OUTPUT)
"""Ends on which every machine agrees."""


@dataclass(frozen=True, slots=True)
class TaskContext:
    """Which task the job is run for. Only ``index`` and whether there is a callback change the result by themselves."""

    deal_id: str
    task_id: str
    index: int
    bot_first: int
    bot_size: int
    callback: str = ZERO_ADDRESS


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
    network: NetworkGrant | None = None,
    gpus: tuple[int, ...] = (),
    secrets: Sequence[str] = (),
) -> JobResult:
    """Run task ``context.index`` of a manifest.

    ``inputs`` gives for each CID of `Manifest.files_of` a file whose content was verified; it is linked, not changed.
    ``dependencies`` gives for each task of `Manifest.dependencies_of` the folder of its verified result, likewise. A
    job that depends on a task that ended with an error is not run: that is its own, agreed error.
    ``workdir`` is this run's own; what an earlier run left there is removed, and at the end only ``result`` is in it.
    ``wall_s`` is this machine's patience. ``watch`` looks on while it runs.
    ``gpus`` are numbers of graphics processors that were leased for this run; it gets those and no others.
    ``secrets`` are the requester's, for its environment alone: ``IEXEC_REQUESTER_SECRET_1`` and so on.
    ``checkpoint`` is a folder in which a job that asks for it keeps its checkpoint from run to run. A run that went on
    from one and did not end well is done again from the start, so that errors never depend on where a run began.
    ``network`` is what this machine gives a job that asks for it; a job that does not ask gets none.

    Raises:
        ManifestError: the manifest has no such task.
        HostFailure: this machine could not run it (wrong runtime, wall clock, disk, memory): contribute nothing.
    """
    if manifest.runtime != sandbox.runtime_id:
        raise HostFailure(
            f"The job wants the runtime {manifest.runtime}; this sandbox is {sandbox.runtime_id}. "
            f"Results of another runtime would differ."
        )
    wanted = manifest.needs.network
    if wanted and (network is None or uncovered(wanted, network.hosts)):
        raise HostFailure(
            f"The job asks for the network ({', '.join(wanted)}), and this machine does not give it that."
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
        await asyncio.to_thread(lay_out, manifest.script, references, inputs, workdir)
        needed = manifest.dependencies_of(context.index)
        document = await asyncio.to_thread(lay_out_dependencies, needed, dependencies or {}, workdir / "in")
        if document is not None:
            result = await asyncio.to_thread(
                error_result, document, context.callback, workdir, {}, Usage(0, 0.0, 0), None
            )
            await asyncio.to_thread(tidy, workdir)
            return result
        job = SandboxJob(
            script=workdir / "app" / manifest.script.name,
            arguments=manifest.arguments_of(context.index),
            input_folder=workdir / "in",
            output_folder=workdir / "out",
            environment=task_environment(context, references, checkpoint=manifest.checkpoint)
            | {f"IEXEC_REQUESTER_SECRET_{number}": secret for number, secret in enumerate(secrets, start=1)},
            seed=job_seed(manifest_cid, context.index),
            limits=limits,
            checkpoint=manifest.checkpoint,
            checkpoint_folder=checkpoint if manifest.checkpoint else None,
            watch=watch,
            network=replace(network, hosts=wanted) if network is not None and wanted else None,
            gpus=gpus,
        )
        if job.checkpoint_folder is not None:
            await asyncio.to_thread(job.checkpoint_folder.mkdir, parents=True, exist_ok=True)
        outcome = await sandbox.run(job)
        if outcome.resumed and outcome.stop in _AGREED and (outcome.stop, outcome.exit_code) != (Stop.EXITED, 0):
            assert checkpoint is not None
            await asyncio.to_thread(remove_tree, checkpoint)
            await asyncio.to_thread(checkpoint.mkdir, parents=True, exist_ok=True)
            await asyncio.to_thread(make_anew, workdir / "out")
            outcome = await sandbox.run(job)
        result = await asyncio.to_thread(result_of, outcome, limits, context.callback, workdir, manifest.canonicaliser)
        await asyncio.to_thread(tidy, workdir)
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
        "IEXEC_IN": GUEST_IN,
        "IEXEC_OUT": GUEST_OUT,
        "IEXEC_DATASET_ADDRESS": ZERO_ADDRESS,
        "IEXEC_DATASET_FILENAME": ZERO_ADDRESS,
        "IEXEC_INPUT_FILES_NUMBER": str(len(references)),
        "FAIRGRID_PROGRESS": _GUEST_PROGRESS,
    }
    if checkpoint:
        environment["FAIRGRID_CHECKPOINT"] = _GUEST_CHECKPOINT
    if references:
        environment["IEXEC_INPUT_FILES_FOLDER"] = GUEST_IN
    for number, reference in enumerate(references, start=1):
        environment[f"IEXEC_INPUT_FILE_NAME_{number}"] = hashed_name(reference.cid)
    return environment
