"""Whether podman or docker can pass graphics processors on, and what a job's variables say of those that it got."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.container.engines import Engine, EngineKind, find_engine
from fairgrid.runtime.container.settings import ContainerSettings

__all__ = ["CDI_FOLDERS", "GVISOR_FAULT", "gpu_variables", "machine_fault", "passing_fault"]

CDI_FOLDERS: Final = (Path("/etc/cdi"), Path("/var/run/cdi"))
GVISOR_FAULT: Final = "gVisor passes no devices to a container"
_NAME: Final = "nvidia.com/gpu"
_TOOLKIT: Final = "nvidia-container-runtime-hook"
_MOST_BYTES: Final = 1 << 20


def passing_fault(engine: Engine, folders: tuple[Path, ...] = CDI_FOLDERS) -> str | None:
    """Why containers here would get no graphics processor; None when they would. Blocking."""
    if engine.kind is EngineKind.PODMAN:
        if any(_names_gpus(path) for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())):
            return None
        return (
            "podman was not told of the graphics processors: install NVIDIA's container toolkit, then run "
            "`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
        )
    if "nvidia" in engine.runtimes or shutil.which(_TOOLKIT) is not None:
        return None
    return (
        "docker was not told of the graphics processors: install NVIDIA's container toolkit, then run "
        "`nvidia-ctk runtime configure --runtime=docker` and restart docker"
    )


async def machine_fault(settings: ContainerSettings) -> str | None:
    """Why the container engine that would be used here passes no graphics processors; None when it does."""
    try:
        return await asyncio.to_thread(passing_fault, await find_engine(settings.engine))
    except HostFailure as error:
        return str(error)


def gpu_variables(gpus: tuple[int, ...], *, kind: EngineKind) -> tuple[tuple[str, str], ...]:
    """Variables of a container that has these processors: inside they are counted from 0.

    Images for CUDA say that they want all processors, and docker, where NVIDIA's runtime is its default, gives them: a
    job without a lease says that it wants none.
    """
    if gpus:
        return (("CUDA_VISIBLE_DEVICES", ",".join(str(place) for place in range(len(gpus)))),)
    variables = (("CUDA_VISIBLE_DEVICES", ""),)
    return (*variables, ("NVIDIA_VISIBLE_DEVICES", "void")) if kind is EngineKind.DOCKER else variables


def _names_gpus(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _NAME.encode() in file.read(_MOST_BYTES)
    except OSError:
        return False
