"""An engine with what it runs, in the memory of one process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import wasmtime

from fairgrid.runtime.wasm.engine import EngineClass, load_component, load_module, new_engine
from fairgrid.runtime.wasm.host_functions import HostFunctions
from fairgrid.runtime.wasm.launch import Launch
from fairgrid.runtime.wasm.native_code import check_native_code

if TYPE_CHECKING:
    from wasmtime.component import Component

__all__ = ["LoadedProgram"]


@dataclass(frozen=True, slots=True)
class LoadedProgram:
    """An engine of one class, and a module or a component that was compiled for it unless ``compiled`` is None."""

    engine_class: EngineClass
    launch: Launch
    engine: wasmtime.Engine
    compiled: Path | None = None
    module: HostFunctions | None = None
    """The module with the functions that it imports."""
    component: Component | None = None

    @classmethod
    def load(cls, engine_class: EngineClass, launch: Launch, compiled: Path | None) -> LoadedProgram:
        """Make the engine, and map the compiled module; none of its code is run.

        Raises:
            HostFailure: others could have written it, or it was compiled for another engine or processor.
        """
        engine = new_engine(engine_class)
        if compiled is None:
            return cls(engine_class, launch, engine)
        check_native_code(compiled)
        if launch is Launch.COMPONENT:
            return cls(engine_class, launch, engine, compiled, component=load_component(engine, compiled))
        return cls(engine_class, launch, engine, compiled, HostFunctions(engine, load_module(engine, compiled)))

    def fits(self, engine_class: EngineClass, launch: Launch) -> bool:
        """Whether a job of that kind can use this engine."""
        return (self.engine_class, self.launch) == (engine_class, launch)

    def module_of(self, compiled: Path) -> HostFunctions:
        """The module of a compiled form with what it imports, as it was loaded before or now.

        Raises:
            HostFailure: as `load`.
        """
        if self.module is not None and self.compiled == compiled:
            return self.module
        check_native_code(compiled)
        return HostFunctions(self.engine, load_module(self.engine, compiled))

    def component_of(self, compiled: Path) -> Component:
        """As `module_of`, for a component.

        Raises:
            HostFailure: as `load`.
        """
        if self.component is not None and self.compiled == compiled:
            return self.component
        check_native_code(compiled)
        return load_component(self.engine, compiled)
