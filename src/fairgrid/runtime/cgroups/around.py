"""Groups around containers, in which engines make theirs: exact meters, and the true cause when the memory limit
struck.

podman says nothing of the memory limit under cgroup v1, and a container's own group is gone with it. The one around it
stays until it was read.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.cgroups.files import kill_all, pids_below, remove_below
from fairgrid.runtime.cgroups.interface import Caps, JobGroup
from fairgrid.runtime.cgroups.names import is_left_over
from fairgrid.runtime.cgroups.version_1 import GroupV1
from fairgrid.runtime.cgroups.version_2 import GroupV2, pass_controllers_on

__all__ = ["PARENT", "ROOT", "GroupVersion", "group_around", "group_version", "remove_groups", "sweep_groups"]

PARENT: Final = "fairgrid"
"""The folder in each tree that all of these groups lie in."""
ROOT: Final = Path("/sys/fs/cgroup")
_CONTROLLERS_V1: Final = ("cpu", "cpuacct", "memory", "pids", "freezer")
_REMOVE_S: Final = 5.0


class GroupVersion(StrEnum):
    V1 = "v1"
    V2 = "v2"


def group_version(root: Path = ROOT) -> GroupVersion | None:
    """Which cgroups limit memory on this machine; None: none."""
    if (root / "cgroup.controllers").exists():
        return GroupVersion.V2 if "memory" in (root / "cgroup.controllers").read_text().split() else None
    return GroupVersion.V1 if (root / "memory" / "cgroup.procs").exists() else None


def group_around(name: str, memory_bytes: int, *, root: Path = ROOT, parent: Path | None = None) -> JobGroup:
    """Make the group ``/fairgrid/NAME`` with a limit of memory.

    ``parent`` is a group of version 2 that was delegated to this user, and takes the place of ``/fairgrid``.

    Raises:
        HostFailure: the machine refuses.
    """
    try:
        if parent is not None:
            return GroupV2(parent / name, Caps(memory_bytes), for_groups_inside=True)
        if group_version(root) is GroupVersion.V2:
            (root / PARENT).mkdir(exist_ok=True)
            for folder in (root, root / PARENT):
                pass_controllers_on(folder)
            return GroupV2(root / PARENT / name, Caps(memory_bytes), for_groups_inside=True)
        folders = {tree: root / tree / PARENT / name for tree in _CONTROLLERS_V1 if (root / tree).exists()}
        for folder in folders.values():
            folder.parent.mkdir(exist_ok=True)
        return GroupV1(folders, Caps(memory_bytes), everywhere=lambda: _tops(name, root))
    except OSError as error:
        raise HostFailure(f"The cgroup of a container cannot be made: {error}.") from error


def remove_groups(name: str, *, root: Path = ROOT) -> bool:
    """Remove a container's groups in every tree; False if something holds them."""
    return remove_below(_tops(name, root), within_s=_REMOVE_S)


def sweep_groups(*, root: Path = ROOT) -> None:
    """Remove the groups whose maker is gone; what still runs in one is killed."""
    for parent in {path for tree in (root, *root.iterdir()) if (path := tree / PARENT).is_dir()}:
        for group in [path for path in parent.iterdir() if path.is_dir() and is_left_over(path.name)]:
            kill_all(pids_below(group))
            remove_groups(group.name, root=root)


def _tops(name: str, root: Path) -> list[Path]:
    trees = [root, *(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())]
    return [top for tree in trees if (top := tree / PARENT / name).is_dir()]
