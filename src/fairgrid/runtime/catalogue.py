"""All runtimes that this version knows, by id and by the ending of a program. Nothing is started or looked for here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fairgrid.errors import UsageError
from fairgrid.runtime.container.runtimes import CONTAINER_RUNTIMES
from fairgrid.runtime.levels import RuntimeInfo
from fairgrid.runtime.process.runtimes import PROCESS_RUNTIMES
from fairgrid.runtime.vm.runtimes import VM_RUNTIMES
from fairgrid.runtime.wasm.runtimes import WASM_RUNTIMES

__all__ = ["CATALOGUE", "runtime_for_program", "runtime_info"]

CATALOGUE: Final = {
    info.runtime_id: info for info in (*WASM_RUNTIMES, *PROCESS_RUNTIMES, *CONTAINER_RUNTIMES, *VM_RUNTIMES)
}
"""By runtime id; the first that claims an ending is what a program with that ending runs in."""


def runtime_info(runtime_id: str) -> RuntimeInfo:
    """What is known of a runtime.

    Raises:
        UsageError: this version does not know it.
    """
    try:
        return CATALOGUE[runtime_id]
    except KeyError:
        raise UsageError(f"There is no runtime {runtime_id!r}; this version knows {', '.join(CATALOGUE)}.") from None


def runtime_for_program(program: Path) -> RuntimeInfo:
    """The runtime that a program means by its name's ending.

    Raises:
        UsageError: no runtime claims that ending.
    """
    name = program.name.lower()
    for info in CATALOGUE.values():
        if any(name.endswith(suffix) for suffix in info.suffixes):
            return info
    known = ", ".join(f"{suffix} ({info.program})" for info in CATALOGUE.values() for suffix in info.suffixes)
    raise UsageError(
        f"Nothing says which runtime {program.name} is for. Known endings: {known}. Name a runtime with --runtime; "
        f"`fairgrid runtime list` shows them all."
    )
