"""The engine's configuration: one place for what compiles an interpreter and what runs it.

The runtime id promises that two machines agree bit for bit, so nothing here may be an option of a machine's owner.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import wasmtime

from fairgrid.errors import HostFailure

__all__ = ["THREAD_STACK_BYTES", "compile_module", "engine_key", "load_module", "new_engine"]

_WASM_STACK_BYTES = 2 << 20
THREAD_STACK_BYTES = 16 << 20
"""Stack of the thread that runs the guest; has to hold the guest's own stack and the host's calls."""

_CONFIGURATION = "deterministic/1: fuel epoch nan-canonical no-relaxed-simd no-threads stack-2MiB"


def new_engine() -> wasmtime.Engine:
    """An engine of the class ``deterministic``: metered, interruptible, canonical NaNs, no threads."""
    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.cranelift_nan_canonicalization = True
    config.wasm_relaxed_simd = False
    config.wasm_threads = False
    config.max_wasm_stack = _WASM_STACK_BYTES
    return wasmtime.Engine(config)


def engine_key(wasm_sha256: str) -> str:
    """Names one compiled form of an interpreter: by its hash, the engine's version, configuration and this processor
    family (decision 51)."""
    # Costly to import, and each job's own process has no use for it.
    from importlib.metadata import version

    parts = (wasm_sha256, version("wasmtime"), _CONFIGURATION, platform.system(), platform.machine())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def compile_module(wasm: bytes) -> bytes:
    """Compile to native code of this machine; takes about ten processor seconds for CPython.

    Raises:
        HostFailure: the engine refuses the module.
    """
    try:
        return bytes(wasmtime.Module(new_engine(), wasm).serialize())
    except wasmtime.WasmtimeError as error:
        raise HostFailure(f"The engine cannot compile this interpreter: {error}.") from error


def load_module(engine: wasmtime.Engine, compiled: Path) -> wasmtime.Module:
    """Map a compiled interpreter. It is native code: the caller has checked who could have written it.

    Raises:
        HostFailure: it was compiled for another engine or another processor.
    """
    try:
        return wasmtime.Module.deserialize_file(engine, str(compiled))
    except wasmtime.WasmtimeError as error:
        raise HostFailure(
            f"The compiled interpreter {compiled} does not fit this machine ({error}). Run `fairgrid runtime install`."
        ) from error
