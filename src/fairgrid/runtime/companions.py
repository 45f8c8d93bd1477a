"""Files that a program cannot do without, beside it on its requester's disk: they are sent as inputs by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fairgrid.protocol.app_types import Level
from fairgrid.runtime.catalogue import runtime_info
from fairgrid.runtime.vm.image import parts_beside

__all__ = ["with_companions"]


def with_companions(runtime_id: str, program: Path, inputs: Sequence[Path]) -> list[Path]:
    """``inputs``, and the parts of a virtual image that lie beside its description and were not named.

    Raises:
        UsageError: the program cannot be one of its runtime.
    """
    found = list(inputs)
    if runtime_info(runtime_id).level is Level.VM and program.is_file():
        named = {path.name for path in inputs}
        found += [path for path in parts_beside(program) if path.name not in named]
    return found
