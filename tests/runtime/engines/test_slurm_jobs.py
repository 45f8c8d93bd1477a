"""Cells as jobs of a real Slurm."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.interface import Cell, Engine
from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.engines.slurm_commands import SlurmJob, cancel, seen_of
from fairgrid.runtime.engines.slurm_jobs import SlurmJobs
from fairgrid.runtime.engines.trial import tried_on
from fairgrid.runtime.interface import Stop
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from fairgrid.worker.setup.pilot import ask_slurm, find_pilot
from tests.runtime.engines.jobs import Uses, endless_in, gpu_teller, job_in, until
from tests.runtime.engines.slurm_cluster import SlurmCluster

pytestmark = pytest.mark.timeout(120)
OPTIONS = EngineOptions(kind=EngineKind.SLURM, partition="lab", poll_s=0.2, memory_overhead_bytes=64 << 20)
PREFIX = "fairgrid-test"


def opened(folder: Path, options: EngineOptions = OPTIONS) -> AbstractAsyncContextManager[Engine]:
    return opened_engine(options, folder / "engine", prefix=PREFIX)


@pytest.fixture
async def engine(slurm: SlurmCluster, tmp_path: Path) -> AsyncIterator[Engine]:
    async with opened(tmp_path) as engine:
        yield engine


async def test_jobs_that_come_together_are_one_array_and_give_what_they_give_here(
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
    assert len({use.engine_id.partition("_")[0] for use in uses}) == 1
    assert all(use.node and use.ran_s > 0 and use.queued_s >= 0 for use in uses)
    assert not list(tmp_path.glob("there-*/cell-*"))


async def test_a_jobs_environment_is_in_none_of_slurms_files_and_its_own_file_is_its_users_alone(
    engine: Engine, slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    job = endless_in(tmp_path / "runs")
    job = replace(job, environment={**job.environment, "IEXEC_REQUESTER_SECRET_1": "hunter-of-two"})
    running = asyncio.ensure_future(EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX).run(job))
    await until(lambda: list(tmp_path.glob("runs/cell-*/place.json")))
    (file,) = tmp_path.glob("runs/cell-*/job.json")
    assert b"hunter-of-two" in file.read_bytes() and file.stat().st_mode & 0o777 == 0o600
    kept = [
        path.read_bytes()
        for name in ("state", "spool", "log")
        for path in (slurm.folder / name).rglob("*")
        if path.is_file()
    ]
    assert any(b"fairgrid.runtime.engines.cell" in content for content in kept), "these are not the files of the queue"
    assert not any(b"hunter-of-two" in content for content in kept)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not file.exists()


async def test_a_trial_tells_of_the_node(engine: Engine, tmp_path: Path, installed_runtime: InstalledRuntime) -> None:
    tried = await tried_on(engine, [installed_runtime.runtime_id, "r/unknown"], tmp_path / "engine")
    assert tried.probes[installed_runtime.runtime_id].works
    assert not tried.probes["r/unknown"].works
    assert tried.node.cpus > 0 and tried.node.memory_bytes > 0


async def test_cells_that_are_cancelled_leave_the_queue_whether_they_wait_or_run(
    engine: Engine, slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
    endless = endless_in(tmp_path / "runs")
    waits = job_in(tmp_path / "waits")
    waits = replace(waits, limits=replace(waits.limits, cpus=16))  # All of the node, while another cell runs there.
    running = asyncio.ensure_future(sandbox.run(endless))
    await until(lambda: list(tmp_path.glob("runs/cell-*/place.json")))
    waiting = asyncio.ensure_future(sandbox.run(waits))
    await until(lambda: len(slurm.jobs("PENDING")) == 1)
    for task in (running, waiting):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await until(lambda: not slurm.jobs())
    assert not list(tmp_path.glob("*/cell-*"))


async def test_what_a_killed_worker_left_is_ended_when_it_starts_again(
    slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    slurm.command("sbatch", f"--job-name={PREFIX}-orphan", "--output=/dev/null", "--wrap=sleep 600")
    slurm.command("sbatch", "--job-name=fairgrid-other", "--output=/dev/null", "--wrap=sleep 600")
    try:
        async with opened(tmp_path):
            assert slurm.jobs() == ["fairgrid-other"]
    finally:
        slurm.command("scancel", "--name=fairgrid-other")
    await until(lambda: not slurm.jobs())


async def test_closing_ends_every_cell(
    slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    async with opened(tmp_path) as engine:
        sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
        running = asyncio.ensure_future(sandbox.run(endless_in(tmp_path / "job")))
        await until(slurm.jobs)
    with pytest.raises(HostFailure, match="closed"):
        await running
    assert not slurm.jobs()


async def test_a_lost_node_is_a_failure_that_says_so_and_the_job_can_run_again(
    engine: Engine, slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
    lost = asyncio.ensure_future(sandbox.run(endless_in(tmp_path / "lost")))
    await until(lambda: list(tmp_path.glob("lost/cell-*/place.json")))
    slurm.stop("slurmd", signal.SIGKILL)
    node = slurm.command("sinfo", "-h", "-o", "%N").strip()
    slurm.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
    try:
        with pytest.raises(HostFailure, match=r"its node was lost \(NODE_FAIL\).*can be run again"):
            await lost
    finally:
        slurm.start("slurmd")
        with contextlib.suppress(subprocess.CalledProcessError):
            # Refused where the node came back by itself.
            slurm.command("scontrol", "update", f"NodeName={node}", "State=RESUME")
        await asyncio.to_thread(slurm.wait_until_idle)
    again = await sandbox.run(job_in(tmp_path / "again"))
    assert again.stop is Stop.EXITED and again.exit_code == 0


async def test_a_cell_at_its_walltime_is_ended_by_slurm_and_says_so(
    engine: Engine, slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
    running = asyncio.ensure_future(sandbox.run(endless_in(tmp_path / "long")))
    await until(lambda: list(tmp_path.glob("long/cell-*/place.json")))
    (job,) = slurm.ids("RUNNING")

    def out_of_time() -> bool:
        # Asked again: a busy slurmctld refuses a change, or makes it and answers too late.
        with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            slurm.command("scontrol", "update", f"JobId={job}", "EndTime=now")
            return True
        return job not in slurm.ids("RUNNING")

    # Its time is what it asked for; no test waits for that.
    await until(out_of_time)
    with pytest.raises(HostFailure, match=r"ended it at its time limit \(TIMEOUT\).*can be run again"):
        await running
    await until(lambda: not slurm.jobs())


async def test_the_queue_may_be_away_for_a_while(
    engine: Engine, slurm: SlurmCluster, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
    running = asyncio.ensure_future(
        sandbox.run(job_in(tmp_path / "job", "for _ in range(300_000): pass\nopen('/iexec_out/r', 'w').write('done')"))
    )
    await until(slurm.jobs)
    slurm.stop("slurmctld")
    await asyncio.sleep(0.5)
    slurm.start("slurmctld")
    await asyncio.to_thread(slurm.wait_until_idle)
    assert (await running).exit_code == 0


async def test_a_submission_that_slurm_refuses_is_told_in_its_words(slurm: SlurmCluster, tmp_path: Path) -> None:
    async with opened(tmp_path, replace(OPTIONS, partition="none-such")) as engine:
        with pytest.raises(HostFailure, match="invalid partition"):
            await engine.run(Cell("fairgrid-test-x", tmp_path, 10.0, 1 << 20))


async def test_a_cell_that_waits_too_long_is_given_up(slurm: SlurmCluster, tmp_path: Path) -> None:
    from fairgrid.runtime.engines.queue_engine import QueueEngine

    queue = SlurmJobs(OPTIONS, tmp_path / "engine", prefix=PREFIX, python="/bin/false")
    engine = QueueEngine(queue, poll_s=0.2, max_queue_s=0.5)
    node = slurm.command("sinfo", "-h", "-o", "%N").strip()
    slurm.command("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    try:
        with pytest.raises(HostFailure, match="waited longer than"):
            await engine.run(Cell("fairgrid-test-x", tmp_path, 10.0, 1 << 20))
    finally:
        slurm.command("scontrol", "update", f"NodeName={node}", "State=RESUME")
        await engine.close()


async def test_slurm_is_asked_for_the_jobs_time_a_minute_and_what_compiling_its_program_may_take(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    queue = SlurmJobs(OPTIONS, tmp_path / "engine", prefix=PREFIX, python="/bin/false")
    node = slurm.command("sinfo", "-h", "-o", "%N").strip()
    slurm.command("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    asked: dict[str, str] = {}
    try:
        for compile_s in (0.0, 300.0):
            cell = Cell(f"fairgrid-test-{compile_s:.0f}", tmp_path, 60.0, 1 << 20, compile_s=compile_s)
            (asked[cell.name],) = await queue.submit([cell])
        times = [slurm.command("squeue", "-h", f"--jobs={one}", "-o", "%l").strip() for one in asked.values()]
        assert times == ["2:00", "7:00"]
    finally:
        await cancel(list(asked.values()))
        slurm.command("scontrol", "update", f"NodeName={node}", "State=RESUME")
        await queue.close()


async def test_a_command_that_fails_on_the_node_is_told_with_what_it_said(slurm: SlurmCluster, tmp_path: Path) -> None:
    (tmp_path / "cell").mkdir()
    async with opened(tmp_path, replace(OPTIONS, python="/no/such/python")) as engine:
        with pytest.raises(HostFailure, match=r"FAILED.*/no/such/python"):
            await engine.run(Cell("fairgrid-test-x", tmp_path / "cell", 10.0, 1 << 20))


async def test_the_workers_secrets_do_not_reach_the_node(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRGRID_KEY_PASSWORD", "hush")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\necho '{{}}' > $3/outcome.json\n")
    python.chmod(0o755)
    (tmp_path / "cell").mkdir()
    async with opened(tmp_path, replace(OPTIONS, python=str(python))) as engine:
        await engine.run(Cell("fairgrid-test-x", tmp_path / "cell", 10.0, 1 << 20))
    environment = (tmp_path / "environment").read_text()
    assert "SLURM_JOB_ID=" in environment and "hush" not in environment


async def test_cells_never_share_a_graphics_processor_and_the_third_waits(slurm: SlurmCluster, tmp_path: Path) -> None:
    options = replace(OPTIONS, python=gpu_teller(tmp_path), gpus=2, gpu_type="tiny")
    async with opened(tmp_path, options) as engine:
        cells = [Cell(f"fairgrid-test-{name}", tmp_path / name, 10.0, 1 << 20, gpus=1) for name in "abc"]
        for cell in cells:
            cell.folder.mkdir()
        running = asyncio.gather(*(engine.run(cell) for cell in cells))
        await until(lambda: len(list(tmp_path.glob("*/gpus"))) == 2)
        assert sorted(path.read_text().strip() for path in tmp_path.glob("*/gpus")) == ["0", "1"]
        assert len(slurm.jobs("RUNNING")) == 2 and len(slurm.jobs("PENDING")) == 1
        (tmp_path / "go").touch()
        await running
        both = Cell("fairgrid-test-d", tmp_path / "d", 10.0, 1 << 20, gpus=2)
        both.folder.mkdir()
        await engine.run(both)
    assert (tmp_path / "d" / "gpus").read_text().strip() == "0,1"


async def test_graphics_processors_that_the_cluster_has_not_are_refused_in_its_words(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    async with opened(tmp_path, replace(OPTIONS, gpus=2, gpu_type="huge")) as engine:
        with pytest.raises(HostFailure, match=r"[Ii]nvalid generic resource|not available"):
            await engine.run(Cell("fairgrid-test-x", tmp_path, 10.0, 1 << 20, gpus=1))


@pytest.mark.parametrize(
    ("state", "word"),
    [("PENDING", "waiting"), ("COMPLETING", "running"), ("COMPLETED", "ended"), ("PREEMPTED", "lost"), ("NEW", "lost")],
)
def test_every_state_of_slurm_has_a_meaning(state: str, word: str) -> None:
    assert seen_of(SlurmJob("1", "n", state, "node", "why")).state.value == word


def test_a_pilot_learns_from_slurm_when_its_allocation_ends(slurm: SlurmCluster) -> None:
    said = slurm.command("sbatch", "--parsable", "--time=5", "--output=/dev/null", "--wrap=sleep 300").strip()
    try:
        end = time.monotonic() + 50
        while slurm.command("squeue", "-h", f"--jobs={said}", "-o", "%T").strip() != "RUNNING":
            assert time.monotonic() < end
            time.sleep(0.1)
        now = time.time()
        pilot = find_pilot({"SLURM_JOB_ID": said}, until=None, now=now, ask=ask_slurm)
        assert pilot is not None and now + 200 < pilot.ends_at <= now + 301
    finally:
        slurm.command("scancel", said)
