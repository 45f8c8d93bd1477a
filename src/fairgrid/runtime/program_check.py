"""What can be seen of a program before anybody is paid: that it cannot run in the runtime that it is meant for."""

from __future__ import annotations

from pathlib import Path

from fairgrid.errors import ManifestError, UsageError
from fairgrid.runtime.container.image_check import check_image
from fairgrid.runtime.container.image_files import ArchiveFiles
from fairgrid.runtime.container.image_reference import MAX_REFERENCE_BYTES, parse_reference
from fairgrid.runtime.container.runtimes import ARCHITECTURE_OF, REFERENCE_SUFFIX
from fairgrid.runtime.levels import RuntimeInfo
from fairgrid.runtime.wasm.runtimes import MODULE_CLASSES

__all__ = ["check_program"]


def check_program(program: Path, info: RuntimeInfo) -> None:
    """Look at the program's bytes; nothing of it is run.

    Raises:
        UsageError: every machine would refuse it, so the job would cost money and bring an error.
    """
    if info.runtime_id in MODULE_CLASSES:
        _check_module(program, info)
    elif info.runtime_id in ARCHITECTURE_OF:
        _check_image(program, info)


def _check_module(program: Path, info: RuntimeInfo) -> None:
    # Costly to import, and few programs are modules.
    import wasmtime

    from fairgrid.runtime.wasm.engine import new_engine
    from fairgrid.runtime.wasm.module_format import program_fault

    wasm = program.read_bytes()
    fault = program_fault(wasm)
    if fault is None:
        try:
            wasmtime.Module.validate(new_engine(MODULE_CLASSES[info.runtime_id]), wasm)
        except wasmtime.WasmtimeError as error:
            fault = f"the engine refuses it: {error}"
    if fault is not None:
        raise UsageError(
            f"{program} cannot run in {info.runtime_id}: {fault}. Nothing was signed. Build it for WASI preview 1 "
            f"(docs/runtimes.md shows how for C, Rust and Go)."
        )


def _check_image(program: Path, info: RuntimeInfo) -> None:
    try:
        if program.name.endswith(REFERENCE_SUFFIX):
            with program.open("rb") as file:
                parse_reference(file.read(MAX_REFERENCE_BYTES + 1))
        else:
            with ArchiveFiles.opened(program) as files:
                check_image(files, architecture=ARCHITECTURE_OF[info.runtime_id])
    except ManifestError as error:
        raise UsageError(f"{program} cannot run in {info.runtime_id}. {error} Nothing was signed.") from None
