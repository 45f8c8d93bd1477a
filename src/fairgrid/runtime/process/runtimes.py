"""Runtimes of the level ``process``."""

from __future__ import annotations

from typing import Final

from fairgrid.runtime.levels import RuntimeInfo

__all__ = ["PROCESS_RUNTIMES"]

PROCESS_RUNTIMES: Final[tuple[RuntimeInfo, ...]] = ()
