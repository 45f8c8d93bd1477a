"""The installed interpreter, and a short way to run a script in it."""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from fairgrid.runtime.interface import Limits, Outcome, SandboxJob
from fairgrid.runtime.wasm.interpreters import InstalledRuntime, default_runtime_id, install_interpreter
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.runtime.job_bench import Bench

SEED = bytes(range(32))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The interpreter is compiled in a fixture, once: only the test itself has 60 s (decision 36)."""
    for item in items:
        if "installed_runtime" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(240, func_only=True))


@pytest.fixture(scope="session")
def installed_runtime() -> InstalledRuntime:
    """CPython for WASI, installed in the user's cache as `fairgrid runtime install` does it."""
    return install_interpreter(default_runtime_id())


@pytest.fixture
def sandbox(installed_runtime: InstalledRuntime) -> WasmSandbox:
    """A sandbox with that interpreter."""
    return installed_runtime.sandbox()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A place to lay jobs out."""
    return Bench(tmp_path / "bench")


@dataclass(frozen=True)
class Run:
    """A finished script and the folder that it wrote."""

    outcome: Outcome
    out: Path

    @property
    def stdout(self) -> str:
        """Standard output as text."""
        return self.outcome.stdout.decode()

    @property
    def stderr(self) -> str:
        """Standard error as text."""
        return self.outcome.stderr.decode()


class RunScript(Protocol):
    """Runs a script with inputs (name to content) under limits."""

    def __call__(
        self,
        source: str,
        *,
        inputs: Mapping[str, bytes] | None = None,
        arguments: tuple[str, ...] = (),
        limits: Limits | None = None,
        seed: bytes = SEED,
        name: str = "script.py",
        folder: str = "job",
    ) -> Awaitable[Run]: ...


def job_in(
    base: Path,
    source: str,
    *,
    inputs: Mapping[str, bytes] | None = None,
    arguments: tuple[str, ...] = (),
    limits: Limits | None = None,
    seed: bytes = SEED,
    name: str = "script.py",
) -> SandboxJob:
    """Lay a job out under ``base``."""
    for part in ("app", "in", "out"):
        (base / part).mkdir(parents=True)
    script = base / "app" / name
    script.write_text(textwrap.dedent(source), encoding="utf-8")
    for path, content in (inputs or {}).items():
        target = base / "in" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return SandboxJob(
        script=script,
        arguments=arguments,
        input_folder=base / "in",
        output_folder=base / "out",
        environment={"IEXEC_IN": "/iexec_in", "IEXEC_OUT": "/iexec_out"},
        seed=seed,
        limits=limits or Limits(fuel=30_000_000_000, wall_s=50.0),
    )


@pytest.fixture
def run_script(sandbox: WasmSandbox, tmp_path: Path) -> RunScript:
    """Runs a script in the sandbox."""

    async def run(
        source: str,
        *,
        inputs: Mapping[str, bytes] | None = None,
        arguments: tuple[str, ...] = (),
        limits: Limits | None = None,
        seed: bytes = SEED,
        name: str = "script.py",
        folder: str = "job",
    ) -> Run:
        job = job_in(tmp_path / folder, source, inputs=inputs, arguments=arguments, limits=limits, seed=seed, name=name)
        return Run(await sandbox.run(job), job.output_folder)

    return run


@pytest.fixture
def no_leftovers(tmp_path: Path) -> Callable[[], list[str]]:
    """Names of scratch folders that runs below the test's folder left behind."""
    return lambda: [str(path) for path in tmp_path.rglob("scratch-*")]
