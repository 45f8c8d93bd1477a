"""The engine's configuration: one place for what compiles a program and what runs it.

The runtime id promises that two machines agree bit for bit, so nothing here may be an option of a machine's owner.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fairgrid.errors import HostFailure

if TYPE_CHECKING:
    # A quarter of a cell's start: who only starts the processes that use the engine does not load it.
    import wasmtime
    from wasmtime.component import Component

__all__ = [
    "THREAD_STACK_BYTES",
    "EngineClass",
    "compile_module",
    "engine_key",
    "load_component",
    "load_module",
    "new_engine",
]

_WASM_STACK_BYTES = 2 << 20
THREAD_STACK_BYTES = 16 << 20
"""Stack of the thread that runs the guest; has to hold the guest's own stack and the host's calls."""


class EngineClass(StrEnum):
    """What a runtime promises of its engine; the last part of its id."""

    DETERMINISTIC = "deterministic"
    """Metered in fuel, canonical NaNs, no relaxed SIMD: the same bits and the same fuel on every machine."""
    FAST = "fast"
    """Only interruptible. NaNs and relaxed SIMD are the processor's own; limits are of time and not of work."""


_CONFIGURATIONS: Final = {
    EngineClass.DETERMINISTIC: "deterministic/2: fuel epoch nan-canonical no-relaxed-simd no-threads one-memory "
    "no-memory64 no-gc stack-2MiB",
    EngineClass.FAST: "fast/1: epoch relaxed-simd no-threads one-memory no-memory64 no-gc stack-2MiB",
}


def new_engine(engine_class: EngineClass = EngineClass.DETERMINISTIC) -> wasmtime.Engine:
    """An engine of that class: interruptible, no threads, one memory of 32-bit addresses."""
    import wasmtime

    metered = engine_class is EngineClass.DETERMINISTIC
    config = wasmtime.Config()
    config.consume_fuel = metered
    config.cranelift_nan_canonicalization = metered
    config.wasm_relaxed_simd = not metered
    config.epoch_interruption = True
    config.wasm_threads = False
    # Each of these could hold memory that no limit counts.
    config.wasm_multi_memory = False
    config.wasm_memory64 = False
    config.wasm_gc = False
    config.wasm_stack_switching = False
    config.max_wasm_stack = _WASM_STACK_BYTES
    return wasmtime.Engine(config)


def engine_key(wasm_sha256: str, engine_class: EngineClass = EngineClass.DETERMINISTIC) -> str:
    """Names one compiled form of a module: by its hash, the engine's version, configuration and this processor family
    (decision 51)."""
    configuration = _CONFIGURATIONS[engine_class]
    parts = (wasm_sha256, _engine_version(), configuration, platform.system(), platform.machine())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@functools.cache
def _engine_version() -> str:
    # Costly to import, and each job's own process has no use for it.
    from importlib.metadata import version

    return version("wasmtime")


def compile_module(wasm: bytes, engine_class: EngineClass = EngineClass.DETERMINISTIC) -> bytes:
    """Compile to native code of this machine; takes about ten processor seconds for CPython.

    Raises:
        HostFailure: the engine refuses the module.
    """
    import wasmtime

    try:
        return bytes(wasmtime.Module(new_engine(engine_class), wasm).serialize())
    except wasmtime.WasmtimeError as error:
        raise HostFailure(f"The engine cannot compile this interpreter: {error}.") from error


def load_module(engine: wasmtime.Engine, compiled: Path) -> wasmtime.Module:
    """Map a compiled module. It is native code: the caller has checked who could have written it.

    Raises:
        HostFailure: it was compiled for another engine or another processor.
    """
    import wasmtime

    try:
        return wasmtime.Module.deserialize_file(engine, str(compiled))
    except wasmtime.WasmtimeError as error:
        raise HostFailure(
            f"The compiled interpreter {compiled} does not fit this machine ({error}). Run `fairgrid runtime install`."
        ) from error


def load_component(engine: wasmtime.Engine, compiled: Path) -> Component:
    """Map a compiled component, as `load_module` does.

    Raises:
        HostFailure: it was compiled for another engine or another processor.
    """
    import wasmtime
    from wasmtime.component import Component

    try:
        return Component.deserialize_file(engine, str(compiled))
    except wasmtime.WasmtimeError as error:
        raise HostFailure(
            f"The compiled component {compiled} does not fit this machine ({error}). Remove it."
        ) from error
