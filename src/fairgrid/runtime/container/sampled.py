"""Meters of a container whose cgroup its engine made and removes: looked at while it runs, so they may miss the end.

That is so without root, and where docker leaves cgroups to systemd.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.cgroups.around import ROOT
from fairgrid.runtime.cgroups.files import field_of, number_of
from fairgrid.runtime.cgroups.interface import Reading
from fairgrid.runtime.container.engines import Engine

__all__ = ["SampledGroup"]

_FIND_S: Final = 0.1


class SampledGroup:
    """Implements `JobGroup`. `find` must run beside the container."""

    def __init__(self, engine: Engine, name: str, *, root: Path = ROOT) -> None:
        self._engine, self._name, self._root = engine, name, root
        self._folders: dict[str, Path] = {}
        self._cpu_s = 0.0
        self._peak = 0
        self._kills = 0
        self._calls: set[asyncio.Task[None]] = set()

    async def find(self) -> None:
        """Wait for the container's first process, and find its cgroup."""
        while not self._folders:
            with contextlib.suppress(HostFailure, ValueError, OSError):
                said = await self._engine.call("inspect", "--format", "{{.State.Pid}}", self._name)
                pid = int(said.stdout.decode().strip() or 0) if said.status == 0 else 0
                if pid > 0:
                    self._folders = folders_of(Path(f"/proc/{pid}/cgroup").read_text(), self._root)
            await asyncio.sleep(_FIND_S)

    def read(self) -> Reading:
        """See `JobGroup`."""
        self._look()
        return Reading(self._cpu_s, self._peak, self._kills > 0)

    def pids(self) -> Collection[int]:
        found: set[int] = set()
        for folder in self._folders.values():
            with contextlib.suppress(OSError, ValueError):
                found |= {int(word) for word in (folder / "cgroup.procs").read_text().split()}
        return found

    def suspend(self) -> None:
        self._call("pause", self._name)

    def resume(self) -> None:
        self._call("unpause", self._name)

    def kill(self) -> None:
        self._call("kill", self._name)

    def remove(self) -> None:
        # Called in a thread; tasks belong to the loop's.
        for call in tuple(self._calls):
            with contextlib.suppress(RuntimeError):
                call.get_loop().call_soon_threadsafe(call.cancel)

    def _call(self, *words: str) -> None:
        if any(call.get_name() == words[0] for call in self._calls):
            return

        async def call() -> None:
            with contextlib.suppress(HostFailure):
                await self._engine.call(*words)

        task = asyncio.get_running_loop().create_task(call(), name=words[0])
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _look(self) -> None:
        for controller, folder in self._folders.items():
            if controller == "":
                self._cpu_s = max(self._cpu_s, field_of(folder / "cpu.stat", "usage_usec") / 1e6)
                self._kills = max(self._kills, field_of(folder / "memory.events", "oom_kill"))
                self._peak = max(self._peak, number_of(folder / "memory.peak"), number_of(folder / "memory.current"))
            elif controller == "cpuacct":
                self._cpu_s = max(self._cpu_s, number_of(folder / "cpuacct.usage") / 1e9)
            elif controller == "memory":
                self._kills = max(self._kills, field_of(folder / "memory.oom_control", "oom_kill"))
                self._peak = max(self._peak, number_of(folder / "memory.max_usage_in_bytes"))


def folders_of(text: str, root: Path) -> dict[str, Path]:
    """The cgroup folders of a process by controller, of what the kernel says in ``/proc/PID/cgroup``; "" is v2."""
    folders = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            if (root / "cgroup.controllers").exists():
                folders[""] = root / path.lstrip("/")
        else:
            for controller in controllers.split(","):
                folders[controller] = root / controller / path.lstrip("/")
    return folders
