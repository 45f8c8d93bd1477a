"""Interpreters under wasmtime, as runtimes of this machine."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import FairgridError
from fairgrid.runtime.interface import Limits, Sandbox, SandboxJob, Stop
from fairgrid.runtime.levels import Probe, RuntimeInfo
from fairgrid.runtime.wasm.interpreters import find_runtime

__all__ = ["InterpreterProvider", "provider"]

_FUEL: Final = 10**10
_WALL_S: Final = 30.0


def provider(info: RuntimeInfo) -> InterpreterProvider:
    """The provider of a runtime of this level."""
    return InterpreterProvider(info)


@dataclass(frozen=True, slots=True)
class InterpreterProvider:
    """One interpreter, which `fairgrid runtime install` puts here."""

    info: RuntimeInfo

    def sandbox(self) -> Sandbox:
        """Its sandbox.

        Raises:
            HostFailure: it is not installed, or its compiled form is not safe to run.
        """
        return find_runtime(self.info.runtime_id).sandbox()

    async def probe(self) -> Probe:
        """Run an empty script."""
        try:
            sandbox = self.sandbox()
        except FairgridError as error:
            return Probe(False, detail=str(error), remedy=f"fairgrid runtime install --runtime {self.info.runtime_id}")
        try:
            return await _tried(sandbox)
        except (FairgridError, OSError) as error:
            return Probe(False, detail=str(error), remedy="fairgrid runtime install")


async def _tried(sandbox: Sandbox) -> Probe:
    with tempfile.TemporaryDirectory(prefix="fairgrid-probe-") as temporary:
        folder = Path(temporary)
        for name in ("app", "in", "out"):
            (folder / name).mkdir()
        script = folder / "app" / "nothing.py"
        script.write_text("")
        job = SandboxJob(
            script=script,
            arguments=(),
            input_folder=folder / "in",
            output_folder=folder / "out",
            environment={},
            seed=bytes(32),
            limits=Limits(fuel=_FUEL, wall_s=_WALL_S),
        )
        started = time.monotonic()
        outcome = await asyncio.ensure_future(sandbox.run(job))
        start_ms = (time.monotonic() - started) * 1000
    if outcome.stop is not Stop.EXITED or outcome.exit_code != 0:
        return Probe(False, start_ms, f"an empty script ended with {outcome.stop}: {outcome.detail}")
    return Probe(True, start_ms, "no network, no files of the machine; limits of work, memory and output are exact")
