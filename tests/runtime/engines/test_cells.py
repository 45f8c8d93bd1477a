"""A job as a cell: laid down, run by an engine in another process, its outcome brought back."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.cell import run_cell
from fairgrid.runtime.engines.cell_files import read_job, read_outcome, write_job, write_outcome, write_trial
from fairgrid.runtime.engines.interface import Cell, CellUse
from fairgrid.runtime.engines.local import LocalEngine
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.interface import Outcome, Stop
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from fairgrid.runtime.watch import JobWatch
from tests.runtime.engines.jobs import Uses, endless_in, job_in


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    job = job_in(tmp_path, "")
    write_job(tmp_path / "cell", "r/1", job)
    assert read_job(tmp_path / "cell") == ("r/1", job)
    whole = replace(job, watch=JobWatch(tmp_path / "live"), checkpoint=True, checkpoint_folder=tmp_path, gpus=(1,))
    write_job(tmp_path / "cell", "r/1", whole)
    back = read_job(tmp_path / "cell")[1]
    assert back.watch is not None and back.watch.folder == tmp_path / "live"
    assert replace(back, watch=None) == replace(whole, watch=None)


def test_a_jobs_file_is_its_users_alone_or_the_groups_that_can_write_its_folder(tmp_path: Path) -> None:
    for folder_mode, file_mode in ((0o755, 0o600), (0o775, 0o640)):
        cell = tmp_path / oct(folder_mode)
        cell.mkdir()
        cell.chmod(folder_mode)
        write_job(cell, "r/1", job_in(tmp_path / f"job-{folder_mode}", ""))
        assert (cell / "job.json").stat().st_mode & 0o777 == file_mode


def test_an_outcome_is_read_as_it_was_written_and_a_missing_one_is_none(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) is None
    outcome = Outcome(Stop.EXITED, 3, b"\xff", b"e", 7, 1.5, 9, "why", True, 0.5, 11)
    write_outcome(tmp_path, outcome)
    assert read_outcome(tmp_path) == outcome


def test_a_folder_without_a_job_says_that_it_may_not_be_shared(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="shares with the worker's"):
        read_job(tmp_path)


async def test_a_job_gives_the_same_through_an_engine_as_directly(
    tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    script = "import sys, random; open('/iexec_out/r', 'w').write(f'{sys.argv[1:]} {random.random()}'); print('hi')"
    uses = Uses()
    engine = LocalEngine()
    through = EngineSandbox(engine, installed_runtime.runtime_id, used=uses.take)
    there = await through.run(job_in(tmp_path / "there", script))
    here = await installed_runtime.sandbox().run(job_in(tmp_path / "here", script))
    assert (there.stop, there.exit_code, there.stdout, there.fuel_used) == (
        here.stop,
        here.exit_code,
        here.stdout,
        here.fuel_used,
    )
    assert (tmp_path / "there/out/r").read_text() == (tmp_path / "here/out/r").read_text()
    assert uses[0].ran_s > 0 and uses[0].node
    assert not list((tmp_path / "there").glob("cell-*"))
    await engine.close()


async def test_a_cancelled_job_leaves_no_process_and_no_folder(
    tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(LocalEngine(), installed_runtime.runtime_id)
    running = asyncio.ensure_future(sandbox.run(endless_in(tmp_path)))
    async with asyncio.timeout(40):
        while not _hosts():  # noqa: ASYNC110 - nobody could tell
            await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(20):
        while _hosts():  # noqa: ASYNC110 - nobody could tell
            await asyncio.sleep(0.05)
    assert not list(tmp_path.glob("cell-*"))


def _hosts() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "fairgrid.runtime.wasm.host" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


class _Forgetful:
    """An engine whose machine dies before the outcome is written."""

    name = "forgetful"

    async def run(self, cell: Cell) -> CellUse:
        assert re.fullmatch("fairgrid-0xababababab-3-[0-9a-f]{6}", cell.name) and (cell.folder / "job.json").exists()
        return CellUse("17", "node7")

    async def sweep(self) -> int:
        return 0

    async def close(self) -> None: ...


async def test_a_cell_without_an_outcome_is_a_failure_of_the_machine_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match=r"node7 \(forgetful 17\)"):
        await EngineSandbox(_Forgetful(), "r/1").run(job_in(tmp_path, ""))


async def test_a_runtime_that_the_other_machine_lacks_is_told_as_its_failure(tmp_path: Path) -> None:
    outcome = await EngineSandbox(LocalEngine(), "r/unknown").run(job_in(tmp_path, ""))
    assert outcome.stop is Stop.HOST and "no runtime 'r/unknown'" in outcome.detail


async def test_a_suspended_worker_is_told_that_its_engine_cannot(tmp_path: Path) -> None:
    assert not EngineSandbox(LocalEngine(), "r/1").suspend()


def test_a_cell_of_the_default_level_loads_nothing_that_costs_more_than_its_own_start() -> None:
    costly = {"httpx", "psutil", "pydantic", "rich", "sqlalchemy", "structlog", "wasmtime"}
    text = (
        "import sys, fairgrid.runtime.engines.cell, fairgrid.runtime.wasm.provider\n"
        f"print(*sorted({costly!r} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=50, check=True)
    assert said.stdout.split() == []


async def test_a_cell_that_its_engine_starts_a_second_time_does_not_run(tmp_path: Path) -> None:
    write_trial(tmp_path, [])
    await run_cell(tmp_path)
    (tmp_path / "tried.json").unlink()
    with pytest.raises(HostFailure, match=r"begun before, on .*can be run again"):
        await run_cell(tmp_path)
    assert not (tmp_path / "tried.json").exists()
