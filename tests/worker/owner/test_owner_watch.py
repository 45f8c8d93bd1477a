"""One verdict of policy, pause and machine; a pause outlives the process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.seams.clock import VirtualClock
from fairgrid.worker.owner.availability import Readings
from fairgrid.worker.owner.owner_watch import PAUSE_NAME, OwnerWatch, Pause, pause, paused, unpause
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile


class Fixed:
    """Sensors that say what they are told."""

    def __init__(self) -> None:
        self.readings = Readings(free_disk_bytes=1 << 40)

    def read(self, policy: WorkerPolicy) -> Readings:
        return self.readings


def watch(folder: Path, clock: VirtualClock, sensors: Fixed | None = None) -> OwnerWatch:
    return OwnerWatch(folder, PolicyFile(folder / "policy.toml"), sensors or Fixed(), clock=clock)


async def test_policy_and_machine_are_looked_at_anew_each_time(tmp_path: Path) -> None:
    clock, sensors = VirtualClock(), Fixed()
    watching = watch(tmp_path, clock, sensors)
    assert (await watching.look()).takes_work
    (tmp_path / "policy.toml").write_text("only_on_mains = true")
    sensors.readings = Readings(on_mains=False)
    verdict = await watching.look()
    assert not verdict.may_run and watching.verdict is verdict
    sensors.readings = Readings(on_mains=True)
    assert (await watching.look()).may_run


async def test_a_pause_holds_until_its_end(tmp_path: Path) -> None:
    clock = VirtualClock()
    pause(tmp_path, Pause(clock.now(), clock.now() + 60))
    watching = watch(tmp_path, clock)
    assert "Paused" in (await watching.look()).reason
    await clock.advance(60)
    assert (await watching.look()).takes_work


async def test_a_pause_without_an_end_holds_until_it_is_lifted(tmp_path: Path) -> None:
    clock = VirtualClock()
    pause(tmp_path, Pause(clock.now()))
    await clock.advance(10**7)
    watching = watch(tmp_path, clock)
    assert not (await watching.look()).may_run
    assert unpause(tmp_path) and not unpause(tmp_path)
    assert (await watching.look()).may_run


def test_a_pause_file_that_cannot_be_read_is_a_pause(tmp_path: Path) -> None:
    assert paused(tmp_path) is None
    (tmp_path / PAUSE_NAME).write_text("{")
    found = paused(tmp_path)
    assert found is not None and found.text(1e12)


def test_a_pause_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        pause(tmp_path / "nowhere", Pause(0.0))


async def test_a_poke_ends_the_rest(tmp_path: Path) -> None:
    watching = watch(tmp_path, VirtualClock())
    resting = asyncio.create_task(watching.rest())
    await asyncio.sleep(0)
    assert not resting.done()
    watching.poke()
    await asyncio.wait_for(resting, 5)
