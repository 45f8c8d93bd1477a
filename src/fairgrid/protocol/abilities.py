"""What the runtimes of each isolation level can never give a job, whatever machine they run on.

Client, pool and worker ask the same questions here: the client before anything is signed, the pool before it leases,
the worker before it computes. A runtime id that this version does not know may be able to do anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from fairgrid.protocol.app_types import Level
from fairgrid.protocol.needs import Needs
from fairgrid.protocol.network import NETWORK_LEVELS

__all__ = ["GVISOR_PREFIX", "gpu_fault", "level_fault", "level_of_runtime", "needs_fault", "network_fault"]

GVISOR_PREFIX: Final = "oci-gvisor/"

_LEVELS: Final[Mapping[str, Level]] = MappingProxyType(
    {
        "wasmtime": Level.WASM,
        "process": Level.PROCESS,
        "oci": Level.CONTAINER,
        "oci-gvisor": Level.CONTAINER,
        "vm": Level.VM,
    }
)


def level_of_runtime(runtime_id: str) -> Level | None:
    """The isolation level of a runtime id such as ``oci/linux-x86_64``; None if this version knows no such engine."""
    engine, _, rest = runtime_id.partition("/")
    name, _, version = engine.partition("-")
    return _LEVELS.get(name if version.isdecimal() else engine) if rest else None


def needs_fault(runtime_id: str, needs: Needs) -> str | None:
    """Why no machine can give jobs of this runtime what they need; None where one may."""
    return (
        level_fault(runtime_id, needs.level)
        or (gpu_fault(runtime_id) if needs.gpus is not None else None)
        or network_fault(runtime_id, needs.network)
    )


def level_fault(runtime_id: str, wanted: str) -> str | None:
    """Why a job of this runtime is never of the level that it asks for; None where it is, or asks for none."""
    level = level_of_runtime(runtime_id)
    if not wanted or level is None or level.value == wanted:
        return None
    return (
        f"The job asks for the isolation level {wanted!r}, and the level of its runtime {runtime_id} is "
        f"{level.value!r}. Ask for that level or for none, or choose another runtime."
    )


def gpu_fault(runtime_id: str) -> str | None:
    """Why jobs of this runtime can never reach a graphics processor; None where they may."""
    level = level_of_runtime(runtime_id)
    is_gvisor = runtime_id.startswith(GVISOR_PREFIX)
    if level is None or (level is Level.CONTAINER and not is_gvisor):
        return None
    what = "gVisor" if is_gvisor else f"the isolation level {level.value}"
    return (
        f"The runtime {runtime_id} cannot reach graphics processors: {what} passes no devices. Make the job an OCI "
        f"image (runtime oci/…)."
    )


def network_fault(runtime_id: str, hosts: Sequence[str]) -> str | None:
    """Why jobs of this runtime never reach ``hosts``; None where they may, or there are none."""
    level = level_of_runtime(runtime_id)
    if not hosts or level is None or level in NETWORK_LEVELS:
        return None
    return (
        f"The runtime {runtime_id} has no network on any machine: its level is {level.value!r}. Give the data as "
        f"inputs, or use a runtime of the levels {' or '.join(sorted(one.value for one in NETWORK_LEVELS))} "
        f"(`fairgrid runtime list`)."
    )
