"""A worker that is killed while a real Slurm runs its cells, both ways: what stays in the queue, what comes next."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions, SlurmMode
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.interface import Stop
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from tests.runtime.engines.jobs import cells_below, job_in, until
from tests.runtime.engines.slurm_cluster import SlurmCluster

pytestmark = pytest.mark.timeout(200)
PREFIX = "fairgrid-test"
OPTIONS = EngineOptions(
    kind=EngineKind.SLURM, poll_s=0.2, memory_overhead_bytes=64 << 20, allocation_minutes=10, allocation_slots=4
)
WORKER = """
import asyncio
from pathlib import Path
from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions, SlurmMode
from fairgrid.runtime.engines.sandbox import EngineSandbox
from tests.runtime.engines.jobs import endless_in
from tests.runtime.engines.test_slurm_killed import OPTIONS, PREFIX
from dataclasses import replace

async def main():
    options = replace(OPTIONS, mode=SlurmMode({mode!r}))
    folder = Path({folder!r})
    async with opened_engine(options, folder / "engine", prefix=PREFIX) as engine:
        sandbox = EngineSandbox(engine, {runtime!r}, prefix=PREFIX)
        await asyncio.gather(*(sandbox.run(endless_in(folder / f"job-{{n}}")) for n in range(2)))

asyncio.run(main())
"""


@pytest.mark.parametrize("mode", list(SlurmMode))
async def test_cells_outlive_a_killed_worker_and_are_ended_before_it_takes_work_again(
    mode: SlurmMode, slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    slurm.command("sbatch", "--job-name=fairgrid-other", "--output=/dev/null", "--wrap=sleep 600")
    text = WORKER.format(mode=mode.value, folder=str(tmp_path), runtime=installed_runtime.runtime_id)
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", text)
    try:
        try:
            await until(lambda: len(list(tmp_path.glob("job-*/cell-*/place.json"))) == 2, 100)
        finally:
            worker.kill()
            await worker.wait()
        left = [name for name in slurm.jobs() if name.startswith(PREFIX)]
        assert len(left) == (2 if mode is SlurmMode.JOBS else 1) and len(cells_below(tmp_path)) >= 2
        async with opened_engine(replace(OPTIONS, mode=mode), tmp_path / "engine", prefix=PREFIX) as engine:
            assert slurm.jobs() == ["fairgrid-other"]
            await until(lambda: not cells_below(tmp_path))
            again = await EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX).run(job_in(tmp_path / "a"))
            assert (again.stop, again.exit_code) == (Stop.EXITED, 0)
        await until(lambda: slurm.jobs() == ["fairgrid-other"])
    finally:
        slurm.command("scancel", "--name=fairgrid-other")
    await until(lambda: not slurm.jobs())
