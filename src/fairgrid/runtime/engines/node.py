"""What a machine is, as a cell that runs there finds it: the worker tells its pool of its nodes, not of itself."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["NodeFacts", "gpu_lines", "node_facts"]

_ANSWER_S: Final = 5.0
_GPU_FIELDS: Final = "index,uuid,name,memory.total,mig.mode.current"
_GPU_QUERY: Final = ("nvidia-smi", f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits")
_MAX_TEXT: Final = 8_000


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One machine; texts are as its system gives them."""

    name: str
    system: str
    """``Linux``, …"""
    arch: str
    cpus: int
    memory_bytes: int
    processors: str
    """The first of ``/proc/cpuinfo``; empty where there is none."""
    gpus: str
    """One line each, for `fairgrid.runtime.gpus.devices_in`; empty without NVIDIA's tool."""


def node_facts() -> NodeFacts:
    """This machine. Blocking, for seconds at most."""
    # Only a trial asks, and each cell would load it.
    import psutil

    return NodeFacts(
        name=platform.node(),
        system=platform.system(),
        arch=platform.machine(),
        cpus=psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        processors=_processors(),
        gpus=gpu_lines(),
    )


def _processors() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0][:_MAX_TEXT]
    except OSError:
        return ""


def gpu_lines() -> str:
    """What NVIDIA's tool says of this machine's graphics processors; empty without it. Blocking, for seconds."""
    if shutil.which(_GPU_QUERY[0]) is None:
        return ""
    try:
        answer = subprocess.run(_GPU_QUERY, capture_output=True, text=True, timeout=_ANSWER_S, check=True)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return answer.stdout[:_MAX_TEXT]
