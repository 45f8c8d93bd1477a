"""What a worker tells its pool of its machine: what its owner gives of it, and what was measured."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

import psutil

from fairgrid.protocol.machine import MAX_COUNT, Benchmark, Gpu, Machine
from fairgrid.worker.owner.policy import WorkerPolicy

__all__ = ["cpu_family_of", "find_gpus", "machine_claims"]

_SYSTEMS: Final = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
_ANSWER_S: Final = 5.0


def machine_claims(
    policy: WorkerPolicy,
    *,
    slots: int,
    folder: Path,
    runtimes: Collection[str],
    levels: Collection[str] = ("wasm",),
    gpus: tuple[Gpu, ...] = (),
    benchmark: Benchmark | None = None,
) -> Machine:
    """The claims: never more than the machine has, never more than the owner gives."""
    memory = psutil.virtual_memory().total
    try:
        disk = shutil.disk_usage(folder).free
    except OSError:
        disk = 0
    arch = platform.machine().lower()
    return Machine(
        cpus=min(slots, psutil.cpu_count() or 1),
        memory_bytes=min(memory, policy.memory_bytes if policy.memory_bytes is not None else memory, MAX_COUNT),
        disk_bytes=min(disk, policy.disk_bytes if policy.disk_bytes is not None else disk, MAX_COUNT),
        gpus=gpus,
        os=_SYSTEMS.get(platform.system(), platform.system().lower()),
        arch=_MACHINES.get(arch, arch),
        cpu_family=cpu_family_of(_processors()),
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


def _processors() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""


def find_gpus() -> tuple[Gpu, ...]:
    """The graphics processors that NVIDIA's tool lists; none without it. Blocking, for seconds at most."""
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True).stdout
        pairs = [line.rsplit(",", 1) for line in listed.splitlines() if line.strip()]
        return tuple(Gpu(name.strip()[:100], int(memory) << 20) for name, memory in pairs)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
