"""Runtimes of the level ``vm``: one for each architecture of guests."""

from __future__ import annotations

from typing import Final

from fairgrid.protocol.app_types import Level
from fairgrid.runtime.levels import RuntimeInfo, described

__all__ = ["VM_RUNTIMES"]

VM_RUNTIMES: Final[tuple[RuntimeInfo, ...]] = (
    described(
        "vm/x86_64",
        Level.VM,
        summary="a virtual PC with one disk for the job and one for its result; no network card",
        program="a virtual image",
        suffixes=(".vm.json", ".qcow2"),
    ),
)
