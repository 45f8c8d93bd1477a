"""Runs of the batch lane by the whole agent, with a real websocket, against a chain and a storage in memory."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain import calls
from fairgrid.protocol.archive import archive_digest
from fairgrid.protocol.hexes import keccak, to_hex32
from fairgrid.protocol.pool_messages import Lease, TaskDone, UploadRequest
from fairgrid.protocol.run_results import RunResults, parse_run_results
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Ready, Revealed, Seal, Uploaded
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.worker.computing.misbehave import Misbehaviour
from fairgrid.worker.owner.policy import WorkerPolicy
from tests.worker.fake_pool import FakePool
from tests.worker.world import (
    DEPOSIT,
    OTHER,
    SCHEDULER,
    STAKE,
    THIRD,
    WORKER,
    AgentSetting,
    World,
    bag,
    build_agent,
    running,
)


class CountedJobs:
    """The job: writes its argument down; counts how often each was asked for, and how many ran at once."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.at_once = 0
        self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self.hold = ""
        self._lock = threading.Lock()

    def __call__(self, job: SandboxJob) -> bytes | Outcome:
        (argument,) = job.arguments
        with self._lock:
            self.times[argument] += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if argument == self.hold:
                self.gate.wait(20)
            if argument == "4":
                raise ValueError("task 4 always fails")
            (job.output_folder / "out.txt").write_text(f"task {argument}")
            return b""
        finally:
            with self._lock:
                self.at_once -= 1


async def bag_deal(world: World, count: int = 6, trust: int = 4) -> str:
    manifest = bag(await world.manifest(), count)
    return await world.deal(lane=True, volume=count, trust=trust, manifest=manifest)


async def computed(pool: FakePool, world: World, lease: Lease) -> Seal:
    await pool.send(lease)
    return await pool.expect(Seal)


async def stored_digest(setting: AgentSetting, lease: Lease) -> str:
    with setting.store.open(setting.folder / "worker.sqlite")._engine.connect() as connection:
        row = connection.exec_driver_sql("select digest from worker_held_task where task_id = ?", (lease.task_id,))
        return str(row.scalar_one())


async def test_a_run_is_computed_contributed_revealed_uploaded_and_paid_once_for_each_task(
    world: World, pool: FakePool, setting: AgentSetting, tmp_path: Path
) -> None:
    jobs = CountedJobs()
    deal_id = await bag_deal(world)
    lease = await world.run(deal_id, 6)
    async with running(world, replace(setting, function=jobs)) as agent:
        await pool.expect(Ready)
        await computed(pool, world, lease)
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        assert (await world.chain.view_account(WORKER.address)).locked == 6 * STAKE
        digest = await stored_digest(setting, lease)
        await world.contribute(lease, digest)
        await pool.expect(Revealed)
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        uploaded = await pool.expect(Uploaded)
        results = await world.results(lease, uploaded.cid)
        assert results.digest == digest
        for index, task in enumerate(results.tasks):
            archive = tmp_path / f"{index}.zip"
            await world.storage.fetch(task.cid, archive, max_bytes=task.size)
            assert archive_digest(archive) == task.digest
            assert (b"task 4 always fails" if index == 4 else b"task %d" % index) in archive.read_bytes()
        world.chain.skip(601)
        finalize = calls.finalize_run(world.chain.hub, lease.task_id, results.root, results.results)
        await world.chain.transact(finalize, SCHEDULER)
        await pool.send(TaskDone(lease.task_id))
        await pool.until(lambda: not agent.holds_anything())
        assert (tmp_path / "finished" / deal_id).exists(), "the chain may take the end back"
        for _ in range(setting.options.keep_blocks):
            world.chain.mine()
        await pool.until(lambda: not (tmp_path / "finished" / deal_id).exists())
    assert jobs.times == Counter({str(number): 1 for number in range(6)})
    finished = setting.store.open(tmp_path / "worker.sqlite").finished()
    earned = (await world.chain.view_account(WORKER.address)).stake - DEPOSIT
    assert [(record.outcome, record.earned) for record in finished] == [("completed", earned)]
    assert earned > 6 * 40


