"""A component as the guest: a command of WASI preview 2, linked to calls of our own."""

from __future__ import annotations

import re
import resource
from pathlib import Path
from typing import Any, Final

import wasmtime
from wasmtime.component import ComponentInstanceType, FuncType, Linker, LinkerInstance, ResourceType, Variant

from fairgrid.runtime.wasm.component_bytes import move_bytes_fast
from fairgrid.runtime.wasm.component_calls import ComponentCalls
from fairgrid.runtime.wasm.component_files import ComponentFiles
from fairgrid.runtime.wasm.component_format import RUN, split_version
from fairgrid.runtime.wasm.component_resources import RESOURCE_TYPES, OutputStream, ResourceTable
from fairgrid.runtime.wasm.guest_faults import GuestTrapped, HostTrouble
from fairgrid.runtime.wasm.guest_run import FuelExhausted, Guest, Interrupted, MemoryRefused, check_allocation
from fairgrid.runtime.wasm.host_job import HostJob
from fairgrid.runtime.wasm.launch import guest_command, guest_environment
from fairgrid.runtime.wasm.loaded import LoadedProgram
from fairgrid.runtime.wasm.wasi_calls import GuestExit
from fairgrid.runtime.wasm.wasi_state import LogicalClock, SeededRandom

__all__ = ["ComponentGuest"]

_TRAP: Final = re.compile(r"wasm trap: (.+)")
_FUEL: Final = "all fuel consumed by WebAssembly"
_INTERRUPT: Final = "interrupt"
_STACK: Final = "call stack exhausted"
_MEMORIES: Final = 1
_TABLES: Final = 8
_INSTANCES: Final = 1000
"""A component may consist of many modules; only one of them may have a memory, or no limit would count them all."""


class ComponentGuest(Guest):
    """One instance of a component with its store, files and calls."""

    def _load(self, job: HostJob, loaded: LoadedProgram) -> None:
        self._store.set_limits(
            memory_size=job.limits.memory_bytes,
            table_elements=self.TABLE_ELEMENTS,
            instances=_INSTANCES,
            tables=_TABLES,
            memories=_MEMORIES,
        )
        move_bytes_fast()
        self._component = loaded.component_of(Path(job.compiled))
        self._table = ResourceTable()
        clock = LogicalClock()
        self._component_calls = ComponentCalls(
            table=self._table,
            charge=self._charge,
            files=ComponentFiles(
                table=self._table,
                tree=self._tree,
                handles=self._handles,
                clock=clock,
                charge=self._charge,
                moved=self.checkpoint.moved if self.checkpoint is not None else None,
                removed=self.checkpoint.removed if self.checkpoint is not None else None,
            ),
            clock=clock,
            random=SeededRandom(bytes.fromhex(job.seed)),
            streams=(OutputStream(self.stdout), OutputStream(self.stderr)),
            arguments=guest_command(job.launch, job.script_path.name, job.arguments),
            environment=guest_environment(job.launch, job.environment),
        )

    def run(self) -> None:
        """Run to the end; how it ended is the exception that leaves, `GuestExit` being the usual one."""
        try:
            ended = self._call()
        except wasmtime.WasmtimeError as error:
            raise self._cause(str(error)) from error
        raise GuestExit(0 if ended.tag == "ok" else 1)

    def _call(self) -> Variant:
        linker = Linker(self._engine)
        self._link(linker)
        instance = linker.instantiate(self._store, self._component)
        exports = self._component.type.exports(self._engine)
        name = next(name for name in exports if split_version(name)[0] == RUN)
        index = instance.get_export_index(self._store, "run", instance.get_export_index(self._store, name))
        function = instance.get_func(self._store, index) if index is not None else None
        if function is None:
            raise HostTrouble(f"the component has no function run in {name}")
        ended: Variant = function(self._store)
        return ended

    def _link(self, linker: Linker) -> None:
        functions = self._component_calls.functions()
        with linker.root() as root:
            for name, wanted in self._component.type.imports(self._engine).items():
                shape = wanted.ty
                if not isinstance(shape, ComponentInstanceType):
                    raise HostTrouble(f"the component asks for {name}, which is no interface")
                known = functions.get(split_version(name)[0], {})
                with root.add_instance(name) as instance:
                    for item, kind in shape.exports(self._engine).items():
                        self._define(instance, f"{name} {item}", item, kind.ty, known)

    def _define(self, instance: LinkerInstance, words: str, item: str, kind: Any, known: Any) -> None:
        if isinstance(kind, ResourceType):
            number = RESOURCE_TYPES.get(item)
            if number is None:
                raise HostTrouble(f"the component asks for the resource {words}, which does not exist here")
            instance.add_resource(item, ResourceType.host(number), lambda _, rep: self._component_calls.drop(rep))
        elif isinstance(kind, FuncType):
            call = known.get(item)
            if call is None:

                def call(*_: Any) -> None:
                    raise GuestTrapped(f"it called {words}, which this runtime has not")

            instance.add_func(item, self._component_calls.charged(call))

    def _cause(self, words: str) -> Exception:
        found = _TRAP.search(words)
        what = found[1].strip() if found is not None else ""
        if what == _FUEL:
            return FuelExhausted()
        if what == _INTERRUPT:
            return Interrupted()
        if what == _STACK:
            # How deep the machine's stack goes depends on the processor family: no result.
            return HostTrouble(f"the program's own stack overflowed: {what}")
        if what:
            return GuestTrapped(what)
        if "exceeds memory limits" in words:
            return MemoryRefused()
        if "resource limit exceeded" in words:
            return GuestTrapped("it has more memories, tables or instances than a component may have here")
        return HostTrouble(words)

    def memory_bytes(self) -> int:
        """The most memory of the whole process: a component does not show its own."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def check_memory(self) -> None:
        """Prove that the machine could have given the guest all the memory of its limit.

        Raises:
            HostTrouble: the machine refuses.
        """
        check_allocation(self._limits)
