"""Cells as jobs of HTCondor: real submit and ClassAd objects of the bindings, and a fake schedd that runs them."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.interface import Cell
from fairgrid.runtime.engines.options import EngineKind, EngineOptions
from fairgrid.runtime.engines.queue_engine import QueueEngine
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from tests.needs import need
from tests.runtime.engines.jobs import Uses, job_in, until

if sys.platform != "linux":
    pytest.skip("HTCondor's bindings are for Linux", allow_module_level=True)
from fairgrid.runtime.engines.htcondor_queue import HTCondorQueue, submit_description

PREFIX = "fairgrid-test"
OPTIONS = EngineOptions(kind=EngineKind.HTCONDOR, poll_s=0.2, memory_overhead_bytes=64 << 20)
pytestmark = pytest.mark.timeout(120)
need(submit_description, "HTCondor's bindings are not installed")


@dataclass
class _Job:
    item: dict[str, str]
    description: Any
    process: subprocess.Popen[bytes] | None = None
    status: int = 1
    hold: str = ""
    hold_code: int = 0


@dataclass
class FakeSchedd:
    """Takes what `htcondor2.Schedd` takes; a job's command is a process of this machine, and leaves at its end."""

    starts: bool = True
    jobs: dict[str, _Job] = field(default_factory=dict)
    submissions: int = 0

    def submit(self, description: Any, itemdata: Iterator[dict[str, str]]) -> Any:
        self.submissions += 1
        cluster = self.submissions
        for place, item in enumerate(itemdata):
            job = _Job(item, description)
            if self.starts:
                arguments = description["arguments"].strip('"').replace("$(folder)", item["folder"]).replace("'", "")
                words = [description["executable"], *arguments.split()]
                job.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                job.status = 2
            self.jobs[f"{cluster}.{place}"] = job
        return _Submitted(cluster)

    def query(self, constraint: str, projection: list[str]) -> list[dict[str, Any]]:
        found = re.fullmatch(r'FairgridWorker == "(.*)"', constraint)
        assert found is not None
        for engine_id, job in list(self.jobs.items()):
            if job.process is not None and job.status == 2 and job.process.poll() is not None:
                del self.jobs[engine_id]
        ads = [
            {
                "ClusterId": int(engine_id.split(".")[0]),
                "ProcId": int(engine_id.split(".")[1]),
                "JobStatus": job.status,
                "HoldReason": job.hold,
                "HoldReasonCode": job.hold_code,
                # What held or idle jobs do not have any more.
                **({"RemoteHost": "slot1@node-1"} if job.status == 2 else {"LastRemoteHost": "slot1@node-1"}),
            }
            for engine_id, job in self.jobs.items()
            if job.description["My.FairgridWorker"] == f'"{found[1]}"'
        ]
        return [{name: value for name, value in ad.items() if name in projection} for ad in ads]

    def act(self, action: Any, what: Any, reason: str) -> None:
        names = ["ClusterId", "ProcId"]
        ids = [f"{ad['ClusterId']}.{ad['ProcId']}" for ad in self.query(what, names)] if isinstance(what, str) else what
        for engine_id in ids:
            job = self.jobs.pop(engine_id, None)
            if job is not None and job.process is not None:
                job.process.terminate()


@dataclass(frozen=True)
class _Submitted:
    number: int

    def cluster(self) -> int:
        return self.number

    def first_proc(self) -> int:
        return 0


def engine_on(schedd: FakeSchedd) -> QueueEngine:
    queue = HTCondorQueue(OPTIONS, prefix=PREFIX, python=sys.executable, schedd=schedd)
    return QueueEngine(queue, poll_s=0.2)


async def test_jobs_that_come_together_are_one_submission_and_give_what_they_give_here(
    tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    schedd, uses = FakeSchedd(), Uses()
    engine = engine_on(schedd)
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, used=uses.take, prefix=PREFIX)
    jobs = [job_in(tmp_path / f"there-{place}") for place in range(3)]
    there = await asyncio.gather(*(sandbox.run(job) for job in jobs))
    here = await installed_runtime.sandbox().run(job_in(tmp_path / "here"))
    assert {(one.stop, one.stdout, one.fuel_used) for one in there} == {(here.stop, here.stdout, here.fuel_used)}
    assert schedd.submissions == 1 and sorted(use.engine_id for use in uses) == ["1.0", "1.1", "1.2"]
    await engine.close()


