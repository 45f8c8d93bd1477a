"""Which way of limiting and metering this machine has: cgroups v1, v2, or none."""

from __future__ import annotations

from pathlib import Path

from fairgrid.runtime.cgroups.interface import Controls
from fairgrid.runtime.cgroups.own import find_v1, find_v2
from fairgrid.runtime.process.process_tree import ProcessTrees

__all__ = ["find_controls"]


def find_controls() -> Controls:
    """The best of this machine. Blocking, for milliseconds."""
    try:
        mounts = Path("/proc/self/mounts").read_text()
        own = Path("/proc/self/cgroup").read_text()
    except OSError:
        return ProcessTrees()
    return find_v2(mounts, own) or find_v1(mounts, own) or ProcessTrees()
