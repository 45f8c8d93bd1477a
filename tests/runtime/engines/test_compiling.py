"""A module that is new to its node is compiled there: the cell has the compiler's time besides its job's."""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines import interface, queue_engine
from fairgrid.runtime.engines.interface import Cell, CellUse
from fairgrid.runtime.engines.kubernetes_manifest import job_manifest
from fairgrid.runtime.engines.local import LocalEngine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions
from fairgrid.runtime.engines.queue_engine import QueueEngine, Seen, SeenState
from fairgrid.runtime.engines.remote_cell import remote_cell, run_there
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.engines.slurm_commands import limits_of
from fairgrid.runtime.interface import Limits, SandboxJob
from fairgrid.runtime.wasm import provider
from fairgrid.runtime.wasm.interpreters import RUNTIMES
from fairgrid.runtime.wasm.programs import COMPILE_WALL_S
from fairgrid.runtime.wasm.runtimes import COMPONENT_RUNTIME, MODULE_CLASSES
from tests.runtime.modules import command, module_job

MODULE_RUNTIME = next(iter(MODULE_CLASSES))
WALL_S = 2.0
GRACE_S = 0.5


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's folder of compiled programs, which is empty; the grace of cells is short."""
    monkeypatch.setenv("FAIRGRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(interface, "GRACE_S", GRACE_S)
    folder = tmp_path / "cache" / "programs"
    folder.mkdir(mode=0o700, parents=True)
    return folder


@contextmanager
def busy_compiler(programs: Path) -> Iterator[None]:
    """Until the end of the block every compilation waits."""
    descriptor = os.open(programs / "compiler.turn", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def job_in(folder: Path) -> SandboxJob:
    return module_job(folder, command("nop"), limits=Limits(fuel=10**9, wall_s=WALL_S))


class _Asked:
    """An engine that keeps what it is asked for."""

    name = "asked"

    def __init__(self) -> None:
        self.cells: list[Cell] = []

    async def run(self, cell: Cell) -> CellUse:
        self.cells.append(cell)
        raise HostFailure("enough")

    async def sweep(self) -> int:
        return 0

    async def close(self) -> None: ...


async def asked_for(job: SandboxJob, runtime_id: str) -> Cell:
    engine = _Asked()
    with pytest.raises(HostFailure, match="enough"):
        await EngineSandbox(engine, runtime_id).run(job)
    return engine.cells[0]


async def test_a_cell_whose_module_takes_longer_to_compile_than_the_grace_runs_its_job(
    tmp_path: Path, programs: Path
) -> None:
    engine = LocalEngine()
    with busy_compiler(programs):
        running = asyncio.ensure_future(EngineSandbox(engine, MODULE_RUNTIME).run(job_in(tmp_path / "job")))
        await asyncio.sleep(WALL_S + GRACE_S + 1)
        assert not running.done()
    outcome = await running
    assert (outcome.stop, outcome.exit_code) == ("exited", 0), outcome.detail
    assert outcome.wall_s < WALL_S
    await engine.close()


async def test_a_cell_whose_compiler_takes_longer_than_its_allowance_is_ended(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "COMPILE_WALL_S", 0.5)
    engine = LocalEngine()
    with busy_compiler(programs), pytest.raises(HostFailure, match="was ended after 3 s"):
        await EngineSandbox(engine, MODULE_RUNTIME).run(job_in(tmp_path / "job"))
    await engine.close()


async def test_a_node_of_ray_or_dask_gives_the_allowance_too(tmp_path: Path) -> None:
    options = EngineOptions(kind=EngineKind.DASK, shared_folder=True)
    cell = Cell("fairgrid-a", tmp_path, 100.0, 1 << 20, compile_s=300.0)
    assert remote_cell(cell, options).wall_s + interface.GRACE_S == cell.limit_s
    assert remote_cell(replace(cell, compile_s=0.0), options).wall_s == 100.0
    ended = remote_cell(replace(cell, wall_s=-interface.GRACE_S, compile_s=0.0), options)
    assert "was ended after 0 s" in (await asyncio.to_thread(run_there, ended)).failure


@pytest.mark.parametrize("runtime_id", [*MODULE_CLASSES, COMPONENT_RUNTIME])
async def test_a_module_is_allowed_the_compilers_time_until_it_is_compiled(
    tmp_path: Path, programs: Path, runtime_id: str
) -> None:
    cell = await asked_for(job_in(tmp_path / "new"), runtime_id)
    assert cell.compile_s == COMPILE_WALL_S == 300.0
    assert cell.limit_s == cell.least_s + 300.0 == WALL_S + GRACE_S + 300.0
    if runtime_id == COMPONENT_RUNTIME:
        return  # The module of these tests is no component.
    job = job_in(tmp_path / "known")
    await provider._programs_of(runtime_id).compiled(job.script)
    assert (await asked_for(replace(job, output_folder=tmp_path / "known/again"), runtime_id)).compile_s == 0.0


async def test_what_compiles_nothing_is_allowed_nothing(tmp_path: Path, programs: Path) -> None:
    for place, runtime_id in enumerate((next(iter(RUNTIMES)), "r/unknown")):
        cell = await asked_for(job_in(tmp_path / str(place)), runtime_id)
        assert cell.compile_s == 0.0 and cell.limit_s == WALL_S + GRACE_S


class _Running:
    """A queue whose cells run for ever."""

    name = "running"

    def refusal(self, cell: Cell) -> str | None:
        return None

    async def submit(self, cells: Sequence[Cell]) -> list[str]:
        return [cell.name for cell in cells]

    async def look(self, cells: Mapping[str, Cell]) -> Mapping[str, Seen]:
        return {engine_id: Seen(SeenState.RUNNING, "node7") for engine_id in cells}

    async def end(self, cells: Mapping[str, Cell]) -> None: ...

    async def sweep(self) -> int:
        return 0

    async def close(self) -> None: ...


async def test_a_cell_is_overdue_after_its_allowance_and_not_before(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_engine, "_OVERDUE_S", 0.0)
    engine = QueueEngine(_Running(), poll_s=0.05)
    plain = Cell("fairgrid-plain", tmp_path, 0.1, 1 << 20)
    compiles = asyncio.ensure_future(engine.run(replace(plain, name="fairgrid-compiles", compile_s=300.0)))
    with pytest.raises(HostFailure, match="not ended in time"):
        await engine.run(plain)
    assert not compiles.done()
    compiles.cancel()
    with pytest.raises(asyncio.CancelledError):
        await compiles
    await engine.close()


def test_slurm_and_kubernetes_are_told_the_limit_with_the_allowance(tmp_path: Path) -> None:
    options = EngineOptions(kind=EngineKind.SLURM, max_queue_minutes=0)
    plain = Cell("fairgrid-a", tmp_path, 100.0, 64 << 20)
    compiles = replace(plain, compile_s=300.0)
    for cell, seconds in ((plain, 160), (compiles, 460)):
        assert limits_of(cell, options)[0] == math.ceil(seconds / 60)
        manifest = job_manifest(cell, options, prefix="fairgrid", python="python3")
        assert manifest["spec"]["activeDeadlineSeconds"] == seconds
