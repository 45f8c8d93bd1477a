"""What the owner of a machine says about containers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_SETTINGS", "ContainerSettings", "fault_of_engine", "fault_of_registry"]

_REGISTRY: Final = re.compile(r"(?=.{1,255}\Z)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """Keys ``container_*`` of the worker's ``policy.toml``."""

    engine: str = ""
    """``podman``, ``docker``, or the absolute path of one of them; empty: the first of the two that works."""
    registries: tuple[str, ...] = ()
    """Registries (``host`` or ``host:port``) that images may be fetched from; empty: none, archives only."""
    cache_bytes: int = 16 << 30
    """Disk that unpacked images may take; the least recently used go first."""
    insecure_loopback: bool = False
    """True: registries of this machine need no TLS. Only local networks say so."""


DEFAULT_SETTINGS: Final = ContainerSettings()


def fault_of_engine(name: str) -> str | None:
    """Why ``name`` cannot be an engine's; None when it can."""
    base = os.path.basename(name)
    if name in ("", "podman", "docker"):
        return None
    if os.path.isabs(name) and base.startswith(("podman", "docker")):
        return None
    return f"{name!r} is neither podman, docker, nor the absolute path of one of them"


def fault_of_registry(name: str) -> str | None:
    """Why ``name`` is not the name of a registry; None when it is."""
    if _REGISTRY.fullmatch(name) is None:
        return f"{name!r} is not a registry's host, or host:port, in lower case"
    if "." not in name and ":" not in name and name != "localhost":
        return f"{name!r} has no dot and no port, so it could be a folder of any registry"
    return None
