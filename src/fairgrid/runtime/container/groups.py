"""cgroups that this process makes around containers: exact meters, and the true cause when the memory limit struck.

podman says nothing of the memory limit under cgroup v1, and a container's own cgroup is gone with it. The one around it
stays until it was read.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from fairgrid.errors import HostFailure

__all__ = ["GROUP_PARENT", "GroupVersion", "JobGroup", "JobGroupV1", "JobGroupV2", "group_version", "remove_groups"]

GROUP_PARENT: Final = "fairgrid"
_ROOT: Final = Path("/sys/fs/cgroup")
_CONTROLLERS_V1: Final = ("cpu", "cpuacct", "memory", "pids", "freezer")
_CONTROLLERS_V2: Final = ("cpu", "memory", "pids")
_REMOVE_S: Final = 5.0


class GroupVersion(StrEnum):
    V1 = "v1"
    V2 = "v2"


def group_version(root: Path = _ROOT) -> GroupVersion | None:
    """Which cgroups limit memory on this machine; None: none."""
    if (root / "cgroup.controllers").exists():
        return GroupVersion.V2 if "memory" in (root / "cgroup.controllers").read_text().split() else None
    return GroupVersion.V1 if (root / "memory" / "cgroup.procs").exists() else None


class JobGroup(Protocol):
    """The cgroup around one container."""

    def cpu_s(self) -> float:
        """Processor time of everything that ran in it."""
        ...

    def peak_memory_bytes(self) -> int: ...

    def memory_struck(self) -> bool:
        """True once the memory limit killed a process of it."""
        ...

    def pids(self) -> Collection[int]:
        """The processes in it, as this machine numbers them."""
        ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def kill(self) -> None:
        """Kill every process in it, frozen or not."""
        ...

    def remove(self) -> None:
        """Let go of it; what cannot be removed now, a later sweep removes."""
        ...


class JobGroupV1:
    """One folder in each of the controllers' trees."""

    def __init__(self, name: str, memory_bytes: int, *, root: Path = _ROOT) -> None:
        self._name, self._root = name, root
        try:
            for controller in _CONTROLLERS_V1:
                if (root / controller).exists():
                    self._folder(controller).mkdir(parents=True, exist_ok=True)
            memory = self._folder("memory")
            (memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
            # A kernel without accounts of swap has no such file; podman's own limit holds there.
            with contextlib.suppress(OSError):
                (memory / "memory.memsw.limit_in_bytes").write_text(str(memory_bytes))
            self._events, self._control = _memory_events(memory)
        except OSError as error:
            remove_groups(name, root=root, within_s=0.1)
            raise HostFailure(f"The cgroup of a container cannot be made: {error}.") from error
        self._struck = False

    def cpu_s(self) -> float:
        return _number(self._folder("cpuacct") / "cpuacct.usage") / 1e9

    def peak_memory_bytes(self) -> int:
        return _number(self._folder("memory") / "memory.max_usage_in_bytes")

    def memory_struck(self) -> bool:
        if not self._struck and self._events >= 0:
            with contextlib.suppress(BlockingIOError):
                self._struck = os.eventfd_read(self._events) > 0
        return self._struck

    def pids(self) -> Collection[int]:
        return _pids(self._folder("freezer")) | _pids(self._folder("memory"))

    def freeze(self) -> None:
        self._state("FROZEN")

    def thaw(self) -> None:
        self._state("THAWED")

    def kill(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        # What is frozen does not die.
        self.thaw()

    def remove(self) -> None:
        self.memory_struck()
        for descriptor in (self._events, self._control):
            if descriptor >= 0:
                os.close(descriptor)
        self._events = self._control = -1
        remove_groups(self._name, root=self._root)

    def _folder(self, controller: str) -> Path:
        return self._root / controller / GROUP_PARENT / self._name

    def _state(self, state: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder("freezer") / "freezer.state").write_text(state)


class JobGroupV2:
    """One folder in the one tree."""

    def __init__(self, name: str, memory_bytes: int, *, root: Path = _ROOT) -> None:
        self._name, self._root = name, root
        self._folder = root / GROUP_PARENT / name
        self._peak = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for folder in (root, root / GROUP_PARENT, self._folder):
                (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _CONTROLLERS_V2))
            (self._folder / "memory.max").write_text(str(memory_bytes))
            with contextlib.suppress(OSError):
                (self._folder / "memory.swap.max").write_text("0")
        except OSError as error:
            remove_groups(name, root=root, within_s=0.1)
            raise HostFailure(f"The cgroup of a container cannot be made: {error}.") from error

    def cpu_s(self) -> float:
        return _table(self._folder / "cpu.stat").get("usage_usec", 0) / 1e6

    def peak_memory_bytes(self) -> int:
        # Kernels before 5.19 keep no peak; then it is the largest of the looks.
        self._peak = max(self._peak, _number(self._folder / "memory.peak"), _number(self._folder / "memory.current"))
        return self._peak

    def memory_struck(self) -> bool:
        return _table(self._folder / "memory.events").get("oom_kill", 0) > 0

    def pids(self) -> Collection[int]:
        return _pids(self._folder)

    def freeze(self) -> None:
        self._state("1")

    def thaw(self) -> None:
        self._state("0")

    def kill(self) -> None:
        try:
            (self._folder / "cgroup.kill").write_text("1")
        except OSError:
            for pid in _pids(self._folder):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        self.thaw()

    def remove(self) -> None:
        remove_groups(self._name, root=self._root)

    def _state(self, state: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / "cgroup.freeze").write_text(state)


def remove_groups(name: str, *, root: Path = _ROOT, within_s: float = _REMOVE_S) -> bool:
    """Remove a job's folders in every tree, its children first; False if something holds them."""
    trees = [root, *(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())]
    tops = [top for tree in trees if (top := tree / GROUP_PARENT / name).is_dir()]
    until = time.monotonic() + within_s
    while tops:
        for top in tops:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        tops = [top for top in tops if top.exists()]
        if tops and time.monotonic() > until:
            return False
        if tops:
            time.sleep(0.02)
    return True


def _memory_events(memory: Path) -> tuple[int, int]:
    """A counter that the kernel raises when the limit of this very folder is struck, and the file that it watches."""
    events = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    control = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
    (memory / "cgroup.event_control").write_text(f"{events} {control}")
    return events, control


def _pids(top: Path) -> set[int]:
    found: set[int] = set()
    for folder, _, _ in os.walk(top):
        with contextlib.suppress(OSError, ValueError):
            found |= {int(word) for word in (Path(folder) / "cgroup.procs").read_text().split()}
    return found


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _table(path: Path) -> dict[str, int]:
    try:
        return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}
    except (OSError, ValueError):
        return {}
