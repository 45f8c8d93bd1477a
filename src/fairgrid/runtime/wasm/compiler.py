"""The child process that compiles one program: ``python -I -m fairgrid.runtime.wasm.compiler CLASS [KIND]``.

The module comes on standard input, the compiled form goes to standard output, which are files that the parent opened.
Before it looks at the first byte, the process has given up every other file, the network, new processes, and time
and memory without end: a module that attacks the compiler gains its own compiled form, and nothing else.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from fairgrid.runtime.wasm.component_format import component_fault
from fairgrid.runtime.wasm.engine import EngineClass, new_engine
from fairgrid.runtime.wasm.lockdown import die_with_parent, limit_resources, lock_calls, lock_files
from fairgrid.runtime.wasm.module_format import MAX_MODULE_BYTES, program_fault

__all__ = ["COMPILE_CPU_S", "COMPILE_MEMORY_BYTES", "COMPONENT", "INTERPRETER", "REFUSED", "main"]

COMPONENT: Final = "component"
"""The second argument when it is a component."""
INTERPRETER: Final = "interpreter"
"""The second argument when the module is one that is pinned by hash: no rules for strangers' programs."""

REFUSED: Final = 3
"""Status of the process when the module is none that can run anywhere; why stands on standard error."""
COMPILE_CPU_S: Final = 180
COMPILE_MEMORY_BYTES: Final = 2 << 30
"""Of a stranger's module. CPython, of 26 MB, took 0.4 GB; the largest that is read has 64 MiB."""
_INTERPRETER_CPU_S: Final = 3600
_ADDRESS_BYTES: Final = 12 << 30
_COMPILED_BYTES: Final = 1 << 30
_OPEN_FILES: Final = 64
_NICE: Final = 5


def main() -> None:
    """Compile, and end."""
    # Now, while there are files to load it from. Who only starts this process does not load it at all.
    import wasmtime

    die_with_parent()
    engine_class = EngineClass(sys.argv[1])
    trusted = sys.argv[2:] == [INTERPRETER]
    is_component = sys.argv[2:] == [COMPONENT]
    if is_component:
        # Before there is no file to be read any more.
        import wasmtime.component

        from fairgrid.runtime.wasm.component_types import signature_fault
    if hasattr(os, "nice"):
        os.nice(_NICE)
    limit_resources(
        {
            "RLIMIT_CPU": _INTERPRETER_CPU_S if trusted else COMPILE_CPU_S,
            # Address space that is only reserved, as threads do, is no memory; this counts what can be written.
            "RLIMIT_DATA": _ADDRESS_BYTES if trusted else COMPILE_MEMORY_BYTES,
            "RLIMIT_AS": _ADDRESS_BYTES,
            "RLIMIT_FSIZE": _COMPILED_BYTES,
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": _OPEN_FILES,
        }
    )
    lock_files()
    lock_calls()
    with os.fdopen(0, "rb", closefd=False) as stream:
        wasm = stream.read() if trusted else stream.read(MAX_MODULE_BYTES + 1)
    fault = None if trusted else component_fault(wasm) if is_component else program_fault(wasm)
    engine = new_engine(engine_class)
    compiled = memoryview(b"")
    if fault is None:
        try:
            if is_component:
                component = wasmtime.component.Component(engine, wasm)
                fault = signature_fault(component, engine)
                compiled = memoryview(component.serialize() if fault is None else b"")
            else:
                wasmtime.Module.validate(engine, wasm)
        except wasmtime.WasmtimeError:
            # The engine's words may change from patch to patch; these are part of a result.
            fault = "it is not a valid WebAssembly module, or it needs a proposal that this runtime has not"
    if fault is not None:
        os.write(2, fault.encode())
        os._exit(REFUSED)
    if not is_component:
        compiled = memoryview(wasmtime.Module(engine, wasm).serialize())
    while compiled:
        compiled = compiled[os.write(1, compiled) :]
    os._exit(0)


if __name__ == "__main__":
    main()
