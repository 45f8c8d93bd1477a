"""A program that is new to a worker is made ready before its job waits for a slot, and whoever may know hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.protocol.worker_messages import LeaseFailed, LiveOutput, Progress, Seal
from fairgrid.runtime.twin import FunctionSandbox
from tests.worker.fake_pool import FakePool
from tests.worker.world import RUNTIME, AgentSetting, World, honest, running, stored

TEXT = "compiling its program, since 12:00:00 UTC"


class SlowlyPrepared(FunctionSandbox):
    """Makes the first program that comes ready when `let_go` is set."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__(honest, runtime_id=RUNTIME)
        self.let_go = asyncio.Event()
        self.asked: list[str] = []
        self._fails = fails

    async def is_prepared(self, program: Path) -> bool:
        return bool(self.asked)

    async def prepare(self, program: Path, tell: Callable[[str], None]) -> None:
        self.asked.append(program.read_text())
        tell(TEXT)
        await self.let_go.wait()
        if self._fails:
            raise HostFailure("It takes more memory than this machine gives.")


def twofold(setting: AgentSetting) -> AgentSetting:
    return replace(setting, options=replace(setting.options, slots=2))


@pytest.mark.parametrize("trust", [1, 4])
async def test_other_slots_and_heartbeats_go_on_and_the_requester_hears_of_it_where_it_may(
    world: World, pool: FakePool, setting: AgentSetting, trust: int
) -> None:
    pool.heartbeat_s = 0.2
    sandbox = SlowlyPrepared()
    async with running(world, replace(twofold(setting), sandbox=sandbox)) as agent:
        slow, other = await world.task(trust=trust), await world.task(trust=trust)
        await pool.send(slow)
        await pool.until(lambda: sandbox.asked == ["print('hello')"])
        began = asyncio.get_running_loop().time()
        await pool.send(other)
        assert (await pool.expect(Seal)).task_id == other.task_id
        beats = len(pool.heartbeats)
        await pool.until(lambda: len(pool.heartbeats) >= beats + 2)
        phases = {lease.task_id: lease.phase for lease in pool.heartbeats[-1].held}
        assert phases[slow.task_id] == "downloading"
        (row,) = (row for row in agent.snapshot()["held"] if row["taskId"] == slow.task_id)
        assert (row["phase"], row["last"]) == ("downloading", TEXT)
        assert TEXT in next(held.story for held in await stored(setting) if held.task_id == slow.task_id)
        if trust == 1:
            said = await pool.expect(Progress)
            assert (said.task_id, said.ppm, said.message) == (slow.task_id, 0, TEXT)
        else:
            await asyncio.sleep(0.7)
            assert not pool.seen(Progress) and not pool.seen(LiveOutput), "nothing before consensus"
        await asyncio.sleep(1.0)
        waited_s = asyncio.get_running_loop().time() - began
        sandbox.let_go.set()
        seal = await pool.expect(Seal)
        assert seal.task_id == slow.task_id and seal.compute_s < waited_s, "what is made ready is not computing"
        assert len(sandbox.asked) == 1


async def test_a_program_that_cannot_be_made_ready_here_goes_back_to_the_pool(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    sandbox = SlowlyPrepared(fails=True)
    sandbox.let_go.set()
    async with running(world, replace(setting, sandbox=sandbox)):
        lease = await world.task()
        await pool.send(lease)
        failed = await pool.expect(LeaseFailed)
        assert failed.task_id == lease.task_id and "more memory than this machine gives" in failed.reason


async def test_a_program_of_a_run_is_made_ready_before_the_run_is_computed(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    sandbox = SlowlyPrepared()
    async with running(world, replace(setting, sandbox=sandbox)) as agent:
        lease = await world.run(await world.deal(volume=4, lane=True), 4)
        await pool.send(lease)
        await pool.until(lambda: sandbox.asked == ["print('hello')"])
        assert agent.snapshot()["held"][0]["phase"] == "downloading"
        sandbox.let_go.set()
        assert (await pool.expect(Seal)).task_id == lease.task_id
        assert not pool.seen(Progress), "the pool knows no run as a running task"
