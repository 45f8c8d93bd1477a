"""Programs that are WebAssembly modules: made for tests, run in a sandbox of their own cache."""

from __future__ import annotations

from pathlib import Path

import wasmtime

from fairgrid.runtime.interface import Limits, SandboxJob
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.programs import CompiledPrograms
from fairgrid.runtime.wasm.sandbox import ModuleSandbox
from tests.runtime.conftest import SEED

__all__ = ["command", "module_job", "module_sandbox"]

_WASI = "wasi_snapshot_preview1"


def command(body: str, *, imports: str = "", memory: str = "1", more: str = "") -> bytes:
    """A module with the function ``_start`` of that body, in the text format."""
    text = f'(module {imports} (memory (export "memory") {memory}) {more} (func (export "_start") {body}))'
    return bytes(wasmtime.wat2wasm(text))


def module_sandbox(folder: Path, engine_class: EngineClass = EngineClass.DETERMINISTIC) -> ModuleSandbox:
    """A sandbox whose compiled programs lie in ``folder``."""
    return ModuleSandbox(CompiledPrograms(folder, engine_class), f"wasmtime-49/wasi/{engine_class}", engine_class)


def module_job(
    base: Path,
    program: bytes,
    *,
    arguments: tuple[str, ...] = (),
    inputs: dict[str, bytes] | None = None,
    limits: Limits | None = None,
    name: str = "program.wasm",
) -> SandboxJob:
    """Lay a job out under ``base``."""
    for part in ("app", "in", "out"):
        (base / part).mkdir(parents=True)
    (base / "app" / name).write_bytes(program)
    for path, content in (inputs or {}).items():
        (base / "in" / path).write_bytes(content)
    return SandboxJob(
        script=base / "app" / name,
        arguments=arguments,
        input_folder=base / "in",
        output_folder=base / "out",
        environment={"IEXEC_IN": "/iexec_in", "IEXEC_OUT": "/iexec_out"},
        seed=SEED,
        limits=limits or Limits(fuel=50_000_000_000, wall_s=50.0),
    )
