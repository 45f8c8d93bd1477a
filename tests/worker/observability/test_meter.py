"""A worker's figures: what it did, what its owner's rules stopped, what it earned."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fairgrid.protocol.pool_messages import OpeningRequest, RevealNotice, TaskDone, UploadRequest
from fairgrid.protocol.results import results_text
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Opening, Ready, Revealed, Seal, Uploaded
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.seams.clock import VirtualClock
from fairgrid.worker.observability.meter import Measured, WorkerMeter
from fairgrid.worker.owner.availability import Readings
from fairgrid.worker.owner.heed import Heed
from fairgrid.worker.owner.owner_watch import OwnerWatch
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile
from tests.worker.fake_pool import FakePool
from tests.worker.owner.test_heed import FakeHands
from tests.worker.world import DEPOSIT, INPUT, WORKER, AgentSetting, World, running


def scrape(measured: Measured) -> dict[tuple[str, ...], float]:
    meter = WorkerMeter(CollectorRegistry())
    with meter.measuring(measured):
        text = generate_latest(meter.registry).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_finished_task_counts_with_its_bytes_and_what_it_earned(
    world: World, pool: FakePool, tmp_path: Path
) -> None:
    setting = AgentSetting(folder=tmp_path, url=pool.url)
    lease = await world.task(trust=4)
    async with running(world, setting) as agent:
        await pool.expect(Ready)
        before = scrape(agent)
        assert (before["fairgrid_worker_enrolled",], before["fairgrid_worker_slots_free",]) == (1, 1)
        assert before["fairgrid_worker_jobs_total",] == before["fairgrid_worker_earned_nrlc_total",] == 0
        await pool.send(lease)
        await pool.expect(Seal)
        assert scrape(agent)["fairgrid_worker_held", "sealed"] == 1
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        await world.contribute(lease, agent_digest(setting))
        await pool.send(OpeningRequest(lease.lease_id, lease.task_id))
        await pool.send(RevealNotice(lease.task_id))
        await pool.expect(Revealed)
        opening = await pool.expect(Opening)
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        uploaded = await pool.expect(Uploaded)
        world.chain.skip(601)
        await world.finalize(lease, results_text(uploaded.cid))
        await pool.send(TaskDone(lease.task_id))
        await pool.until(lambda: scrape(agent)["fairgrid_worker_tasks_ended_total", "completed"] == 1)
        after = scrape(agent)
        size = await world.storage.stat(uploaded.cid)
    assert opening.usage is not None and uploaded.usage is not None
    assert opening.usage.bytes_in == after["fairgrid_worker_fetched_bytes_total",]
    assert (opening.usage.bytes_out, uploaded.usage.bytes_out) == (0, size)
    assert opening.usage.wall_ms == uploaded.usage.wall_ms
    earned = (await world.chain.view_account(WORKER.address)).stake - DEPOSIT
    assert after["fairgrid_worker_earned_nrlc_total",] == earned > 0
    assert after["fairgrid_worker_leases_total",] == after["fairgrid_worker_jobs_total",] == 1
    assert after["fairgrid_worker_uploads_total",] == 1
    assert after["fairgrid_worker_uploaded_bytes_total",] == size
    assert after["fairgrid_worker_cache_misses_total",] == 3, "manifest, script, input"
    assert after["fairgrid_worker_cache_hits_total",] >= 0
    assert after["fairgrid_worker_fetched_bytes_total",] > len(INPUT)
    assert after["fairgrid_worker_job_failures_total",] == 0
    assert sum(value for key, value in after.items() if key[0] == "fairgrid_worker_held") == 0


async def test_a_task_that_cannot_be_done_counts_as_a_failure_and_was_handed_back(
    world: World, pool: FakePool, tmp_path: Path
) -> None:
    def dies(job: SandboxJob) -> Outcome:
        return Outcome(Stop.HOST, 0, b"", b"", 0, 0.0, 0, "no memory")

    setting = AgentSetting(folder=tmp_path, url=pool.url, function=dies)
    lease = await world.task(trust=4)
    async with running(world, setting) as agent:
        await pool.expect(Ready)
        await pool.send(lease)
        await pool.expect(LeaseFailed)
        seen = scrape(agent)
    assert seen["fairgrid_worker_job_failures_total",] == 1
    assert seen["fairgrid_worker_tasks_ended_total", "handed_back"] == 1
    assert seen["fairgrid_worker_jobs_total",] == 0


def agent_digest(setting: AgentSetting) -> str:
    """What the worker sealed."""
    store = setting.store.open(setting.folder / "worker.sqlite")
    try:
        (held,) = store.load()
        return held.digest
    finally:
        store.close()


class Hot:
    """Sensors of a machine that is too hot."""

    def read(self, policy: WorkerPolicy) -> Readings:
        return Readings(free_disk_bytes=1 << 40, temperature_c=95.0)


async def test_a_pause_for_heat_counts_once_however_long_it_lasts(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("max_temperature_c = 80")
    tally: Counter[str] = Counter()
    clock = VirtualClock()
    watch = OwnerWatch(tmp_path, PolicyFile(tmp_path / "policy.toml"), Hot(), clock=clock)
    heed = Heed(watch, FakeHands(), clock=clock, tally=tally)
    for _ in range(3):
        await heed.follow()
    assert tally == {"paused/max_temperature_c": 1}
