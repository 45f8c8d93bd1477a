"""Runtimes of the level ``process``: native programs of one system and architecture."""

from __future__ import annotations

from typing import Final

from fairgrid.protocol.app_types import Level
from fairgrid.runtime.levels import RuntimeInfo, described

__all__ = ["PROCESS_RUNTIMES"]

PROCESS_RUNTIMES: Final[tuple[RuntimeInfo, ...]] = tuple(
    described(
        f"process/linux-{architecture}",
        Level.PROCESS,
        summary=f"native programs of Linux on {architecture}, with the machine's own /usr",
        program="an executable, a script with a #! line, or a zip with a file `run`",
        suffixes=suffixes,
    )
    for architecture, suffixes in (("x86_64", (".elf", ".sh", ".run.zip")), ("aarch64", ()))
)
"""Scripts mean the first; for another architecture the runtime is named."""
