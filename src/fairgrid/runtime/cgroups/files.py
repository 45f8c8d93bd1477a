"""The kernel's files of a cgroup: read without a fault when the group is gone, and removed from the innermost out."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fairgrid.runtime.cgroups.names import is_left_over

__all__ = ["field_of", "kill_all", "number_of", "pids_below", "remove_below", "remove_stale"]

_PAUSE_S: Final = 0.005
_STALE_S: Final = 0.5


def number_of(path: Path) -> int:
    """The number that a file holds; 0 without one."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def field_of(path: Path, name: str) -> int:
    """The number beside ``name`` in a file of lines ``NAME NUMBER``; 0 without one."""
    try:
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


def pids_below(top: Path) -> set[int]:
    """The processes of a group and of all groups in it."""
    found: set[int] = set()
    for folder, _, _ in os.walk(top):
        with contextlib.suppress(OSError, ValueError):
            found |= {int(word) for word in (Path(folder) / "cgroup.procs").read_text().split()}
    return found


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes; those that are gone, or another's, are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def remove_below(tops: Iterable[Path], *, within_s: float) -> bool:
    """Remove groups and all in them; False if something still holds one."""
    left = {top for top in tops if top.is_dir()}
    until = time.monotonic() + within_s
    while left:
        for top in left:
            for folder, _, _ in os.walk(top, topdown=False):
                # The kernel lets go of a group a moment after its last process.
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        left = {top for top in left if top.is_dir()}
        if left and time.monotonic() > until:
            return False
        if left:
            time.sleep(_PAUSE_S)
    return True


def remove_stale(parent: Path) -> None:
    """Remove groups below ``parent`` whose maker is gone; what still runs in one is killed."""
    with contextlib.suppress(OSError):
        for group in [path for path in parent.iterdir() if is_left_over(path.name)]:
            kill_all(pids_below(group))
            remove_below((group,), within_s=_STALE_S)
