"""Images as runtimes of this machine."""

from __future__ import annotations

import asyncio
import platform
import tempfile
import time
from pathlib import Path
from typing import Final

from fairgrid.errors import FairgridError, HostFailure
from fairgrid.runtime.container.engines import Engine, EngineKind
from fairgrid.runtime.container.machine import ContainerMachine
from fairgrid.runtime.container.network import network_fault
from fairgrid.runtime.container.runtimes import ARCHITECTURE_OF
from fairgrid.runtime.container.sandbox import ContainerSandbox
from fairgrid.runtime.container.settings import DEFAULT_SETTINGS, ContainerSettings
from fairgrid.runtime.container.small_images import write_nothing_image
from fairgrid.runtime.interface import Limits, Outcome, Sandbox, Stop
from fairgrid.runtime.levels import Probe, RuntimeInfo
from fairgrid.runtime.own_job import own_job

__all__ = ["ContainerProvider", "provider"]

_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_WALL_S: Final = 25.0
_PROBE_MEMORY: Final = 64 << 20
_INSTALL: Final = "apt install podman uidmap runc (or start docker), then run `fairgrid worker doctor` again"


def provider(info: RuntimeInfo, settings: ContainerSettings = DEFAULT_SETTINGS) -> ContainerProvider:
    """The provider of a runtime of this level."""
    return ContainerProvider(info, settings)


class ContainerProvider:
    """One kind of images; ``folder`` is where images and settings are kept, for tests."""

    def __init__(
        self, info: RuntimeInfo, settings: ContainerSettings = DEFAULT_SETTINGS, *, folder: Path | None = None
    ) -> None:
        self._info = info
        self._machine = ContainerMachine(info.runtime_id, settings, folder=folder)
        self._sandbox = ContainerSandbox(info.runtime_id, self._machine)

    @property
    def info(self) -> RuntimeInfo:
        """The runtime."""
        return self._info

    def sandbox(self, *, ready: int = 0) -> Sandbox:
        """Its sandbox; whether there is an engine shows when it first runs a job."""
        return self._sandbox

    async def probe(self) -> Probe:
        """Run an image whose program ends at once, twice: the second time is measured."""
        wanted = ARCHITECTURE_OF[self._info.runtime_id]
        here = _MACHINES.get(platform.machine().lower(), platform.machine())
        if platform.system() != "Linux" or here != wanted:
            return Probe(False, detail=f"this machine is {platform.system()}/{here}, the images are for linux/{wanted}")
        try:
            engine = await self._machine.engine()
            await self._machine.runtime(engine)
        except (FairgridError, OSError) as error:
            return Probe(False, detail=str(error), remedy=self._remedy())
        return await self._tried(engine)

    def _remedy(self) -> str:
        return f"apt install runsc; {_INSTALL}" if self._machine.is_gvisor else _INSTALL

    async def _tried(self, engine: Engine) -> Probe:
        try:
            await _outcome(self._sandbox, ARCHITECTURE_OF[self._info.runtime_id])
            started = time.monotonic()
            outcome = await _outcome(self._sandbox, ARCHITECTURE_OF[self._info.runtime_id])
            start_ms = (time.monotonic() - started) * 1000
        except (FairgridError, OSError) as error:
            return Probe(False, detail=str(error), remedy=self._remedy())
        if (outcome.stop, outcome.exit_code) != (Stop.EXITED, 0):
            said = " ".join(outcome.stderr.decode(errors="replace").split())[-400:]
            detail = (
                f"{engine.kind} {engine.version}: an empty image ended with {outcome.stop}: {outcome.detail or said}"
            )
            return Probe(False, start_ms, detail, self._remedy())
        fault = await network_fault(self._machine, engine)
        network = "network for jobs that ask for it" if not fault else f"no network for jobs ({fault})"
        found = f"{await self._found(engine)}; {network}"
        return Probe(True, start_ms, found, _more(engine), network=not fault)

    async def _found(self, engine: Engine) -> str:
        words = [f"{engine.kind} {engine.version}"]
        if self._machine.is_gvisor:
            words.append("gVisor " + Path(await self._machine.runtime(engine)).name)
        words.append("rootless" if not engine.is_root else "as root")
        words.append("exact meters" if engine.owns_groups else "meters are sampled")
        return ", ".join(words) + "; read-only image, no capabilities"


def _more(engine: Engine) -> str:
    if engine.kind is EngineKind.DOCKER and not engine.owns_groups:
        return "exact meters need docker's cgroup driver cgroupfs, and a worker that is root"
    return ""


async def _outcome(sandbox: Sandbox, architecture: str) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="fairgrid-probe-") as temporary:
        limits = Limits(fuel=0, memory_bytes=_PROBE_MEMORY, wall_s=_WALL_S)
        job = own_job(Path(temporary), "nothing.oci.tar", limits=limits)
        await asyncio.to_thread(write_nothing_image, job.script, architecture)
        outcome = await sandbox.run(job)
        if outcome.stop is Stop.HOST:
            raise HostFailure(outcome.detail)
        return outcome
