"""What computing a task took, as the worker's sandbox measured it: told to the pool once nothing can leak any more.

Whole numbers: milliseconds and bytes.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

__all__ = ["MAX_USAGE", "NO_USAGE", "Usage"]

MAX_USAGE: Final = (1 << 53) - 1
"""Largest number in a report: what every JSON reader keeps exactly."""

_Count = Annotated[int, Field(ge=0, le=MAX_USAGE)]


@dataclass(config=ConfigDict(extra="forbid", strict=True), frozen=True, slots=True)
class Usage:
    """One worker's expense for one task, or for one run of tasks together."""

    cpu_ms: _Count = 0
    """Processor time."""
    wall_ms: _Count = 0
    """How long the jobs ran; of a run, of all its tasks together."""
    peak_memory_bytes: _Count = 0
    """Most memory that one job had at once."""
    bytes_in: _Count = 0
    """Manifest, inputs and results of other tasks that were fetched; what was in the cache is not."""
    bytes_out: _Count = 0
    """Results that were uploaded."""


NO_USAGE: Final = Usage()
"""Nothing was measured."""
