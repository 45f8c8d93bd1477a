"""Native programs behind bubblewrap, as runtimes of this machine."""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import FairgridError, HostFailure
from fairgrid.runtime.cgroups.interface import Controls
from fairgrid.runtime.interface import Limits, Outcome, Sandbox, Stop
from fairgrid.runtime.levels import Probe, RuntimeInfo
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.own_job import own_job
from fairgrid.runtime.process.bubblewrap import find_bubblewrap
from fairgrid.runtime.process.choose import find_controls
from fairgrid.runtime.process.sandbox import ProcessSandbox

__all__ = ["NativeProvider", "provider"]

_WALL_S: Final = 20.0
_NOTHING: Final = "#!/bin/sh\n"
_NO_NAMESPACES: Final = (
    "Let ordinary users make user namespaces (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu also "
    "kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bwrap), or run the worker as root."
)


def provider(info: RuntimeInfo) -> NativeProvider:
    """The provider of a runtime of this level."""
    return NativeProvider(info)


@dataclass(frozen=True, slots=True)
class NativeProvider:
    """Native programs of one architecture."""

    info: RuntimeInfo

    def sandbox(self, *, ready: int = 0) -> Sandbox:
        """Its sandbox.

        Raises:
            HostFailure: this machine is another one, or lacks bubblewrap.
        """
        wanted = self.info.runtime_id.partition("/linux-")[2]
        if sys.platform != "linux" or platform.machine() != wanted:
            raise HostFailure(f"This machine is {sys.platform} on {platform.machine()}, not Linux on {wanted}.")
        for tool in ("/usr/bin/prlimit", "/usr/bin/setpriv"):
            if not Path(tool).exists():
                raise HostFailure(f"{tool} is missing. Install util-linux.")
        find_bubblewrap()
        return ProcessSandbox(self.info.runtime_id)

    async def probe(self) -> Probe:
        """Run an empty shell script."""
        try:
            sandbox = self.sandbox()
        except FairgridError as error:
            native = platform.machine() in self.info.runtime_id
            return Probe(False, detail=str(error), remedy="pip install 'fairgrid[process]'" if native else "")
        try:
            controls = await asyncio.to_thread(find_controls)
            return await _tried(ProcessSandbox(self.info.runtime_id, controls=controls), controls)
        except (FairgridError, OSError) as error:
            return Probe(False, detail=str(error), remedy=_NO_NAMESPACES)
        finally:
            del sandbox


async def _tried(sandbox: ProcessSandbox, controls: Controls) -> Probe:
    folder = Path(tempfile.mkdtemp(prefix="fairgrid-probe-"))
    try:
        outcome, start_ms = await _timed(sandbox, folder / "alone")
        network = await _network_fault(sandbox, folder / "networked") if outcome.exit_code == 0 else ""
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if outcome.stop is not Stop.EXITED or outcome.exit_code != 0:
        said = outcome.stderr.decode(errors="replace").strip()[-300:]
        return Probe(False, start_ms, f"an empty script ended with {outcome.stop}: {outcome.detail} {said}".rstrip())
    bubblewrap = find_bubblewrap()
    remedy = "" if controls.limits_memory else "For limits that the kernel keeps: run as root, or with Delegate=yes."
    said = "network for jobs that ask for it" if not network else f"no network for jobs ({network})"
    found = f"bubblewrap {bubblewrap.text}; {controls.summary}; {said}"
    return Probe(True, start_ms, found, remedy, network=not network)


async def _network_fault(sandbox: ProcessSandbox, folder: Path) -> str:
    """Why a job cannot have the network; empty when it can."""
    try:
        outcome, _ = await _timed(sandbox, folder, NetworkGrant(()))
    except (FairgridError, OSError) as error:
        return str(error)
    return "" if (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0) else f"{outcome.stop}: {outcome.detail}"


async def _timed(sandbox: ProcessSandbox, folder: Path, network: NetworkGrant | None = None) -> tuple[Outcome, float]:
    job = own_job(folder, "nothing.sh", limits=Limits(fuel=0, wall_s=_WALL_S), network=network)
    job.script.write_text(_NOTHING)
    started = time.monotonic()
    outcome = await sandbox.run(job)
    return outcome, (time.monotonic() - started) * 1000
