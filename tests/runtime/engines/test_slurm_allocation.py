"""Cells as steps of one allocation of a real Slurm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.dispatcher import Dispatcher, Orders
from fairgrid.runtime.engines.interface import Cell, Engine
from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions, SlurmMode
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.engines.slurm_allocation import SlurmAllocation
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


def test_a_cell_fits_an_allocation_by_its_job_alone_and_compiles_in_what_is_left(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    queue = SlurmAllocation(OPTIONS, tmp_path, prefix=PREFIX, python="python3")
    cell = Cell("fairgrid-a", tmp_path, 480.0, 64 << 20, compile_s=300.0)
    assert queue.refusal(cell) is None
    assert "481 s" in (queue.refusal(replace(cell, wall_s=481.0)) or "")
    order = Order("/a", cell.least_s, cell.compile_s)
    assert [order.limit_s(left_s) for left_s in (900.0, 840.0, 700.0, 540.0)] == [840.0, 840.0, 700.0, 540.0]
    assert Order("/a", 540.0).limit_s(900.0) == 540.0


@pytest.mark.parametrize(("lives_s", "minutes"), [(10_000.0, 7), (235.0, 4)])
async def test_a_step_that_compiles_is_given_its_allowance_or_what_the_allocation_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives_s: float, minutes: int
) -> None:
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:/usr/bin:/bin")
    spool = Spool(tmp_path / "spool")
    spool.order("1-a", Order("/a", 120.0, 300.0))
    async with asyncio.timeout(30):
        told = orders(lives_s=lives_s, idle_s=0.5)
        assert await Dispatcher(spool, told, allocation="1").run() == "there was nothing to do"
    assert spool.finished("1-a") == ""
    assert f"--time={minutes} " in (tmp_path / "said").read_text()


def test_an_order_of_a_job_that_compiles_nothing_is_what_it_was_before_there_was_an_allowance(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.order("1-a", Order("/a", 1.0))
    assert json.loads((tmp_path / "waiting/1-a").read_bytes()) == {"folder": "/a", "wall_s": 1.0}
    (tmp_path / "waiting/2-b").write_text('{"folder": "/b", "wall_s": 2.0}')
    assert spool.take("2-b", "17") == Order("/b", 2.0)


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
