"""Processes that wait for jobs: the same results as without, one job each, and none that stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from fairgrid.runtime.interface import Limits, Outcome, Stop
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from fairgrid.runtime.wasm.launch import Launch
from fairgrid.runtime.wasm.lockdown import locks_here
from fairgrid.runtime.wasm.ready_hosts import ReadyHosts
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.needs import need
from tests.runtime.conftest import job_in

SCRIPT = """
import os, random, sys, time
print(random.random(), time.time(), hash("x"), os.urandom(4).hex(), sys.argv)
open("result.txt", "w").write(str(sum(range(10_000))))
"""
FOR_EVER = "while True: pass"


def ready_hosts() -> list[psutil.Process]:
    """Those that this process started ahead, waiting or at work."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "fairgrid.runtime.wasm.ready_host" in process.cmdline():
                found.append(process)
    return found


async def until(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.02)


@dataclass
class Warm:
    """A sandbox that keeps one process ready, and what it keeps."""

    sandbox: WasmSandbox
    folder: Path
    runs: int = 0

    async def run(self, source: str, limits: Limits | None = None) -> Outcome:
        self.runs += 1
        return await self.sandbox.run(job_in(self.folder / str(self.runs), source, limits=limits))

    async def one_ready(self) -> psutil.Process:
        """Wait for the one that is ready."""
        await until(lambda: self.sandbox.ready_processes == 1)
        (host,) = (process for process in ready_hosts() if process.status() != psutil.STATUS_ZOMBIE)
        return host


@pytest.fixture
async def warm(installed_runtime: InstalledRuntime, tmp_path: Path) -> AsyncIterator[Warm]:
    """One job has run; the next will find a process ready."""
    sandbox = installed_runtime.sandbox(ready=1)
    found = Warm(sandbox, tmp_path / "jobs")
    try:
        await found.run("")
        yield found
    finally:
        await sandbox.close()


async def test_a_job_in_a_process_that_waited_has_the_result_and_the_fuel_of_one_in_a_new_process(
    warm: Warm, installed_runtime: InstalledRuntime, tmp_path: Path
) -> None:
    cold = await installed_runtime.sandbox().run(job_in(tmp_path / "cold", SCRIPT))
    await warm.one_ready()
    found = await warm.run(SCRIPT)
    assert found.stop is Stop.EXITED
    assert (found.stdout, found.stderr, found.fuel_used) == (cold.stdout, cold.stderr, cold.fuel_used)
    result = warm.folder / str(warm.runs) / "out" / "result.txt"
    assert result.read_bytes() == (tmp_path / "cold" / "out" / "result.txt").read_bytes() == b"49995000"


async def test_the_process_that_waited_runs_the_job_and_no_second_one(warm: Warm) -> None:
    first = await warm.one_ready()
    running = asyncio.ensure_future(warm.run(FOR_EVER, Limits(fuel=10**15)))
    await until(lambda: sum(first.cpu_times()[:2]) > 1.0)
    await until(lambda: warm.sandbox.ready_processes == 1)
    assert len(ready_hosts()) == 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not first.is_running()
    assert (await warm.one_ready()).pid != first.pid


async def test_closing_ends_every_process_and_later_jobs_find_none(warm: Warm) -> None:
    await warm.one_ready()
    await warm.sandbox.close()
    assert ready_hosts() == [] and warm.sandbox.ready_processes == 0
    assert (await warm.run("print(1)")).stdout == b"1\n"
    assert ready_hosts() == []
    await warm.sandbox.close()


async def test_without_the_wish_no_process_is_started_ahead(
    installed_runtime: InstalledRuntime, tmp_path: Path
) -> None:
    sandbox = installed_runtime.sandbox()
    await sandbox.run(job_in(tmp_path / "job", ""))
    await asyncio.sleep(0.2)
    assert ready_hosts() == [] and sandbox.ready_processes == 0


async def test_suspending_gives_the_memory_of_those_that_wait_back(warm: Warm) -> None:
    host = await warm.one_ready()
    assert warm.sandbox.suspend()
    await until(lambda: not host.is_running() or host.status() == psutil.STATUS_ZOMBIE)
    assert warm.sandbox.ready_processes == 0
    warm.sandbox.resume()
    assert (await warm.run("print(2)")).stdout == b"2\n"
    await warm.one_ready()


async def test_a_process_that_died_while_it_waited_costs_no_job(warm: Warm) -> None:
    host = await warm.one_ready()
    host.kill()
    await until(lambda: not host.is_running())
    await asyncio.sleep(0.2)
    outcome = await warm.run("print(3)")
    assert (outcome.stop, outcome.stdout) == (Stop.EXITED, b"3\n")
    await warm.one_ready()


async def test_those_that_nobody_needs_end_after_a_while() -> None:
    hosts = ReadyHosts(1, EngineClass.FAST, Launch.MODULE, kept_s=0.5)
    try:
        assert hosts.take() is None
        # Starting takes longer than they are kept on most machines: either way none is left.
        await until(lambda: hosts.waiting == 0 and ready_hosts() == [])
        taken = hosts.take()
        assert taken is None
    finally:
        await hosts.close()


async def test_an_interpreter_that_cannot_be_loaded_is_told_by_the_job_and_no_process_waits(
    installed_runtime: InstalledRuntime, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.cwasm"
    copy.write_bytes(b"not a module" * 100)
    hosts = ReadyHosts(1, EngineClass.DETERMINISTIC, Launch.PYTHON, copy)
    hosts.take()
    await asyncio.sleep(0)
    await until(lambda: not hosts.is_filling)
    assert hosts.waiting == 0 and ready_hosts() == []
    await hosts.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_what_waits_has_one_thread_of_usual_priority_and_is_locked_when_its_job_comes(warm: Warm) -> None:
    need(len(locks_here()) == 3, f"this kernel has only: {', '.join(locks_here())}")
    host = await warm.one_ready()
    assert [thread.id for thread in host.threads()] == [host.pid]
    assert os.getpriority(os.PRIO_PROCESS, host.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    running = asyncio.ensure_future(warm.run(FOR_EVER, Limits(fuel=10**15)))
    await until(lambda: len(host.threads()) >= 3)
    statuses = [Path(f"/proc/{thread.id}/status").read_text() for thread in host.threads()]
    assert all("\nSeccomp:\t2\n" in status and "\nNoNewPrivs:\t1\n" in status for status in statuses)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_what_waits_dies_with_a_worker_that_is_killed(
    installed_runtime: InstalledRuntime, tmp_path: Path
) -> None:
    source = f"""
import asyncio
from pathlib import Path
from tests.runtime.conftest import job_in
from fairgrid.runtime.wasm.interpreters import find_runtime

async def main():
    sandbox = find_runtime({installed_runtime.runtime_id!r}).sandbox(ready=2)
    await sandbox.run(job_in(Path({str(tmp_path / "job")!r}), ""))
    while sandbox.ready_processes < 2:
        await asyncio.sleep(0.02)
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
    root = Path(__file__).parents[2]
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, cwd=root, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None and await parent.stdout.readline() == b"ready\n"
    hosts = ready_hosts()
    assert len(hosts) == 2
    parent.kill()
    await parent.wait()
    await until(lambda: all(not host.is_running() or host.status() == psutil.STATUS_ZOMBIE for host in hosts))
