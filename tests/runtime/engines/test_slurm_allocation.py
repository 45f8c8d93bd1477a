"""Cells as steps of one allocation of a real Slurm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.dispatcher import Dispatcher, Orders
from fairgrid.runtime.engines.interface import Engine
from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions, SlurmMode
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.engines.spool import Order, Spool
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from tests.runtime.engines.jobs import Uses, endless_in, job_in, until
from tests.runtime.engines.slurm_cluster import SlurmCluster

pytestmark = pytest.mark.timeout(120)
PREFIX = "fairgrid-test"
OPTIONS = EngineOptions(
    kind=EngineKind.SLURM,
    mode=SlurmMode.ALLOCATION,
    poll_s=0.2,
    allocation_minutes=10,
    allocation_slots=4,
    memory_overhead_bytes=64 << 20,
)


def opened(folder: Path, options: EngineOptions = OPTIONS) -> AbstractAsyncContextManager[Engine]:
    return opened_engine(options, folder / "engine", prefix=PREFIX)


@pytest.fixture
async def engine(slurm: SlurmCluster, tmp_path: Path) -> AsyncIterator[Engine]:
    async with opened(tmp_path) as engine:
        yield engine


async def test_many_cells_run_in_one_job_and_give_what_they_give_here(
    engine: Engine, slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    uses = Uses()
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, used=uses.take, prefix=PREFIX)
    jobs = [job_in(tmp_path / f"there-{place}") for place in range(6)]
    there = await asyncio.gather(*(sandbox.run(job) for job in jobs))
    here = await installed_runtime.sandbox().run(job_in(tmp_path / "here"))
    assert {(one.stop, one.exit_code, one.stdout, one.fuel_used) for one in there} == {
        (here.stop, here.exit_code, here.stdout, here.fuel_used)
    }
    assert {(job.output_folder / "r").read_text() for job in jobs} == {(tmp_path / "here/out/r").read_text()}
    assert slurm.jobs() == [f"{PREFIX}-allocation"]
    assert all(use.node and use.ran_s > 0 for use in uses)


async def test_a_cell_that_is_cancelled_ends_in_its_allocation_and_frees_its_slot(
    slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    async with opened(tmp_path, replace(OPTIONS, allocation_slots=1)) as engine:
        sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
        running = asyncio.ensure_future(sandbox.run(endless_in(tmp_path / "runs")))
        await until(lambda: list(tmp_path.glob("runs/cell-*/place.json")))
        after = asyncio.ensure_future(sandbox.run(job_in(tmp_path / "after")))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await after).exit_code == 0
    await until(lambda: not slurm.jobs())


async def test_cells_of_an_allocation_that_is_cancelled_are_lost_and_the_next_one_comes_by_itself(
    engine: Engine, slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
    running = asyncio.ensure_future(sandbox.run(endless_in(tmp_path / "runs")))
    await until(lambda: list(tmp_path.glob("runs/cell-*/place.json")))
    slurm.command("scancel", f"--name={PREFIX}-allocation")
    with pytest.raises(HostFailure, match="can be run again"):
        await running
    assert (await sandbox.run(job_in(tmp_path / "again"))).exit_code == 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"cpus": 2}, "2 processors, and a slot has 1"),
        ({"memory_bytes": 4 << 30}, "and a slot has 2048 MiB"),
        ({"wall_s": 600.0}, "an allocation lives 10 minutes"),
    ],
)
async def test_a_cell_that_fits_no_allocation_is_refused_at_once(
    engine: Engine, tmp_path: Path, changed: dict[str, float], reason: str
) -> None:
    job = job_in(tmp_path / "job")
    job = replace(job, limits=replace(job.limits, **changed))  # type: ignore[arg-type]
    with pytest.raises(HostFailure, match=reason):
        await EngineSandbox(engine, "r/1").run(job)


def orders(**changed: float) -> Orders:
    whole = Orders(
        python="/bin/false",
        slots=1,
        cpus=1,
        memory_mb_per_cpu=64,
        lives_s=100.0,
        idle_s=100.0,
        silence_s=100.0,
        poll_s=0.02,
    )
    return replace(whole, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"idle_s": 0.2}, "there was nothing to do"),
        ({"silence_s": 0.2}, "the worker is silent"),
        ({"lives_s": 15.2}, "the allocation ends"),
    ],
)
async def test_a_dispatcher_gives_its_nodes_back(tmp_path: Path, changed: dict[str, float], reason: str) -> None:
    async with asyncio.timeout(30):
        assert await Dispatcher(Spool(tmp_path), orders(**changed), allocation="1").run() == reason


async def test_a_cell_that_would_outlive_the_allocation_waits_for_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.order("1-a", Order("/nowhere", 90.0))
    async with asyncio.timeout(30):
        assert await Dispatcher(spool, orders(silence_s=0.5), allocation="1").run() == "the worker is silent"
    assert spool.names("waiting") == ["1-a"]


def test_a_cell_that_the_worker_takes_back_is_not_taken_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.order("1-a", Order("/a", 1.0))
    spool.refuse("1-a")
    assert spool.take("1-a", "17") is None and spool.runs_in("1-a") is None
    spool.order("2-b", Order("/b", 1.0))
    assert spool.take("2-b", "17") == Order("/b", 1.0)
    spool.refuse("2-b")
    assert spool.names("unwanted") == ["2-b"] and spool.runs_in("2-b") == "17"
    spool.finish("2-b", "over")
    assert spool.finished("2-b") == "over" and not spool.names("unwanted") and not spool.names("running")
