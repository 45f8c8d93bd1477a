"""Runtimes of the level ``container``."""

from __future__ import annotations

from typing import Final

from fairgrid.runtime.levels import RuntimeInfo

__all__ = ["CONTAINER_RUNTIMES"]

CONTAINER_RUNTIMES: Final[tuple[RuntimeInfo, ...]] = ()
