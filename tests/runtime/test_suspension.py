"""A suspended job stands still, keeps what it has, and loses no time of its limit."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fairgrid.runtime.interface import Limits, Stop
from fairgrid.runtime.suspension import Suspension
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.runtime.conftest import RunScript

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only POSIX systems can stop a process")
BUSY = "n = 0\nfor i in range(%d): n += i\nprint(n)\n"


def sandboxes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "fairgrid.runtime.wasm.host" in " ".join(child.cmdline())]


async def until_started() -> psutil.Process:
    async with asyncio.timeout(20):
        while True:
            found = [child for child in sandboxes() if child.cpu_times().user > 0.2]
            if found:
                return found[0]
            await asyncio.sleep(0.05)


async def test_a_job_suspended_for_longer_than_its_wall_limit_ends_well_when_resumed(
    run_script: RunScript, sandbox: WasmSandbox
) -> None:
    limits = Limits(fuel=10**11, wall_s=4.0)
    running = asyncio.ensure_future(run_script(BUSY % 300_000, limits=limits))
    child = await until_started()
    assert sandbox.suspend()
    before = child.cpu_times().user
    await asyncio.sleep(limits.wall_s + 6.0)
    assert child.status() == psutil.STATUS_STOPPED and not running.done()
    assert child.cpu_times().user - before < 0.2
    sandbox.resume()
    run = await running
    assert (run.outcome.stop, run.stdout) == (Stop.EXITED, "44999850000\n")


async def test_without_suspension_the_limit_still_ends_an_endless_job(run_script: RunScript) -> None:
    run = await run_script("while True: pass", limits=Limits(fuel=10**12, wall_s=1.0))
    assert run.outcome.stop is Stop.WALL_CLOCK


async def test_a_job_that_begins_while_suspended_waits(run_script: RunScript, sandbox: WasmSandbox) -> None:
    sandbox.suspend()
    running = asyncio.ensure_future(run_script("print('on')"))
    await asyncio.sleep(2.0)
    assert not running.done()
    sandbox.resume()
    assert (await running).stdout == "on\n"


async def test_a_suspended_job_can_be_cancelled_and_leaves_no_process(
    run_script: RunScript, sandbox: WasmSandbox
) -> None:
    running = asyncio.ensure_future(run_script("while True: pass", limits=Limits(fuel=10**12)))
    child = await until_started()
    sandbox.suspend()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    sandbox.resume()


async def test_only_running_time_counts_towards_a_limit() -> None:
    now = [0.0]
    suspension = Suspension(monotonic=lambda: now[0])
    never = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(suspension.wait_for(never, 1.0))
    await asyncio.sleep(0)
    suspension.suspend()
    now[0] = 100.0
    await asyncio.sleep(1.2)
    assert not waiting.done() and suspension.suspended_s == 100.0
    suspension.resume()
    now[0] = 101.1
    with pytest.raises(TimeoutError):
        await waiting
    assert never.cancelled()


def test_a_group_that_ended_is_not_signalled(tmp_path: Path) -> None:
    suspension = Suspension()
    child = subprocess.Popen([sys.executable, "-c", "pass"], start_new_session=True)
    child.wait(20)
    with suspension.running(child.pid):
        suspension.suspend()
        suspension.resume()
