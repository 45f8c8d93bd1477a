"""gVisor behind docker, whose daemon was told of it by name; behind podman the whole suite runs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from fairgrid.runtime.container.engines import find_engine
from fairgrid.runtime.container.gvisor import gvisor_runtime
from fairgrid.runtime.container.leftovers import sweep
from fairgrid.runtime.container.provider import ContainerProvider
from fairgrid.runtime.interface import Stop
from tests.containers import home, new_provider
from tests.needs import need
from tests.runtime.container.conftest import LIMITS, Jobs, groups_left

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def provider() -> ContainerProvider:
    found = new_provider("docker-gvisor")
    probe = await found.probe()
    need(probe.works, f"gVisor under docker does not work here: {probe.detail}")
    return found


async def test_a_job_runs_on_gvisors_kernel_with_its_inputs_and_leaves_its_results(
    provider: ContainerProvider, jobs: Jobs
) -> None:
    engine = await find_engine("docker", home() / "d")
    assert await gvisor_runtime(engine) == "fairgrid-runsc"
    job = jobs.job("cat /proc/version; id -u; cat /iexec_in/a > /iexec_out/b; exit 5", inputs={"a": b"hello"})
    outcome = await provider.sandbox().run(job)
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 5), outcome
    version, user = outcome.stdout.decode().splitlines()
    # The machine's own kernel says something else.
    assert "4.4.0" in version and os.uname().release not in version and user == "65534"
    assert (job.output_folder / "b").read_bytes() == b"hello"


async def test_its_limits_strike_and_a_cancelled_job_leaves_nothing(provider: ContainerProvider, jobs: Jobs) -> None:
    sandbox = provider.sandbox()
    greedy = await sandbox.run(jobs.job("x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"))
    assert greedy.stop is Stop.MEMORY
    busy = await sandbox.run(jobs.job("while true; do :; done", limits=replace(LIMITS, cpu_s=2.0)))
    assert busy.stop is Stop.CPU
    running = asyncio.ensure_future(sandbox.run(jobs.job("sleep 300")))
    await asyncio.sleep(1.0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    engine = await find_engine("docker", home() / "d")
    assert await sweep(engine) == 0
    said = await engine.call("ps", "--all", "--format", "{{.Names}}")
    assert f"-{os.getpid()}-" not in said.stdout.decode()
    assert (groups_left(), jobs.leftovers()) == ([], [])
