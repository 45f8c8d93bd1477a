"""What can be seen of a program before anybody is paid: that it cannot run in the runtime that it is meant for."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from fairgrid.errors import ManifestError, UsageError
from fairgrid.runtime.container.image_check import check_image
from fairgrid.runtime.container.image_files import ArchiveFiles
from fairgrid.runtime.container.image_reference import MAX_REFERENCE_BYTES, parse_reference
from fairgrid.runtime.container.runtimes import ARCHITECTURE_OF, REFERENCE_SUFFIX
from fairgrid.runtime.levels import RuntimeInfo
from fairgrid.runtime.wasm.interpreters import RUNTIMES
from fairgrid.runtime.wasm.launch import Launch
from fairgrid.runtime.wasm.runtimes import COMPONENT_RUNTIME, MODULE_CLASSES

__all__ = ["SCIENCE_PACKAGES", "check_program"]

SCIENCE_PACKAGES: Final = frozenset({"numpy", "pandas", "scipy", "sklearn", "statsmodels", "sympy", "networkx"})
"""What the runtime of scientific Python has and plain CPython has not."""
_SCIENCE: Final = next(spec.runtime_id for spec in RUNTIMES.values() if spec.launch is Launch.SCIENCE)


def check_program(program: Path, info: RuntimeInfo, inputs: Collection[str] = ()) -> None:
    """Look at the program's bytes; nothing of it is run. ``inputs`` are the names of the files that it gets.

    Raises:
        UsageError: every machine would refuse it, so the job would cost money and bring an error.
    """
    if info.runtime_id in MODULE_CLASSES:
        _check_module(program, info)
    elif info.runtime_id == COMPONENT_RUNTIME:
        _check_component(program, info)
    elif info.runtime_id in ARCHITECTURE_OF:
        _check_image(program, info)
    elif info.runtime_id in RUNTIMES and RUNTIMES[info.runtime_id].launch is Launch.PYTHON:
        _check_imports(program, info, inputs)


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


def _check_component(program: Path, info: RuntimeInfo) -> None:
    from fairgrid.runtime.wasm.component_format import component_fault

    fault = component_fault(program.read_bytes())
    if fault is not None:
        raise UsageError(
            f"{program} cannot run in {info.runtime_id}: {fault}. Nothing was signed. Build a command of WASI "
            f"preview 2 (docs/runtimes.md shows how for a Python class)."
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


def _check_imports(program: Path, info: RuntimeInfo, inputs: Collection[str]) -> None:
    try:
        tree = ast.parse(program.read_bytes())
    except (SyntaxError, ValueError):
        # Perhaps of a newer Python than this one; the job will say.
        return
    brought = {name.partition("/")[0].removesuffix(".py") for name in inputs}
    wanted = sorted((set(_imported(tree)) & SCIENCE_PACKAGES) - brought)
    if wanted:
        raise UsageError(
            f"{program} imports {', '.join(wanted)}, which {info.runtime_id} has not. Nothing was signed. Run it with "
            f"--runtime {_SCIENCE}, which has numpy, pandas, scipy and scikit-learn; an import inside try: is not "
            f"asked about."
        )


def _imported(node: ast.AST) -> Iterator[str]:
    """Top names of the packages that are imported in any case: not below ``try`` or ``if``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if child.module and not child.level:
                yield child.module.partition(".")[0]
        elif not isinstance(child, ast.Try | ast.If):
            yield from _imported(child)
