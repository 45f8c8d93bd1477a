"""Cells as tasks of a real Ray and a real Dask, with a shared folder and without."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.interface import Cell, Engine
from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.engines.trial import tried_on
from fairgrid.runtime.interface import Stop
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from tests.runtime.engines.jobs import Uses, cells_below, endless_in, gpu_teller, job_in, until
from tests.runtime.engines.other_clusters import another_dask_worker, running_dask

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.slow,  # Each process of a test run would start both clusters.
    # Of the clusters' own clients, while they connect and close.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=[EngineKind.RAY, EngineKind.DASK])
def options(request: pytest.FixtureRequest, ray_address: str, dask_address: str) -> EngineOptions:
    address = {EngineKind.RAY: ray_address, EngineKind.DASK: dask_address}[request.param]
    return EngineOptions(kind=request.param, address=address, memory_overhead_bytes=64 << 20)


@pytest.fixture
async def engine(options: EngineOptions, tmp_path: Path) -> AsyncIterator[Engine]:
    async with opened_engine(options, tmp_path / "engine", prefix="fairgrid-test") as engine:
        yield engine


async def test_jobs_give_what_they_give_here_and_the_node_is_told(
    engine: Engine, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    uses = Uses()
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, used=uses.take)
    jobs = [job_in(tmp_path / f"there-{place}") for place in range(3)]
    there = await asyncio.gather(*(sandbox.run(job) for job in jobs))
    here = await installed_runtime.sandbox().run(job_in(tmp_path / "here"))
    assert {(one.stop, one.exit_code, one.stdout, one.fuel_used) for one in there} == {
        (here.stop, here.exit_code, here.stdout, here.fuel_used)
    }
    assert {(job.output_folder / "r").read_text() for job in jobs} == {(tmp_path / "here/out/r").read_text()}
    assert all(use.node and use.ran_s > 0 and use.engine_id for use in uses)
    tried = await tried_on(engine, [installed_runtime.runtime_id], tmp_path / "engine")
    assert tried.probes[installed_runtime.runtime_id].works


async def test_without_a_shared_folder_files_travel_as_bytes_within_their_limit(
    options: EngineOptions, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    carried = replace(options, shared_folder=False, max_carried_bytes=1 << 20)
    script = """
import os
open("/iexec_out/r", "w").write(str(len(open("/iexec_in/data").read())))
os.makedirs("/iexec_out/a/b")
open("/iexec_out/a/b/c", "w").write("deep")
"""
    async with opened_engine(carried, tmp_path / "engine", prefix="fairgrid-test") as engine:
        sandbox = EngineSandbox(engine, installed_runtime.runtime_id)
        job = job_in(tmp_path / "job", script)
        (job.input_folder / "data").write_bytes(b"x" * 1000)
        outcome = await sandbox.run(job)
        assert (outcome.stop, outcome.exit_code, outcome.stderr) == (Stop.EXITED, 0, b"")
        assert (job.output_folder / "r").read_text() == "1000"
        assert (job.output_folder / "a/b/c").read_text() == "deep"
        large = job_in(tmp_path / "large", script)
        (large.input_folder / "data").write_bytes(bytes(2 << 20))
        with pytest.raises(HostFailure, match="max_carried_bytes is 1048576"):
            await sandbox.run(large)
        writes = job_in(tmp_path / "writes", "open('/iexec_out/r', 'w').write('x' * 3_000_000)")
        with pytest.raises(HostFailure, match="its output and checkpoint take"):
            await sandbox.run(writes)


async def test_a_cell_that_is_cancelled_ends_on_its_node(
    engine: Engine, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id)
    running = asyncio.ensure_future(sandbox.run(endless_in(tmp_path / "job")))
    await until(lambda: list(tmp_path.glob("job/cell-*/place.json")), 120)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not cells_below(tmp_path), 60)


async def test_a_ray_process_that_is_killed_is_a_lost_cell_that_says_so(
    ray_address: str, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    options = EngineOptions(kind=EngineKind.RAY, address=ray_address, memory_overhead_bytes=64 << 20)
    async with opened_engine(options, tmp_path / "engine", prefix="fairgrid-test") as engine:
        running = asyncio.ensure_future(EngineSandbox(engine, installed_runtime.runtime_id).run(endless_in(tmp_path)))
        await until(lambda: list(tmp_path.glob("cell-*/place.json")), 120)
        (cell,) = cells_below(tmp_path)
        os.kill(psutil.Process(cell).ppid(), signal.SIGKILL)
        with pytest.raises(HostFailure, match=r"was lost: .*can be run again"):
            await running
    await until(lambda: not cells_below(tmp_path), 60)


async def test_a_cell_whose_dask_worker_died_is_not_run_again_by_the_cluster(
    tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    with running_dask() as address:
        options = EngineOptions(kind=EngineKind.DASK, address=address, memory_overhead_bytes=64 << 20)
        async with opened_engine(options, tmp_path / "engine", prefix="fairgrid-test") as engine:
            sandbox = EngineSandbox(engine, installed_runtime.runtime_id)
            running = asyncio.ensure_future(sandbox.run(endless_in(tmp_path)))
            await until(lambda: list(tmp_path.glob("cell-*/place.json")), 120)
            (cell,) = cells_below(tmp_path)
            os.kill(psutil.Process(cell).ppid(), signal.SIGKILL)
            await until(lambda: not cells_below(tmp_path), 60)
            with another_dask_worker(address), pytest.raises(HostFailure, match=r"begun before.*can be run again"):
                await running


async def test_closing_ends_every_cell(
    options: EngineOptions, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    async with opened_engine(options, tmp_path / "engine", prefix="fairgrid-test") as engine:
        sandbox = EngineSandbox(engine, installed_runtime.runtime_id)
        running = asyncio.ensure_future(sandbox.run(endless_in(tmp_path / "job")))
        await until(lambda: list(tmp_path.glob("job/cell-*/place.json")), 120)
    with pytest.raises(HostFailure):
        await running
    await until(lambda: not cells_below(tmp_path), 60)


async def test_cells_never_share_a_graphics_processor_and_the_third_waits(
    options: EngineOptions, tmp_path: Path
) -> None:
    told = replace(options, python=gpu_teller(tmp_path), gpus=2)
    async with opened_engine(told, tmp_path / "engine", prefix="fairgrid-test") as engine:
        cells = [Cell(f"fairgrid-test-{name}", tmp_path / name, 60.0, 1 << 20, gpus=1) for name in "abc"]
        for cell in cells:
            cell.folder.mkdir()
        running = asyncio.gather(*(engine.run(cell) for cell in cells))
        await until(lambda: len(list(tmp_path.glob("*/gpus"))) == 2)
        assert sorted(path.read_text().strip() for path in tmp_path.glob("*/gpus")) == ["0", "1"]
        await asyncio.sleep(1.0)
        assert len(list(tmp_path.glob("*/gpus"))) == 2
        (tmp_path / "go").touch()
        await running


@pytest.mark.parametrize("kind", [EngineKind.RAY, EngineKind.DASK])
async def test_a_cluster_that_does_not_answer_is_told_with_its_address(kind: EngineKind, tmp_path: Path) -> None:
    absent = EngineOptions(kind=kind, address="127.0.0.1:1" if kind is EngineKind.RAY else "tcp://127.0.0.1:1")
    with pytest.raises(HostFailure, match=r"127\.0\.0\.1:1 cannot be joined"):
        async with opened_engine(absent, tmp_path / "engine", prefix="fairgrid-test"):
            pass
