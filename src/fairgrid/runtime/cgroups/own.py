"""Groups below the one that this process is in, or that was delegated to it: for jobs that it starts itself."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fairgrid.runtime.cgroups.files import remove_stale
from fairgrid.runtime.cgroups.interface import Caps, OpenGroup
from fairgrid.runtime.cgroups.version_1 import GroupV1
from fairgrid.runtime.cgroups.version_2 import CONTROLLERS, GroupV2, pass_controllers_on

__all__ = ["OwnGroupsV1", "OwnGroupsV2", "delegated_folder", "find_v1", "find_v2"]

_NEEDED: Final = ("memory", "pids", "cpuacct")
_HELPFUL: Final = ("cpu", "freezer")
_OWN_LEAF: Final = "fairgrid-agent"


def find_v1(mounts: str, own_groups: str) -> OwnGroupsV1 | None:
    """The controls, from the texts of ``/proc/self/mounts`` and ``/proc/self/cgroup``; None if they are not ours."""
    own = dict(line.split(":", 2)[1:] for line in own_groups.splitlines() if line.count(":") >= 2)
    places: dict[str, Path] = {}
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split(" ")
        if kind != "cgroup":
            continue
        for joined, path in own.items():
            for name in set(joined.split(",")) & set(options.split(",")) & {*_NEEDED, *_HELPFUL}:
                inside = Path(point + path)
                # In a container the hierarchy may be mounted from the own group on.
                places[name] = inside if inside.is_dir() else Path(point)
    usable = {name: place for name, place in places.items() if _may_make(place)}
    return OwnGroupsV1(usable) if all(name in usable for name in _NEEDED) else None


def find_v2(mounts: str, own_groups: str) -> OwnGroupsV2 | None:
    """The controls, from the texts of ``/proc/self/mounts`` and ``/proc/self/cgroup``; None if they are not ours.

    A group that holds processes cannot give controllers to groups below it, so this process, if it is alone in a group
    that it may write, moves to a group of its own below.
    """
    points = [line.split(" ")[1] for line in mounts.splitlines() if line.split(" ")[2] == "cgroup2"]
    own = [line.removeprefix("0::") for line in own_groups.splitlines() if line.startswith("0::")]
    if not points or not own:
        return None
    base = Path(points[0] + own[0].rstrip("/"))
    if base.name == _OWN_LEAF:
        base = base.parent
    try:
        offered = (base / "cgroup.controllers").read_text().split()
        if not all(name in offered for name in CONTROLLERS):
            return None
        if (base / "cgroup.procs").read_text().split() == [str(os.getpid())]:
            leaf = base / _OWN_LEAF
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text(str(os.getpid()))
        pass_controllers_on(base)
    except OSError:
        return None
    return OwnGroupsV2(base)


def delegated_folder() -> Path | None:
    """The group below which this process may make groups with limits under cgroups v2; None where it may not."""
    try:
        found = find_v2(Path("/proc/self/mounts").read_text(), Path("/proc/self/cgroup").read_text())
    except OSError:
        return None
    return None if found is None else found.base


class OwnGroupsV1:
    """Implements `Controls`. ``places`` gives for each controller the folder below which groups are made."""

    limits_memory = True
    limits_processes = True

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = dict(places)
        for place in set(self._places.values()):
            remove_stale(place)

    @property
    def summary(self) -> str:
        """What it is, for people."""
        return f"cgroups v1 ({', '.join(sorted(self._places))})"

    def new_group(self, name: str, caps: Caps) -> OpenGroup:
        """See `Controls`."""
        return GroupV1({controller: place / name for controller, place in self._places.items()}, caps)


class OwnGroupsV2:
    """Implements `Controls`; groups are made below ``base``."""

    limits_memory = True
    limits_processes = True

    def __init__(self, base: Path) -> None:
        self.base = base
        remove_stale(base)

    @property
    def summary(self) -> str:
        """What it is, for people."""
        return "cgroups v2"

    def new_group(self, name: str, caps: Caps) -> OpenGroup:
        """See `Controls`."""
        return GroupV2(self.base / name, caps)


def _may_make(place: Path) -> bool:
    probe = place / f"fairgrid-probe-{os.getpid()}-{time.monotonic_ns()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True
