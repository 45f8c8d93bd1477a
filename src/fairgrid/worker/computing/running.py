"""Jobs run on this computer, as many at once as its owner gives slots for: tasks, and the parts of runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from fairgrid.errors import HostFailure, ManifestError
from fairgrid.protocol.app_types import APP_TYPES, Level
from fairgrid.protocol.manifest import Manifest, manifest_cid_of_params
from fairgrid.protocol.views import Deal
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.job import TaskContext, run_job
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.watch import JobWatch
from fairgrid.worker.computing.gpus import Gpus
from fairgrid.worker.owner.policy import WorkerPolicy, refusal_of_network

__all__ = ["LocalRunner", "LocalRuntime", "manifest_cid_of"]


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


class LocalRunner:
    """Runs jobs in the sandboxes of this computer; ``slots`` at once, or as many as the owner's policy says by now."""

    def __init__(
        self,
        runtimes: Mapping[str, LocalRuntime],
        *,
        policy: Callable[[], WorkerPolicy],
        slots: int,
        gpus: Gpus,
        tally: Counter[str],
        is_local: bool,
    ) -> None:
        """``tally`` counts what jobs took. ``is_local``: the network is of this machine alone
        (`NetworkGrant.allow_loopback`)."""
        self._runtimes = runtimes
        self._policy = policy
        self._slots = slots
        self._permits = slots
        self._free = asyncio.Semaphore(slots)
        self._gpus = gpus
        self._tally = tally
        self._is_local = is_local

    async def run_one(
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
        secrets: tuple[str, ...] = (),
    ) -> JobResult:
        """Implements `fairgrid.worker.computing.run_work.JobRunner`: waits for a slot, and for processors it asks for.

        Raises:
            HostFailure: this machine could not run it, or its owner does not allow it any more.
        """
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
                manifest_cid_of(deal),
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
                secrets=secrets,
            )
        self._tally["cpu_ms"] += round(result.usage.cpu_s * 1000)
        self._tally["job_network_bytes"] += result.usage.network_bytes
        return result

    def suspend(self) -> bool:
        """Let running jobs stand still; False where a sandbox cannot."""
        answers = [runtime.sandbox.suspend() for runtime in self._runtimes.values()]
        return all(answers)

    def resume(self) -> None:
        """Let them go on."""
        for runtime in self._runtimes.values():
            runtime.sandbox.resume()


def manifest_cid_of(deal: Deal) -> str:
    """The CID of the manifest of a deal's jobs.

    Raises:
        ManifestError: the deal's params name none.
    """
    cid = manifest_cid_of_params(deal.params)
    if cid is None:
        raise ManifestError("The deal's params do not name a manifest.")
    return cid