async def test_a_cell_that_is_cancelled_is_removed(tmp_path: Path, installed_runtime: InstalledRuntime) -> None:
    schedd = FakeSchedd()
    engine = engine_on(schedd)
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
    running = asyncio.ensure_future(sandbox.run(job_in(tmp_path / "job", "while True: pass")))
    await until(lambda: list(tmp_path.glob("job/cell-*/place.json")))
    (job,) = schedd.jobs.values()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: job.process is not None and job.process.poll() is not None)
    assert not schedd.jobs
    await engine.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "its node was lost, or it had to make room: evicted"),
        (34, "it used more than it was given: evicted"),
        (47, "HTCondor ended it at its time limit: evicted"),
        (6, "HTCondor holds it: evicted"),
    ],
)
async def test_a_job_that_is_held_is_lost_with_the_reason_and_removed(tmp_path: Path, code: int, words: str) -> None:
    schedd = FakeSchedd(starts=False)
    engine = engine_on(schedd)
    running = asyncio.ensure_future(engine.run(Cell("fairgrid-test-x", tmp_path, 10.0, 1 << 20)))
    await until(lambda: schedd.jobs)
    (job,) = schedd.jobs.values()
    job.hold, job.hold_code, job.status = "evicted", code, 5
    with pytest.raises(HostFailure, match=f"on node-1 ended without an outcome: {words}"):
        await running
    await until(lambda: not schedd.jobs)
    await engine.close()


async def test_a_schedd_that_refuses_a_submission_is_told_in_its_words(tmp_path: Path) -> None:
    schedd = FakeSchedd()

    def refuse(description: Any, itemdata: Iterator[dict[str, str]]) -> Any:
        schedd.submissions += 1
        raise RuntimeError("Number of submitted jobs would exceed MAX_JOBS_SUBMITTED")

    schedd.submit = refuse  # type: ignore[method-assign]
    engine = engine_on(schedd)
    with pytest.raises(HostFailure, match=r"did not take the cell.*MAX_JOBS_SUBMITTED"):
        await engine.run(Cell("fairgrid-test-x", tmp_path, 10.0, 1 << 20))
    assert schedd.submissions == 4, "it may be full for a moment only"
    await engine.close()


async def test_what_a_killed_worker_left_is_removed_and_nobody_elses(tmp_path: Path) -> None:
    schedd = FakeSchedd(starts=False)
    for prefix in (PREFIX, "fairgrid-other"):
        description = submit_description((60, 100, 1, 0), OPTIONS, prefix=prefix, python=sys.executable)
        schedd.submit(description, iter([{"folder": str(tmp_path), "name": "n"}]))
    engine = engine_on(schedd)
    assert await engine.sweep() == 1
    assert [job.description["My.FairgridWorker"] for job in schedd.jobs.values()] == ['"fairgrid-other"']
    await engine.close()


@pytest.mark.parametrize(("compile_s", "seconds"), [(0.0, "160"), (300.0, "460")])
async def test_a_cell_is_given_its_job_a_minute_and_what_compiling_its_program_may_take(
    tmp_path: Path, compile_s: float, seconds: str
) -> None:
    schedd = FakeSchedd(starts=False)
    queue = HTCondorQueue(OPTIONS, prefix=PREFIX, python=sys.executable, schedd=schedd)
    await queue.submit([Cell("fairgrid-test-x", tmp_path, 100.0, 1 << 20, compile_s=compile_s)])
    (job,) = schedd.jobs.values()
    assert dict(job.description.items())["allowed_execute_duration"] == seconds


def test_a_submission_says_how_long_how_much_and_that_nothing_runs_twice() -> None:
    description = submit_description((90, 1088, 2, 1), OPTIONS, prefix=PREFIX, python="/usr/bin/python3")
    words = dict(description.items())
    assert (words["allowed_execute_duration"], words["request_memory"]) == ("90", "1088MB")
    assert (words["request_cpus"], words["request_gpus"], words["max_retries"]) == ("2", "1", "0")
    assert "NumJobStarts" in words["periodic_hold"] and words["should_transfer_files"] == "no"


def test_lines_of_the_owner_are_in_it_and_an_expression_that_is_none_is_refused() -> None:
    from dataclasses import replace

    added = replace(OPTIONS, submit=('requirements = (Arch == "X86_64")', '+ProjectName = "grid"'), account="group.lab")
    words = dict(submit_description((90, 100, 1, 0), added, prefix=PREFIX, python="/p").items())
    assert words["requirements"] == '(Arch == "X86_64")' and words["My.ProjectName"] == '"grid"'
    assert words["accounting_group"] == "group.lab"
    with pytest.raises(HostFailure, match="refuses the lines"):
        broken = replace(OPTIONS, submit=("requirements = ((",))
        submit_description((90, 100, 1, 0), broken, prefix=PREFIX, python="/p")


async def test_a_folder_that_a_submission_cannot_name_is_refused() -> None:
    engine = engine_on(FakeSchedd())
    with pytest.raises(HostFailure, match="a sign in its name"):
        await engine.run(Cell("fairgrid-test-x", Path("/a b/$(c)"), 10.0, 1 << 20))
