"""The WebAssembly sandboxes: scripts in an interpreter that is installed here, and programs that are modules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.host_process import JobProcesses
from fairgrid.runtime.wasm.launch import GuestProgram, Launch
from fairgrid.runtime.wasm.programs import CompiledPrograms, ProgramRefused
from fairgrid.runtime.wasm.ready_hosts import ReadyHosts

__all__ = ["REFUSED_EXIT", "ModuleSandbox", "WasmSandbox"]

REFUSED_EXIT: Final = 126
"""Exit code of a program that cannot be run, as a shell reports it."""


class _ReadySandbox:
    """A sandbox whose processes are started before their jobs come."""

    def __init__(self, runtime_id: str, hosts: ReadyHosts) -> None:
        self._runtime_id = runtime_id
        self._processes = JobProcesses(hosts)

    @property
    def runtime_id(self) -> str:
        """Engine, version and class (decision 13)."""
        return self._runtime_id

    def suspend(self) -> bool:
        """Stop the processes of all jobs until `resume`; a compilation goes on. False where the system cannot."""
        return self._processes.suspend()

    def resume(self) -> None:
        """Let every job go on."""
        self._processes.resume()

    @property
    def ready_processes(self) -> int:
        """How many processes wait for jobs just now."""
        return self._processes.ready

    async def close(self) -> None:
        """End the processes that wait for jobs."""
        await self._processes.close()


class WasmSandbox(_ReadySandbox):
    """Runs scripts in an interpreter that was compiled by `interpreters.install_interpreter`."""

    def __init__(self, interpreter: Path, program: GuestProgram, runtime_id: str, *, ready: int = 0) -> None:
        """``ready`` processes are kept started for the jobs to come, once there was one."""
        super().__init__(runtime_id, ReadyHosts(ready, program.engine_class, program.launch, program.compiled))
        self._interpreter = interpreter
        self._program = program

    @property
    def interpreter(self) -> Path:
        """The interpreter's WebAssembly file, as it was pinned by hash."""
        return self._interpreter

    async def run(self, job: SandboxJob) -> Outcome:
        """Run ``job``: see `JobProcesses.run`."""
        return await self._processes.run(job, self._program)


class ModuleSandbox(_ReadySandbox):
    """Runs programs that are WebAssembly modules or components themselves; each is compiled when it first comes."""

    def __init__(
        self,
        programs: CompiledPrograms,
        runtime_id: str,
        engine_class: EngineClass,
        *,
        launch: Launch = Launch.MODULE,
        ready: int = 0,
    ) -> None:
        """``launch`` says whether they are modules or components. ``ready`` processes are
        kept started for the jobs to come, once there was one."""
        super().__init__(runtime_id, ReadyHosts(ready, engine_class, launch))
        self._programs = programs
        self._class = engine_class
        self._launch = launch

    async def is_prepared(self, program: Path) -> bool:
        """Implements `Preparing`: whether it is compiled, or is none that can be."""
        return await self._programs.has(program)

    async def prepare(self, program: Path, tell: Callable[[str], None]) -> None:
        """Implements `Preparing`: compile it. What is no program is refused when it is run: that is its result.

        Raises:
            HostFailure: it cannot be compiled within this machine's limits.
        """
        with contextlib.suppress(ProgramRefused):
            await self._programs.compiled(program, tell)

    async def run(self, job: SandboxJob) -> Outcome:
        """Run ``job``: see `JobProcesses.run`. A program that is none for WASI ends with code 126.

        Raises:
            HostFailure: besides, it cannot be compiled within this machine's limits.
        """
        try:
            compiled = await self._programs.compiled(job.script)
        except ProgramRefused as refused:
            words = f"[fairgrid: this program cannot run: {refused.why}]\n".encode()
            return Outcome(Stop.EXITED, REFUSED_EXIT, b"", words, 0, 0.0, 0)
        return await self._processes.run(job, GuestProgram(compiled, self._launch, self._class))
