"""Runtimes of the level ``wasm``: each interpreter that is pinned by hash is one; a module that is itself the program
needs none."""

from __future__ import annotations

from typing import Final

from fairgrid.protocol.app_types import Level
from fairgrid.runtime.levels import Content, RuntimeInfo, described
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.interpreters import RUNTIMES, RuntimeSpec
from fairgrid.runtime.wasm.launch import Launch

__all__ = ["COMPONENT_RUNTIME", "MODULE_CLASSES", "WASM_RUNTIMES"]

_PROGRAMS: Final = {
    Launch.PYTHON: ("a Python script", (".py",)),
    Launch.SCIENCE: ("a Python script that imports numpy, pandas, scipy or scikit-learn", ()),
    Launch.QUICKJS: ("a JavaScript file", (".js", ".mjs")),
}

MODULE_CLASSES: Final = {
    "wasmtime-49/wasi/deterministic": EngineClass.DETERMINISTIC,
    "wasmtime-49/wasi/fast": EngineClass.FAST,
}
"""Runtimes whose program is a WebAssembly module."""
COMPONENT_RUNTIME: Final = "wasmtime-49/component/deterministic"
"""The runtime whose program is a WebAssembly component."""


def _interpreter(spec: RuntimeSpec) -> RuntimeInfo:
    program, suffixes = _PROGRAMS[spec.launch]
    if spec.engine_class is not EngineClass.DETERMINISTIC or spec.library is not None:
        # The interpreter's own CID belongs to the runtime that keeps the promise of equal bits; and one of two files
        # is not all that a runtime is. What this version pins by hash is said in `RUNTIMES`.
        promise = spec.engine_class is EngineClass.DETERMINISTIC
        return described(
            spec.runtime_id, Level.WASM, summary=spec.summary, program=program, suffixes=(), deterministic=promise
        )
    return RuntimeInfo(
        runtime_id=spec.runtime_id,
        level=Level.WASM,
        summary=spec.summary,
        program=program,
        suffixes=suffixes,
        content=Content(spec.wasm_cid, "0x" + spec.wasm_sha256),
        deterministic=True,
    )


def _module(runtime_id: str, engine_class: EngineClass) -> RuntimeInfo:
    promise = engine_class is EngineClass.DETERMINISTIC
    return described(
        runtime_id,
        Level.WASM,
        summary=(
            "any WebAssembly module for WASI preview 1, from C, C++, Rust or Go; the same bits on every machine"
            if promise
            else "the same modules without metering; limits are of time, results may differ in NaNs and relaxed SIMD"
        ),
        program="a WebAssembly module",
        suffixes=(".wasm",) if promise else (),
        deterministic=promise,
    )


WASM_RUNTIMES: Final[tuple[RuntimeInfo, ...]] = (
    *(_interpreter(spec) for spec in RUNTIMES.values()),
    described(
        COMPONENT_RUNTIME,
        Level.WASM,
        summary="any WebAssembly component that is a command of WASI preview 2, such as a Python class; the same bits",
        program="a WebAssembly component",
        suffixes=(".component.wasm",),
        deterministic=True,
    ),
    *(_module(runtime_id, engine_class) for runtime_id, engine_class in MODULE_CLASSES.items()),
)
