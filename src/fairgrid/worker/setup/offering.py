"""What a worker offers: the runtimes that work on this machine, or on the nodes of its engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from fairgrid.errors import HostFailure
from fairgrid.protocol.abilities import gpu_fault
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.gpus import machine_fault
from fairgrid.runtime.engines.node import NodeFacts, gpu_lines
from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.engines.trial import tried_on
from fairgrid.runtime.gpus import GpuDevice, devices_in
from fairgrid.runtime.levels import Probe, RuntimeInfo, RuntimeProvider
from fairgrid.runtime.providers import probe_all
from fairgrid.worker.computing.cells import CellBook
from fairgrid.worker.computing.gpus import EngineGpus, Gpus, MachineGpus, NoGpus
from fairgrid.worker.computing.running import LocalRuntime
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.setup.containers import container_settings

__all__ = ["ENGINE_FOLDER", "Offer", "allowed_runtimes", "cell_prefix", "offered"]

ENGINE_FOLDER: Final = "engine"
_MOST_READY: Final = 4
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """The runtimes that work, and where."""

    runtimes: Mapping[str, LocalRuntime]
    node: NodeFacts | None = None
    """The node that the engine's trial came to; None: this machine."""
    cells: CellBook | None = None
    """None without an engine."""
    gpus: Gpus = field(default_factory=NoGpus)


def allowed_runtimes(policy: WorkerPolicy) -> tuple[RuntimeInfo, ...]:
    """The runtimes that the owner allows.

    Raises:
        HostFailure: the policy leaves none.
    """
    allowed = tuple(
        info
        for info in CATALOGUE.values()
        if (not policy.levels or info.level in policy.levels)
        and (not policy.runtimes or info.runtime_id in policy.runtimes)
    )
    if not allowed:
        raise HostFailure("The policy's levels and runtimes together leave no runtime that this version knows.")
    return allowed


def cell_prefix(address: str) -> str:
    """What the names of a worker's cells begin with: no two workers' keys share it, but for one in four thousand
    million."""
    return f"fairgrid-{address.removeprefix('0x')[:8].lower()}"


@asynccontextmanager
async def offered(
    policy: WorkerPolicy,
    folder: Path,
    *,
    address: str,
    tally: Counter[str],
    current: Callable[[], WorkerPolicy],
    slots: int = 1,
    is_local: bool = False,
) -> AsyncIterator[Offer]:
    """The runtimes that the policy allows and that work: each was tried where its jobs will run.

    ``slots`` is how many jobs run at once; processes are kept ready for so many, or as the policy says.
    ``current`` gives the policy as it is at any time: graphics processors are those that it names then.
    ``is_local`` says that the network is of this machine alone: registries on loopback need no TLS then.

    Raises:
        HostFailure: there is none, or the engine cannot be reached.
        UsageError: the engine needs a package that is not installed.
    """
    infos = allowed_runtimes(policy)
    containers = container_settings(policy, insecure_loopback=is_local)
    if policy.engine is None:
        tried = await probe_all(infos, containers=containers)
        probes = {name: probe for name, (_, probe) in tried.items()}
        working = _working(infos, probes, "this machine")
        lines = await asyncio.to_thread(gpu_lines)
        passes = any(gpu_fault(info.runtime_id) is None for info in working)
        fault = await machine_fault(containers) if lines and passes else ""
        devices = _passable(working, lines, fault or "", "this machine")
        ready = policy.ready_jobs if policy.ready_jobs is not None else min(policy.slots or slots, _MOST_READY)
        async with AsyncExitStack() as stack:
            runtimes = {}
            for info in working:
                runtimes[info.runtime_id] = _local(tried[info.runtime_id][0], probes[info.runtime_id], ready)
                stack.push_async_callback(runtimes[info.runtime_id].sandbox.close)
            yield Offer(runtimes, gpus=MachineGpus(devices, current) if devices else NoGpus())
        return
    prefix = cell_prefix(address)
    async with opened_engine(policy.engine, folder / ENGINE_FOLDER, prefix=prefix) as engine:
        found = await tried_on(
            engine,
            [info.runtime_id for info in infos],
            folder / ENGINE_FOLDER,
            prefix=prefix,
            containers=containers,
            gpus=min(policy.engine.gpus, 1),
        )
        book = CellBook(engine.name, tally)
        where = f"{found.node.name} ({engine.name})"
        working = _working(infos, found.probes, where)
        devices = _passable(working, found.node.gpus, found.gpu_fault, where) if policy.engine.gpus else ()
        yield Offer(
            {
                info.runtime_id: LocalRuntime(
                    cid=info.content.cid,
                    sha256=info.content.sha256,
                    sandbox=EngineSandbox(
                        engine, info.runtime_id, used=book.used, prefix=prefix, containers=containers
                    ),
                    level=info.level,
                    start_ms=found.probes[info.runtime_id].start_ms,
                    network=found.probes[info.runtime_id].network,
                )
                for info in working
            },
            found.node,
            book,
            EngineGpus(devices[0], policy.engine.gpus) if devices else NoGpus(),
        )


def _working(infos: tuple[RuntimeInfo, ...], probes: Mapping[str, Probe], where: str) -> list[RuntimeInfo]:
    for info in infos:
        probe = probes[info.runtime_id]
        if not probe.works:
            _log.info(
                "a runtime does not work", runtime=info.runtime_id, at=where, reason=probe.detail, remedy=probe.remedy
            )
    working = [info for info in infos if probes[info.runtime_id].works]
    if not working:
        probe = probes[infos[0].runtime_id]
        raise HostFailure(f"No runtime works on {where}: {probe.detail} {probe.remedy}".rstrip())
    return working


def _passable(infos: Sequence[RuntimeInfo], lines: str, fault: str, where: str) -> tuple[GpuDevice, ...]:
    """The graphics processors that jobs can be given there; what stands in the way is logged."""
    devices = devices_in(lines)
    if not devices:
        if lines:
            _log.warning("no graphics processors are offered", at=where, reason=f"nvidia-smi says {lines[:200]!r}")
        return ()
    faults = [gpu_fault(info.runtime_id) for info in infos]
    if all(faults):
        fault = "none of the allowed runtimes passes devices: allow the level container"
    if fault:
        _log.warning("graphics processors are not offered", at=where, count=len(devices), reason=fault)
        return ()
    return devices


def _local(provider: RuntimeProvider, probe: Probe, ready: int) -> LocalRuntime:
    info = provider.info
    return LocalRuntime(
        cid=info.content.cid,
        sha256=info.content.sha256,
        sandbox=provider.sandbox(ready=ready),
        level=info.level,
        start_ms=probe.start_ms,
        network=probe.network,
    )
