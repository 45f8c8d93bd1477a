"""Types of apps: which of them run jobs that travel as a manifest, and on which isolation level (decision 44).

An app of one of these types is generic: its name is a runtime id, its multiaddr and checksum say exactly which
interpreter, or which description of a runtime, it means. The program itself travels in the manifest. Every other type
(``DOCKER`` above all) is an app of its own, whose params follow the published task runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["APP_TYPES", "LEVEL_OF_TYPE", "Level", "is_manifest_type"]


class Level(StrEnum):
    """How a job is kept from the machine that runs it, and from the other jobs there."""

    WASM = "wasm"
    """WebAssembly: the same bits on every machine, where the runtime id says ``deterministic``."""
    PROCESS = "process"
    """A native program in namespaces, with a list of allowed system calls and limits of the kernel."""
    CONTAINER = "container"
    """An OCI image, run by podman or docker."""
    VM = "vm"
    """A virtual machine with a kernel of its own, run by QEMU."""


APP_TYPES: Final[Mapping[Level, str]] = MappingProxyType(
    {Level.WASM: "WASM", Level.PROCESS: "PROCESS", Level.CONTAINER: "OCI", Level.VM: "VM"}
)
"""The type that the generic apps of a level have."""

LEVEL_OF_TYPE: Final[Mapping[str, Level]] = MappingProxyType({name: level for level, name in APP_TYPES.items()})


def is_manifest_type(app_type: str) -> bool:
    """True if jobs of an app of this type travel as a manifest."""
    return app_type in LEVEL_OF_TYPE