async def test_the_tasks_of_a_run_are_computed_side_by_side_in_the_slots_of_the_worker(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    jobs = CountedJobs()
    jobs.gate.clear()
    jobs.hold = "0"
    lease = await world.run(await bag_deal(world), 6)
    options = replace(setting.options, slots=2)
    async with running(world, replace(setting, function=jobs, options=options)):
        await pool.expect(Ready)
        await pool.send(lease)
        await pool.until(lambda: len(jobs.times) == 6)
        jobs.gate.set()
        await pool.expect(Seal)
    assert jobs.most_at_once == 2


async def test_a_worker_killed_in_the_middle_of_a_run_computes_only_what_is_missing(
    world: World, pool: FakePool, setting: AgentSetting, tmp_path: Path
) -> None:
    jobs = CountedJobs()
    jobs.gate.clear()
    jobs.hold = "3"
    deal_id = await bag_deal(world)
    lease = await world.run(deal_id, 6)
    agent, store = build_agent(world, replace(setting, function=jobs))
    first = asyncio.create_task(agent.run())
    await pool.expect(Ready)
    await pool.send(lease)
    await pool.until(lambda: "3" in jobs.times)
    first.cancel()
    await asyncio.wait((first,))
    store.close()
    jobs.gate.set()
    torn = tmp_path / "finished" / deal_id / "1.zip"
    torn.write_bytes(torn.read_bytes()[:-1])
    async with running(world, replace(setting, function=jobs)):
        seal = await pool.expect(Seal)
    assert seal.task_id == lease.task_id
    assert jobs.times == Counter({"0": 1, "1": 2, "2": 1, "3": 2, "4": 1, "5": 1})


async def test_the_halves_of_a_split_run_are_contributed_without_computing_again(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    jobs = CountedJobs()
    lease = await world.run(await bag_deal(world), 5)
    async with running(world, replace(setting, function=jobs)):
        await pool.expect(Ready)
        await computed(pool, world, lease)
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        await world.contribute(lease, to_hex32(keccak(b"something else")))
        left, right = await world.split(lease, 2)
        assert (await world.chain.view_account(WORKER.address)).locked == 0
        await pool.send(TaskDone(lease.task_id))
        await asyncio.sleep(0.2)
        for half in (left, right):
            await computed(pool, world, half)
            await pool.send(world.authorisation(half))
            await pool.expect(Contributed)
            await world.contribute(half, await stored_digest(setting, half), THIRD)
            await pool.expect(Revealed)
            assert (await world.chain.view_task(half.task_id)).status is TaskStatus.REVEALING
    assert set(jobs.times.values()) == {1}
    assert [record.outcome for record in setting.store.open(setting.folder / "worker.sqlite").finished()] == ["split"]


async def test_a_liar_changes_one_task_of_the_run_only(world: World, pool: FakePool, setting: AgentSetting) -> None:
    jobs = CountedJobs()
    lease = await world.run(await bag_deal(world, trust=1), 6)
    options = replace(setting.options, misbehaviour=Misbehaviour.FLIP_BYTE)
    async with running(world, replace(setting, function=jobs, options=options)):
        await pool.expect(Ready)
        lied = await uploaded_results(world, pool, lease)
    contents = [await world.storage.fetch_bytes(task.cid, max_bytes=task.size) for task in lied.tasks]
    assert [b"task %d" % index in content for index, content in enumerate(contents)] == [True] * 3 + [False] + [
        True
    ] * 2


async def uploaded_results(world: World, pool: FakePool, lease: Lease) -> RunResults:
    await computed(pool, world, lease)
    await pool.send(world.authorisation(lease))
    await pool.expect(Revealed)
    await pool.send(UploadRequest(lease.lease_id, lease.task_id))
    return await world.results(lease, (await pool.expect(Uploaded)).cid)


async def test_a_worker_that_uploads_something_else_names_other_results_than_it_revealed(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.run(await bag_deal(world, trust=1), 6)
    options = replace(setting.options, misbehaviour=Misbehaviour.UPLOAD_OTHER)
    async with running(world, replace(setting, function=CountedJobs(), options=options)):
        await pool.expect(Ready)
        other = await uploaded_results(world, pool, lease)
    assert other.digest != (await world.chain.view_task(lease.task_id)).result_digest


async def test_a_run_that_does_not_fit_its_deadline_is_handed_back_and_refused_from_then_on(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.run(await bag_deal(world, trust=1), 6)
    deadline = (await world.chain.view_task(lease.task_id)).contribution_deadline

    def slow(job: SandboxJob) -> bytes:
        threading.Event().wait(1.0)
        return b"done"

    world.chain.skip(deadline - (await world.chain.head()).timestamp - 3)
    async with running(world, replace(setting, function=slow)):
        await pool.expect(Ready)
        await pool.send(lease)
        failed = await pool.expect(LeaseFailed)
        assert "the run does not fit" in failed.reason
        await pool.send(replace(lease, lease_id="again"))
        again = await pool.expect(LeaseFailed)
        assert "the run does not fit" in again.reason
        assert "Download" not in " ".join(pool.phases[-1:])


async def test_a_run_whose_task_this_machine_cannot_do_is_handed_back_and_what_is_finished_is_kept(
    world: World, pool: FakePool, setting: AgentSetting, tmp_path: Path
) -> None:
    def full(job: SandboxJob) -> bytes | Outcome:
        if job.arguments == ("2",):
            return Outcome(Stop.HOST, 0, b"", b"", 0, 0.0, 0, "the disk is full")
        return b"done"

    deal_id = await bag_deal(world)
    lease = await world.run(deal_id, 6)
    async with running(world, replace(setting, function=full)):
        await pool.expect(Ready)
        await pool.send(lease)
        assert "the disk is full" in (await pool.expect(LeaseFailed)).reason
    assert sorted(path.name for path in (tmp_path / "finished" / deal_id).glob("*.json")) == ["0.json", "1.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"count": 5}, "not that of the deal, index and count"),
        ({"count": 0}, "not that of the deal and index"),
        ({"count": 7}, "not of deal"),
        ({"index": 1}, "not of deal"),
        ({"count": 65_537}, "not of deal"),
    ],
)
async def test_a_lease_that_says_something_else_than_the_run_is_refused(
    world: World, pool: FakePool, setting: AgentSetting, change: dict[str, Any], reason: str
) -> None:
    lease = await world.run(await bag_deal(world), 6)
    async with running(world, setting):
        await pool.expect(Ready)
        await pool.send(replace(lease, **change))
        assert reason in (await pool.expect(LeaseFailed)).reason


async def test_the_owners_limit_on_stakes_counts_every_task_of_a_run(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.run(await bag_deal(world), 6)
    for limit, taken in ((6 * STAKE - 1, False), (6 * STAKE, True)):
        policy = WorkerPolicy(max_stake=limit)
        folder = setting.folder / str(limit)
        folder.mkdir()
        async with running(world, replace(setting, function=CountedJobs(), policy=policy, folder=folder)):
            await pool.expect(Ready)
            await pool.send(lease)
            if taken:
                await pool.expect(Seal)
            else:
                assert f"The stake is {6 * STAKE} nRLC" in (await pool.expect(LeaseFailed)).reason


async def test_a_classic_task_of_a_batch_lane_deal_is_served(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.lease(await bag_deal(world, trust=1))
    async with running(world, replace(setting, function=CountedJobs())):
        await pool.expect(Ready)
        await computed(pool, world, lease)
        await pool.send(world.authorisation(lease))
        await pool.expect(Revealed)


async def test_the_tasks_of_a_deal_with_a_callback_carry_its_bytes(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    def job(job: SandboxJob) -> bytes:
        data = f"0x{int(job.arguments[0]):04x}"
        (job.output_folder / "computed.json").write_text(f'{{"callback-data": "{data}"}}')
        return b""

    manifest = bag(await world.manifest(), 3)
    deal_id = await world.deal(lane=True, volume=3, trust=1, manifest=manifest, callback=OTHER.address)
    lease = await world.run(deal_id, 3)
    async with running(world, replace(setting, function=job)):
        await pool.expect(Ready)
        await computed(pool, world, lease)
        await pool.send(world.authorisation(lease))
        await pool.expect(Revealed)
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        uploaded = await pool.expect(Uploaded)
    data = await world.storage.fetch_bytes(uploaded.cid, max_bytes=1 << 20)
    results = parse_run_results(data, first=0, count=3, callback=True)
    assert [task.callback for task in results.tasks] == [b"\0\0", b"\0\1", b"\0\2"]
    assert results.digest == (await world.chain.view_task(lease.task_id)).result_digest
