"""Which of the runtimes work on this machine: each is tried, side by side, with a time-out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Final, cast

from fairgrid.protocol.app_types import Level
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.settings import DEFAULT_SETTINGS, ContainerSettings
from fairgrid.runtime.levels import Probe, RuntimeInfo, RuntimeProvider

__all__ = ["PROBE_S", "probe_all", "provider_of"]

PROBE_S: Final = 60.0
"""A runtime that has not answered by then does not work here."""

# Each names a function ``provider(info)``. They are imported late: a machine may lack what a level needs, and a
# program that only signs and pays needs none of them.
_ROOMS: Final[Mapping[Level, str]] = {
    Level.WASM: "fairgrid.runtime.wasm.provider",
    Level.PROCESS: "fairgrid.runtime.process.provider",
    Level.CONTAINER: "fairgrid.runtime.container.provider",
    Level.VM: "fairgrid.runtime.vm.provider",
}


def provider_of(info: RuntimeInfo, containers: ContainerSettings = DEFAULT_SETTINGS) -> RuntimeProvider:
    """The provider of one runtime on this machine; whether it works is another question.

    ``containers`` is what the machine's owner says of containers.
    """
    room = import_module(_ROOMS[info.level])
    if info.level is Level.CONTAINER:
        return cast("RuntimeProvider", room.provider(info, containers))
    make = cast("Callable[[RuntimeInfo], RuntimeProvider]", room.provider)
    return make(info)


async def probe_all(
    infos: Iterable[RuntimeInfo] | None = None,
    *,
    within_s: float = PROBE_S,
    containers: ContainerSettings = DEFAULT_SETTINGS,
) -> dict[str, tuple[RuntimeProvider, Probe]]:
    """Try runtimes (all that are known, unless given); by runtime id, in the order given."""
    providers = [provider_of(info, containers) for info in (CATALOGUE.values() if infos is None else infos)]
    probes = await asyncio.gather(*(_probe(provider, within_s) for provider in providers))
    return {provider.info.runtime_id: (provider, probe) for provider, probe in zip(providers, probes, strict=True)}


async def _probe(provider: RuntimeProvider, within_s: float) -> Probe:
    try:
        return await asyncio.wait_for(provider.probe(), within_s)
    except TimeoutError:
        return Probe(False, detail=f"it did not answer within {within_s:.0f} s", remedy="Look at the machine's load.")
