"""A worker in an allocation: it knows when that ends, lets go in time and hands back what it cannot finish."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest

from fairgrid.cli.worker_start import _set_later, _until
from fairgrid.errors import UsageError
from fairgrid.worker.agent import WorkerAgent
from fairgrid.worker.setup.pilot import Pilot, find_pilot, parse_until

NOW = datetime(2030, 1, 31, 12, 0).timestamp()


def found(environment: dict[str, str], *, until: str | None = None, answer: str = "") -> Pilot | None:
    return find_pilot(environment, until=until, now=NOW, ask=lambda job_id: answer)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("4h", 14_400), ("18:30", 23_400), ("11:00", 82_800), ("2030-01-31T12:10", 600)],
)
def test_until_takes_durations_times_of_day_and_whole_times(text: str, seconds: int) -> None:
    assert parse_until(text, now=NOW) == NOW + seconds


@pytest.mark.parametrize("text", ["soon", "", "25:00", "4 weeks", "2029-01-01T00:00"])
def test_until_refuses_what_is_no_time_or_is_over(text: str) -> None:
    with pytest.raises(UsageError, match="--until"):
        parse_until(text, now=NOW)


def test_slurms_variable_counts_and_squeue_is_asked_where_it_is_missing() -> None:
    variable = found({"SLURM_JOB_ID": "17", "SLURM_JOB_END_TIME": str(int(NOW) + 100)}, answer="wrong")
    assert variable is not None and variable.ends_at == NOW + 100
    asked = found({"SLURM_JOB_ID": "17"}, answer="2030-01-31T13:00:00")
    assert asked is not None and asked.ends_at == NOW + 3600
    assert found({"SLURM_JOB_ID": "17"}, answer="NONE") is None


def test_the_walltimes_of_pbs_and_htcondor_count(tmp_path: Path) -> None:
    pbs = found({"PBS_WALLTIME": "7200"})
    assert pbs is not None and pbs.ends_at == NOW + 7200
    ad = tmp_path / ".job.ad"
    ad.write_text(f'AllowedExecuteDuration = 600\nJobCurrentStartDate = {int(NOW) - 60}\nOwner = "a"\n')
    condor = found({"_CONDOR_JOB_AD": str(ad)})
    assert condor is not None and condor.ends_at == NOW + 540
    ad.write_text('Owner = "a"\n')
    assert found({"_CONDOR_JOB_AD": str(ad)}) is None


def test_outside_of_an_allocation_there_is_no_end_unless_it_is_given() -> None:
    assert found({}) is None
    given = found({"SLURM_JOB_ID": "17", "SLURM_JOB_END_TIME": str(int(NOW) + 100)}, until="10m")
    assert given is not None and (given.ends_at, given.known_from) == (NOW + 600, "--until")


@pytest.mark.parametrize(("left_s", "lead_s"), [(120, 60), (3600, 720), (86_400, 900)])
def test_nothing_new_is_taken_for_a_fifth_of_the_time_within_bounds(left_s: int, lead_s: int) -> None:
    pilot = Pilot(NOW + left_s, "--until", NOW)
    assert pilot.drains_at == NOW + left_s - lead_s
    assert pilot.patience_s(pilot.drains_at) == lead_s - 30
    assert pilot.patience_s(NOW + left_s) == 0


class _Agent:
    """Counts how it is asked to end, and runs until then."""

    def __init__(self) -> None:
        self.asked: list[float | None] = []
        self._ended = asyncio.Event()

    def end(self, *, within_s: float | None = None) -> None:
        self.asked.append(within_s)
        self._ended.set()

    async def run(self) -> None:
        await self._ended.wait()


async def test_a_worker_near_its_end_finishes_within_what_is_left() -> None:
    agent, stop = _Agent(), asyncio.Event()
    pilot = Pilot(time.time() + 60.3, "--until", time.time())
    later = asyncio.create_task(_set_later(stop, pilot.drains_at - time.time()))
    async with asyncio.timeout(30):
        await _until(cast("WorkerAgent", agent), stop, asyncio.Event(), pilot)
    await later
    assert len(agent.asked) == 1 and agent.asked[0] is not None and 20 < agent.asked[0] <= 30.3


async def test_a_worker_that_is_stopped_long_before_its_end_follows_the_owners_rule() -> None:
    agent, stop = _Agent(), asyncio.Event()
    stop.set()
    await _until(cast("WorkerAgent", agent), stop, asyncio.Event(), Pilot(time.time() + 9999, "--until", time.time()))
    assert agent.asked == [None]
