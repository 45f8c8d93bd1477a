"""Runtimes of the level ``vm``."""

from __future__ import annotations

from typing import Final

from fairgrid.runtime.levels import RuntimeInfo

__all__ = ["VM_RUNTIMES"]

VM_RUNTIMES: Final[tuple[RuntimeInfo, ...]] = ()
