"""What a worker tells its pool of its machine: what its owner gives of it, and what was measured."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from fairgrid.protocol.machine import MAX_COUNT, Benchmark, Gpu, Machine
from fairgrid.runtime.engines.node import NodeFacts, node_facts
from fairgrid.runtime.gpus import GpuDevice
from fairgrid.worker.owner.policy import WorkerPolicy

__all__ = ["claimed_gpus", "cpu_family_of", "machine_claims"]

_SYSTEMS: Final = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
_MOST_GPUS: Final = 64


def machine_claims(
    policy: WorkerPolicy,
    *,
    slots: int,
    folder: Path,
    runtimes: Collection[str],
    levels: Collection[str] = ("wasm",),
    gpus: tuple[Gpu, ...] = (),
    benchmark: Benchmark | None = None,
    node: NodeFacts | None = None,
) -> Machine:
    """The claims: never more than the machine has, never more than the owner gives.

    ``node`` is the machine where jobs run, when it is not this one; disk is that of ``folder`` all the same.
    """
    node = node if node is not None else node_facts()
    memory = node.memory_bytes
    try:
        disk = shutil.disk_usage(folder).free
    except OSError:
        disk = 0
    arch = node.arch.lower()
    return Machine(
        cpus=min(slots, node.cpus),
        memory_bytes=min(memory, policy.memory_bytes if policy.memory_bytes is not None else memory, MAX_COUNT),
        disk_bytes=min(disk, policy.disk_bytes if policy.disk_bytes is not None else disk, MAX_COUNT),
        gpus=gpus,
        os=_SYSTEMS.get(node.system, node.system.lower()),
        arch=_MACHINES.get(arch, arch),
        cpu_family=cpu_family_of(node.processors),
        runtimes=tuple(sorted(runtimes)),
        levels=tuple(level for level in levels if not policy.levels or level in policy.levels),
        labels=policy.labels,
        benchmark=benchmark,
    )


def cpu_family_of(processors: str) -> str:
    """Maker, family and model of the first processor in the text of Linux's ``/proc/cpuinfo``; empty if it has none."""
    first = processors.partition("\n\n")[0]
    said = dict(line.partition(":")[::2] for line in first.splitlines())
    found = {name.strip(): value.strip() for name, value in said.items()}
    for names in (("vendor_id", "cpu family", "model"), ("CPU implementer", "CPU architecture", "CPU part")):
        if all(found.get(name) for name in names):
            return "-".join(found[name] for name in names)[:100]
    return ""


def claimed_gpus(given: Sequence[GpuDevice], policy: WorkerPolicy) -> tuple[Gpu, ...]:
    """The graphics processors that the pool is told of: one that jobs share counts as so many smaller ones."""
    shares = policy.gpu_jobs
    every = [Gpu(device.model, device.memory_bytes // shares) for device in given for _ in range(shares)]
    return tuple(every[:_MOST_GPUS])
