"""What the owner says is done: no new tasks, jobs stand still, overdue leases go back, a drained worker ends."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import UsageError
from fairgrid.protocol.pool_messages import Lease, RevealNotice, TaskDone, UploadRequest, Why, WhyReason
from fairgrid.protocol.results import results_text
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Ready, Revealed, Seal, Uploaded, WhyRequest
from fairgrid.runtime.interface import SandboxJob
from fairgrid.seams.clock import SystemClock, VirtualClock
from fairgrid.worker.owner.availability import Readings
from fairgrid.worker.owner.desk import Desk
from fairgrid.worker.owner.heed import Heed
from fairgrid.worker.owner.owner_watch import OwnerWatch, Pause, pause, unpause
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile
from tests.worker.fake_pool import FakePool
from tests.worker.machine_kit import LEASE, TASK
from tests.worker.world import AgentSetting, World, build_agent, honest, running


class Fixed:
    """Sensors of a calm machine."""

    def read(self, policy: WorkerPolicy) -> Readings:
        return Readings(free_disk_bytes=1 << 40)


@dataclass
class FakeHands:
    """Remembers what it is told."""

    can_suspend: bool = True
    tasks: tuple[str, ...] = (TASK,)
    said: list[Any] = field(default_factory=list)

    def owner_said(self, *, takes_work: bool, reason: str, slots: int | None) -> None:
        self.said.append((takes_work, slots))

    def suspend_jobs(self) -> bool:
        self.said.append("suspend")
        return self.can_suspend

    def resume_jobs(self) -> None:
        self.said.append("resume")

    def working(self) -> tuple[str, ...]:
        return self.tasks

    def holds_anything(self) -> bool:
        return bool(self.tasks)

    def hand_back(self, task_id: str, reason: str) -> None:
        self.said.append(("hand back", task_id))

    def stop(self) -> None:
        self.said.append("stop")


def heed_of(folder: Path, hands: FakeHands, clock: VirtualClock) -> Heed:
    return Heed(OwnerWatch(folder, PolicyFile(folder / "policy.toml"), Fixed(), clock=clock), hands, clock=clock)


async def test_jobs_stand_still_while_a_rule_says_so_and_go_on_afterwards(tmp_path: Path) -> None:
    hands, clock = FakeHands(), VirtualClock()
    heed = heed_of(tmp_path, hands, clock)
    await heed.follow()
    pause(tmp_path, Pause(0.0))
    await heed.follow()
    await heed.follow()
    assert heed.is_suspended
    unpause(tmp_path)
    await heed.follow()
    assert hands.said == [(True, None), (False, None), "suspend", (False, None), (True, None), "resume"]


@pytest.mark.parametrize(("minutes", "window", "after"), [(1, 1e9, 60), (30, 45.0, 45)])
async def test_a_lease_goes_back_when_the_owner_or_the_lease_does_not_wait_longer(
    tmp_path: Path, minutes: int, window: float, after: int
) -> None:
    (tmp_path / "policy.toml").write_text(f"max_suspend_minutes = {minutes}")
    hands, clock = FakeHands(), VirtualClock()
    heed = heed_of(tmp_path, hands, clock)
    heed.leased(Lease("l1", LEASE.deal_id, TASK, 0, 0, window))
    pause(tmp_path, Pause(0.0))
    await heed.follow()
    await clock.advance(after - 1)
    await heed.follow()
    assert ("hand back", TASK) not in hands.said
    await clock.advance(1)
    await heed.follow()
    assert ("hand back", TASK) in hands.said


async def test_what_cannot_stand_still_goes_back_at_once(tmp_path: Path) -> None:
    hands = FakeHands(can_suspend=False)
    heed = heed_of(tmp_path, hands, VirtualClock())
    pause(tmp_path, Pause(0.0))
    await heed.follow()
    assert ("hand back", TASK) in hands.said and not heed.can_suspend


async def test_a_drained_worker_ends_when_it_holds_nothing_and_not_before(tmp_path: Path) -> None:
    hands = FakeHands()
    heed = heed_of(tmp_path, hands, VirtualClock())
    heed.drain()
    await heed.follow()
    assert hands.said == [(False, None)]
    hands.tasks = ()
    await heed.follow()
    assert hands.said[-1] == "stop"


# --- a whole agent ------------------------------------------------------------------------------------------------


@pytest.fixture
def setting(tmp_path: Path, pool: FakePool) -> AgentSetting:
    owner = OwnerWatch(tmp_path, PolicyFile(tmp_path / "policy.toml"), Fixed(), clock=SystemClock(), every_s=0.05)
    return AgentSetting(folder=tmp_path, url=pool.url, owner=owner)


async def test_a_paused_worker_says_that_it_has_no_slots_and_refuses_a_lease_with_the_reason(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    pause(setting.folder, Pause(0.0))
    async with running(world, setting):
        assert (await pool.expect(Ready)).free_slots == 0
        await pool.send(await world.task())
        assert "Paused by its owner" in (await pool.expect(LeaseFailed)).reason
        unpause(setting.folder)
        await pool.until(lambda: pool.heartbeats and pool.heartbeats[-1].free_slots == 1)
        await pool.send(await world.task())
        await pool.expect(Seal)


async def test_a_worker_that_was_started_for_one_task_finishes_it_refuses_others_and_ends(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    setting.options = replace(setting.options, tasks=1, slots=2)
    lease = await world.task(trust=4)
    agent, store = build_agent(world, setting)
    run = asyncio.create_task(agent.run())
    try:
        assert (await pool.expect(Ready)).free_slots == 1
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(await world.task())
        assert (await pool.expect(LeaseFailed)).task_id != lease.task_id
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        assert not run.done(), "the task is not over yet"
        digest = store.load()[0].digest
        await world.contribute(lease, digest)
        await pool.send(RevealNotice(lease.task_id))
        await pool.expect(Revealed)
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        uploaded = await pool.expect(Uploaded)
        world.chain.skip(601)
        await world.finalize(lease, results_text(uploaded.cid))
        await pool.send(TaskDone(lease.task_id))
        await asyncio.wait_for(run, 60)
    finally:
        run.cancel()
        store.close()


async def test_more_slots_in_the_policy_count_at_once(world: World, pool: FakePool, setting: AgentSetting) -> None:
    async with running(world, setting):
        assert (await pool.expect(Ready)).free_slots == 1
        (setting.folder / "policy.toml").write_text("slots = 3")
        await pool.until(lambda: pool.heartbeats and pool.heartbeats[-1].free_slots == 3)
        await pool.until(lambda: pool.enrolments[-1].slots == 3)


async def test_jobs_in_slots_that_the_policy_added_run_beside_each_other(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    both = threading.Barrier(2, timeout=30)

    def together(job: SandboxJob) -> bytes:
        both.wait()
        return honest(job)

    setting.function = together
    assert setting.owner is not None
    watching = setting.owner
    setting.policy_now = lambda: watching.policy
    async with running(world, setting):
        await pool.expect(Ready)
        (setting.folder / "policy.toml").write_text("slots = 2")
        await pool.until(lambda: pool.enrolments[-1].slots == 2)
        for _ in range(2):
            await pool.send(await world.task())
        await pool.expect(Seal)
        await pool.expect(Seal)


async def test_a_job_that_wants_more_memory_than_its_slots_share_goes_back(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    setting.policy = WorkerPolicy(memory_bytes=(1 << 30) - 1)
    async with running(world, setting):
        await pool.send(await world.task())
        assert "bytes of memory" in (await pool.expect(LeaseFailed)).reason
        setting.policy = WorkerPolicy(memory_bytes=1 << 30)
        await pool.send(await world.task())
        await pool.expect(Seal)


async def test_a_job_that_a_pause_caught_goes_on_where_it_was(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    began, go_on = threading.Event(), threading.Event()
    times = []

    def slow(job: SandboxJob) -> bytes:
        times.append(1)
        began.set()
        go_on.wait(30)
        return honest(job)

    setting.function = slow
    async with running(world, setting) as agent:
        await pool.send(await world.task())
        await pool.until(began.is_set)
        pause(setting.folder, Pause(0.0))
        assert agent.heed is not None
        heed = agent.heed
        await pool.until(lambda: heed.is_suspended)
        go_on.set()
        await asyncio.sleep(0.3)
        assert not pool.seen(Seal), "a suspended job tells nothing"
        unpause(setting.folder)
        await pool.expect(Seal)
    assert len(times) == 1


async def test_draining_finishes_what_is_held_and_then_ends_by_itself(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    agent, store = build_agent(world, setting)
    task = asyncio.create_task(agent.run())
    try:
        lease = await world.task()
        await pool.send(lease)
        await pool.expect(Seal)
        assert agent.heed is not None
        agent.heed.drain()
        await agent.heed.follow()
        await pool.send(await world.task())
        assert "drains" in (await pool.expect(LeaseFailed)).reason
        assert not task.done()
        await pool.send(world.authorisation(lease))
        await pool.until(lambda: agent.snapshot()["held"] and agent.snapshot()["held"][0]["phase"] == "revealed")
        await world.finalize(lease, b"x")
        await pool.send(TaskDone(lease.task_id))
        await asyncio.wait_for(task, 30)
        assert [line.outcome for line in store.finished()] == ["completed"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        store.close()


async def test_why_names_the_rules_of_owner_and_pool(world: World, pool: FakePool, setting: AgentSetting) -> None:
    (setting.folder / "policy.toml").write_text('hours = ["mon-sun 00:00-24:00"]')
    async with running(world, setting) as agent:
        await pool.expect(Ready)
        assert agent.heed is not None and setting.owner is not None
        desk = Desk(agent, setting.owner, agent.heed, clock=SystemClock())
        asking = asyncio.create_task(desk.handle("why", {}))
        await pool.expect(WhyRequest)
        await pool.send(Why(waiting_tasks=2, reasons=(WhyReason("stake", False, "30 are free, 31 are asked."),)))
        answer = await asking
    assert answer["enrolled"] and answer["waitingTasks"] == 2
    assert [rule["rule"] for rule in answer["ownerRules"]] == ["hours", "min_free_disk_bytes"]
    assert answer["pool"] == pool.url
    assert answer["poolRules"] == [{"rule": "stake", "allowed": False, "text": "30 are free, 31 are asked."}]


async def test_why_without_a_pool_says_what_is_known(world: World, pool: FakePool, setting: AgentSetting) -> None:
    setting.url = "http://127.0.0.1:9"
    async with running(world, setting) as agent:
        assert agent.heed is not None and setting.owner is not None
        desk = Desk(agent, setting.owner, agent.heed, clock=SystemClock())
        await pool.until(lambda: setting.announced.reasons)
        answer = await desk.handle("why", {})
        assert answer["poolRules"] is None and "127.0.0.1:9" in answer["poolMessage"]
        with pytest.raises(UsageError, match="no command"):
            await desk.handle("dance", {})
        with pytest.raises(UsageError, match="pause ends"):
            await desk.handle("pause", {"until": "soon"})
        paused = await desk.handle("pause", {"until": 0})
        assert paused["suspended"] and not paused["takesWork"]
        assert not (await desk.handle("resume", {}))["suspended"]
        assert (await desk.handle("policy", {}))["policy"]["idle_minutes"] == 10
