"""Interpreters and modules under wasmtime, as runtimes of this machine."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import FairgridError
from fairgrid.runtime.interface import Limits, Sandbox, Stop
from fairgrid.runtime.levels import Probe, RuntimeInfo, RuntimeProvider
from fairgrid.runtime.own_job import own_job
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.interpreters import cache_folder, find_runtime
from fairgrid.runtime.wasm.launch import Launch
from fairgrid.runtime.wasm.lockdown import locks_here
from fairgrid.runtime.wasm.programs import COMPILE_WALL_S, CompiledPrograms
from fairgrid.runtime.wasm.runtimes import COMPONENT_RUNTIME, MODULE_CLASSES
from fairgrid.runtime.wasm.sandbox import ModuleSandbox

__all__ = ["InterpreterProvider", "ModuleProvider", "compile_allowance_s", "provider"]

_FUEL: Final = 10**10
_WALL_S: Final = 30.0
# (module (memory (export "memory") 1) (func (export "_start")))
_NOTHING: Final = bytes.fromhex(
    "0061736d01000000010401600000030201000503010001071302066d656d6f72790200065f737461727400000a040102000b"
)

# A component that exports wasi:cli/run@0.2.9, whose function run returns that all is well.
_NO_COMPONENT: Final = bytes.fromhex(
    "0061736d0d00010001240061736d010000000105016000017f030201000707010372756e00000a0601040041000b0204010000000708026a"
    "000040000000060901000001000372756e0806010000000001050a010101000372756e01000b18010012776173693a636c692f72756e4030"
    "2e322e39050000"
)


def provider(info: RuntimeInfo) -> RuntimeProvider:
    """The provider of a runtime of this level."""
    if info.runtime_id in (*MODULE_CLASSES, COMPONENT_RUNTIME):
        return ModuleProvider(info)
    return InterpreterProvider(info)


@dataclass(frozen=True, slots=True)
class InterpreterProvider:
    """One interpreter, which `fairgrid runtime install` puts here."""

    info: RuntimeInfo

    def sandbox(self, *, ready: int = 0) -> Sandbox:
        """Its sandbox.

        Raises:
            HostFailure: it is not installed, or its compiled form is not safe to run.
        """
        return find_runtime(self.info.runtime_id).sandbox(ready=ready)

    async def probe(self) -> Probe:
        """Run an empty script."""
        remedy = f"fairgrid runtime install --runtime {self.info.runtime_id}"
        try:
            sandbox = self.sandbox()
            try:
                return await _tried(self.info, sandbox, "nothing", b"")
            finally:
                await sandbox.close()
        except (FairgridError, OSError) as error:
            return Probe(False, detail=str(error), remedy=remedy)


@dataclass(frozen=True, slots=True)
class ModuleProvider:
    """Programs that are modules or components themselves; nothing is to be installed."""

    info: RuntimeInfo

    def sandbox(self, *, ready: int = 0) -> Sandbox:
        """Its sandbox."""
        name = self.info.runtime_id
        engine_class = MODULE_CLASSES.get(name, EngineClass.DETERMINISTIC)
        launch = Launch.COMPONENT if name == COMPONENT_RUNTIME else Launch.MODULE
        return ModuleSandbox(_programs_of(name), name, engine_class, launch=launch, ready=ready)

    async def probe(self) -> Probe:
        """Run a module that does nothing; compiling it is not counted."""
        try:
            sandbox = self.sandbox()
            try:
                nothing = _NO_COMPONENT if self.info.runtime_id == COMPONENT_RUNTIME else _NOTHING
                await _tried(self.info, sandbox, "nothing.wasm", nothing)
                return await _tried(self.info, sandbox, "nothing.wasm", nothing)
            finally:
                await sandbox.close()
        except (FairgridError, OSError) as error:
            return Probe(False, detail=str(error), remedy="Set FAIRGRID_CACHE to a folder of the worker's user.")


async def compile_allowance_s(runtime_id: str, program: Path) -> float:
    """So many seconds compiling ``program`` may take before it runs: 0 when it lies compiled in this user's cache, and
    when the runtime compiles no programs. Another machine may share that cache or not."""
    if runtime_id not in (*MODULE_CLASSES, COMPONENT_RUNTIME):
        return 0.0
    return 0.0 if await _programs_of(runtime_id).has(program) else COMPILE_WALL_S


def _programs_of(runtime_id: str) -> CompiledPrograms:
    engine_class = MODULE_CLASSES.get(runtime_id, EngineClass.DETERMINISTIC)
    folder = cache_folder().with_name("programs")
    return CompiledPrograms(folder, engine_class, components=runtime_id == COMPONENT_RUNTIME)


async def _tried(info: RuntimeInfo, sandbox: Sandbox, name: str, program: bytes) -> Probe:
    with tempfile.TemporaryDirectory(prefix="fairgrid-probe-") as temporary:
        job = own_job(Path(temporary), name, limits=Limits(fuel=_FUEL, wall_s=_WALL_S))
        job.script.write_bytes(program)
        started = time.monotonic()
        outcome = await sandbox.run(job)
        start_ms = (time.monotonic() - started) * 1000
    if outcome.stop is not Stop.EXITED or outcome.exit_code != 0:
        return Probe(False, start_ms, f"a program that does nothing ended with {outcome.stop}: {outcome.detail}")
    limits = "limits of work, memory and output are exact" if info.deterministic else "limits of time, memory, output"
    return Probe(True, start_ms, f"no network, no files of the machine; {limits}; behind it: {', '.join(locks_here())}")
