"""What all containers of one runtime share on this machine: the engine, its images, and the OCI runtime. Found once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import structlog

from fairgrid.errors import HostFailure
from fairgrid.protocol.abilities import GVISOR_PREFIX
from fairgrid.runtime.container.engines import Engine, find_engine
from fairgrid.runtime.container.gvisor import gvisor_runtime
from fairgrid.runtime.container.images import ImageStore
from fairgrid.runtime.container.leftovers import remove_container, sweep
from fairgrid.runtime.container.runtimes import ARCHITECTURE_OF
from fairgrid.runtime.container.settings import ContainerSettings

__all__ = ["ContainerMachine"]

_log = structlog.get_logger(__name__)
_INSIST_S: Final = 10.0
_PAUSE_S: Final = 0.2


class ContainerMachine:
    """Finds the engine when it is first asked for, and sweeps what a killed worker left."""

    def __init__(self, runtime_id: str, settings: ContainerSettings, *, folder: Path | None = None) -> None:
        self.architecture = ARCHITECTURE_OF[runtime_id]
        self._settings = settings
        self._folder = folder
        self._engine: Engine | None = None
        self._images: ImageStore | None = None
        self._lock = asyncio.Lock()
        self._owed: set[str] = set()
        self.is_gvisor = runtime_id.startswith(GVISOR_PREFIX)

    async def engine(self) -> Engine:
        """The engine.

        Raises:
            HostFailure: there is none.
        """
        async with self._lock:
            if self._engine is None:
                try:
                    engine = await find_engine(self._settings.engine, self._folder)
                except HostFailure as error:
                    raise HostFailure(f"No container engine works here: {error}") from error
                await sweep(engine)
                self._engine = engine
            for name in sorted(self._owed):
                await self.remove(self._engine, name)
            return self._engine

    async def remove(self, engine: Engine, name: str) -> None:
        """Kill and remove a container. One that the engine keeps for now is removed before the next job."""
        until = time.monotonic() + _INSIST_S
        while not await remove_container(engine, name):
            if time.monotonic() > until:
                self._owed.add(name)
                _log.warning("the engine did not remove a container; it is asked again later", container=name)
                return
            await asyncio.sleep(_PAUSE_S)
        self._owed.discard(name)

    def images(self, engine: Engine) -> ImageStore:
        """The images of the engine."""
        if self._images is None:
            self._images = ImageStore(engine, self._settings, self.architecture)
        return self._images

    async def runtime(self, engine: Engine) -> str:
        """The OCI runtime to name to the engine; empty: its own.

        Raises:
            HostFailure: gVisor is not here, or does not work.
        """
        return await gvisor_runtime(engine) if self.is_gvisor else ""
