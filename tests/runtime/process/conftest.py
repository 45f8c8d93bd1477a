"""A native sandbox, and a short way to run a script in it."""

from __future__ import annotations

import asyncio
import platform
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from fairgrid.errors import FairgridError
from fairgrid.runtime.interface import Limits, Outcome, SandboxJob
from fairgrid.runtime.process.provider import provider
from fairgrid.runtime.process.runtimes import PROCESS_RUNTIMES
from fairgrid.runtime.process.sandbox import ProcessSandbox
from tests.needs import need

LIMITS = Limits(fuel=0, wall_s=50.0, memory_bytes=256 << 20, output_bytes=16 << 20)


@dataclass(frozen=True)
class Run:
    """A finished program and what it wrote."""

    outcome: Outcome
    out: Path

    @property
    def stdout(self) -> str:
        return self.outcome.stdout.decode()


class RunNative(Protocol):
    """Runs a program, given as text or bytes, under limits."""

    def __call__(
        self,
        source: str | bytes,
        *,
        name: str = "program.sh",
        limits: Limits = LIMITS,
        arguments: tuple[str, ...] = (),
        sandbox: ProcessSandbox | None = None,
        folder: str = "job",
    ) -> Awaitable[Run]: ...


def native_job(
    base: Path,
    source: str | bytes,
    *,
    name: str = "program.sh",
    limits: Limits = LIMITS,
    arguments: tuple[str, ...] = (),
) -> SandboxJob:
    """Lay a job out under ``base``."""
    for part in ("app", "in", "out"):
        (base / part).mkdir(parents=True)
    script = base / "app" / name
    script.write_bytes(source if isinstance(source, bytes) else textwrap.dedent(source).lstrip().encode())
    return SandboxJob(
        script=script,
        arguments=arguments,
        input_folder=base / "in",
        output_folder=base / "out",
        environment={"IEXEC_IN": "/iexec_in", "IEXEC_OUT": "/iexec_out"},
        seed=bytes(range(32)),
        limits=replace(limits),
    )


@pytest.fixture
def sandbox() -> ProcessSandbox:
    """A sandbox with the best controls of this machine."""
    found = [info for info in PROCESS_RUNTIMES if info.runtime_id.endswith(platform.machine())]
    need(found, f"native programs cannot run on {platform.machine()}")
    try:
        provider(found[0]).sandbox()
    except FairgridError as error:
        need(False, str(error))
    return ProcessSandbox(found[0].runtime_id)


@pytest.fixture
def run_native(sandbox: ProcessSandbox, tmp_path: Path) -> RunNative:
    """Runs a program in the sandbox."""
    own = sandbox

    async def run(
        source: str | bytes,
        *,
        name: str = "program.sh",
        limits: Limits = LIMITS,
        arguments: tuple[str, ...] = (),
        sandbox: ProcessSandbox | None = None,
        folder: str = "job",
    ) -> Run:
        job = native_job(tmp_path / folder, source, name=name, limits=limits, arguments=arguments)
        return Run(await (sandbox or own).run(job), job.output_folder)

    return run


def running(word: str) -> list[str]:
    """Processes of this machine with a word on their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(place.parent.name)
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own time-out is the limit."""
    while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
        await asyncio.sleep(0.01)
