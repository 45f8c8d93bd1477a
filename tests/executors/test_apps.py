"""Published apps as functions of an executor: a sweep of tasks, with files of their own, whose results are files."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fairgrid
from fairgrid.client.prepared_job import manifest_of
from fairgrid.errors import CannotTravel, RemoteError, ServiceUnavailable, UsageError
from fairgrid.executors.apps import App, AppResult
from fairgrid.executors.asynchronous import AsyncExecutor
from fairgrid.executors.backend import AppProgram, DealJob, TaskJob
from fairgrid.executors.guest.values import File
from fairgrid.executors.here import job_of
from fairgrid.executors.packing import Packing
from fairgrid.executors.record import RunRecord
from fairgrid.executors.runtimes import NATIVE_RUNTIME
from fairgrid.executors.timing import Timing
from fairgrid.protocol.app_document import AppDocument, program_fault
from fairgrid.runtime.wasm.interpreters import default_runtime_id
from tests.executors.simple_calls import scaled
from tests.executors.stage import QUICK, Stage

ADDRESS = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
TOGETHER = Timing(window=300, longest_window=300)
"""Calls are gathered until the executor is closed: they are one deal, however long each of them takes to make."""
PROGRAM = """
import os, sys
place, out = os.environ["IEXEC_IN"], os.environ["IEXEC_OUT"]
if "fail" in sys.argv:
    sys.exit(3)
os.makedirs(os.path.join(out, "sub"), exist_ok=True)
files = sorted(name for name in os.listdir(place) if not name.startswith("0x"))
text = "|".join(open(os.path.join(place, name)).read() for name in files)
print("\x1b[31mdone")
open(os.path.join(out, "said.txt"), "w").write(",".join(sys.argv[1:]) + ";" + ",".join(files) + ";" + text)
open(os.path.join(out, "sub", "count.txt"), "w").write(str(len(files)))
"""


def publish(stage: Stage, folder: Path) -> App:
    """An app with one file of its own."""
    folder.mkdir(exist_ok=True)
    program, table = folder / "program.py", folder / "table.csv"
    program.write_text(PROGRAM)
    table.write_text("t")
    stage.backend.apps[ADDRESS] = AppProgram(ADDRESS, program, (table,), default_runtime_id(), 1 << 28)
    return App(ADDRESS)


@pytest.fixture
def app(stage: Stage, tmp_path: Path) -> App:
    stage.troubled(price_nrlc=10)
    return publish(stage, tmp_path / "app")


def data(folder: Path, number: int) -> File:
    """The input of one task: all have one name, and differ."""
    place = folder / str(number)
    place.mkdir(exist_ok=True)
    (place / "data.txt").write_text(f"d{number}")
    return File(place / "data.txt")


def test_a_sweep_of_an_app_is_a_bag_whose_tasks_have_arguments_and_files_of_their_own(
    stage: Stage, app: App, tmp_path: Path
) -> None:
    files = [data(tmp_path, number) for number in range(3)]
    with stage.executor(budget=100, timing=TOGETHER) as ex:
        quote = ex.quote(app, range(3), files)
        assert (quote.calls, quote.tasks, quote.deals, quote.total) == (3, 3, 1, 30)
        assert stage.backend.signed == []
        coming = ex.map(app, range(3), files)
    results = list(coming)
    assert len(stage.backend.signed) == 1
    assert [result["said.txt"].read_text() for result in results] == [
        f"{number};data.txt,table.csv;d{number}|t" for number in range(3)
    ]
    assert list(results[0]) == ["said.txt", "stdout.txt", "sub/count.txt"]
    assert results[0].stdout == "done\n"
    assert (results[0].save(tmp_path / "kept") / "sub" / "count.txt").read_text() == "2"
    with pytest.raises(KeyError, match=r"has said\.txt"):
        results[0]["other.txt"]
    assert ex.receipt().spent == quote.total


def test_what_an_app_is_given_may_be_bound_or_come_in_lists(stage: Stage, app: App, tmp_path: Path) -> None:
    bound = functools.partial(app, "--size", 4)
    with stage.executor(budget=100) as ex:
        result = ex.submit(bound, ["--name", "x"], Path(data(tmp_path, 1))).result(30)
        assert isinstance(result, AppResult)
        assert result["said.txt"].read_text() == "--size,4,--name,x;data.txt,table.csv;d1|t"


def test_calls_of_an_app_and_of_functions_share_a_run_in_deals_of_their_own(stage: Stage, app: App) -> None:
    with stage.executor(budget=100, packing=Packing(width=1)) as ex:
        futures: list[Any] = [ex.submit(scaled, 1), ex.submit(app), ex.submit(scaled, 2)]
        assert futures[0].result(30) == 3 and futures[2].result(30) == 6
        assert futures[1].result(30)["said.txt"].read_text() == ";table.csv;t"
    assert {deal["app"] and deal["app"]["address"] for deal in stage.plans()} == {None, ADDRESS}
    assert ex.receipt().spent == 10 * sum(deal.tasks for deal in ex.receipt().deals)


def test_a_run_of_an_app_is_resumed_without_fetching_or_paying_again(stage: Stage, app: App, tmp_path: Path) -> None:
    with stage.executor(budget=100) as ex:
        ex.submit(app, data(tmp_path, 1)).result(30)
    (tmp_path / "1" / "data.txt").unlink()
    with stage.resume(ex.run_id) as again:
        (future,) = again.recovered
        assert future.result(30)["said.txt"].read_text() == ";data.txt,table.csv;d1|t"
        assert (stage.backend.signed, again.receipt().spent) == ([], 10)
    assert "app" not in stage.backend.asked
    data(tmp_path, 1)
    with stage.resume(ex.run_id) as again:
        assert again.submit(app, File(tmp_path / "1" / "data.txt")).result(30)["sub/count.txt"].read_text() == "2"
        assert stage.backend.signed == []


def test_a_run_of_an_app_that_was_killed_before_its_signature_signs_the_same_job_once(stage: Stage, app: App) -> None:
    with stage.executor(budget=100) as ex:
        ex.submit(app, "a").result(30)
    (note,) = (stage.folder / "deals").glob("*.json")
    note.unlink()
    with stage.resume(ex.run_id) as again:
        assert again.submit(app, "a").result(30)["said.txt"].read_text() == "a;table.csv;t"
        assert stage.backend.signed == [stage.plans()[0]["job"]]


def test_a_job_of_an_app_is_one_that_workers_take_as_that_apps(stage: Stage, app: App, tmp_path: Path) -> None:
    with stage.executor(budget=100, timing=TOGETHER) as ex:
        coming = ex.map(app, ["a", "b"], [data(tmp_path, 1), data(tmp_path, 2)])
    assert len(list(coming)) == 2
    (deal,) = [stage.backend._jobs[name] for name in stage.backend.signed]
    job = job_of(deal, "another/runtime")
    manifest = manifest_of(job, timeref=300)
    document = AppDocument("words", default_runtime_id(), manifest.script, manifest.inputs)
    assert program_fault(document, manifest) is None
    assert [file.name for file in (manifest.script, *manifest.inputs)] == ["program.py", "table.csv"]
    assert (job.app, job.memory_bytes, job.label) == (ADDRESS, 1 << 28, deal.job_name)
    assert [manifest.arguments_of(index) for index in range(2)] == [("a",), ("b",)]


def test_a_program_that_fails_is_an_agreed_error_and_is_paid_for(stage: Stage, app: App) -> None:
    with stage.executor(budget=100) as ex:
        error = ex.submit(app, "fail").exception(30)
        assert isinstance(error, RemoteError) and "exit code 3" in str(error)
        assert ex.submit(app).result(30).stdout == "done\n"
        assert ex.receipt().spent == 20


def test_a_file_with_the_name_of_one_of_the_apps_own_fails_that_call_alone(
    stage: Stage, app: App, tmp_path: Path
) -> None:
    mine = tmp_path / "table.csv"
    mine.write_text("mine")
    with stage.executor(budget=100) as ex:
        bad, good = ex.submit(app, File(mine)), ex.submit(app)
        assert "has a file table.csv of its own" in str(bad.exception(30))
        assert good.result(30)["sub/count.txt"].read_text() == "1"
        with pytest.raises(UsageError, match="another of that name"):
            ex.quote(app, [File(mine)])
        assert ex.receipt().signed == 10
        assert ex.submit(app, File(mine, "mine.csv")).result(30)["sub/count.txt"].read_text() == "2"


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (lambda: [object()], {}, "is no text, number or file"),
        (lambda: [True], {}, "is no text, number or file"),
        (lambda: ["a\0b"], {}, "is no text, number or file"),
        (list, {"size": 3}, "has a name"),
        (lambda: [File("a/x.txt"), File("b/x.txt")], {}, "another file has it"),
        (lambda: [File("a/x.txt", "a/b")], {}, "cannot have this name"),
        (lambda: [File("nowhere.txt")], {}, "cannot be read"),
    ],
)
def test_what_a_program_cannot_be_given_is_told_at_once(
    stage: Stage,
    app: App,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: Callable[[], list[Any]],
    keywords: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text("x")
    with stage.executor(budget=100) as ex, pytest.raises(CannotTravel, match=message):
        ex.submit(app, *arguments(), **keywords)


def test_an_address_that_is_none_and_an_app_that_nobody_published_are_told(stage: Stage) -> None:
    with pytest.raises(UsageError, match="no address of an app"):
        App("0x1234")
    with pytest.raises(UsageError, match="cannot take"):
        App(ADDRESS, seconds=-1)
    with stage.executor() as ex:
        assert "'here' has none" in str(ex.submit(App(ADDRESS)).exception(30))
        with pytest.raises(UsageError, match="'here' has none"):
            ex.quote(App(ADDRESS), ["a"])
        assert ex.submit(scaled, 1).result(30) == 3


def test_storage_that_is_away_is_waited_for_before_an_app_is_dealt(stage: Stage, app: App) -> None:
    left = [2]

    def trouble(where: str) -> Exception | None:
        if where == "app" and left[0]:
            left[0] -= 1
            return ServiceUnavailable("storage", "http://127.0.0.1:1", "it is away")
        return None

    stage.backend.trouble = trouble
    with stage.executor(budget=100) as ex:
        assert ex.submit(app).result(30).stdout == "done\n"
    assert left == [0]


def test_an_app_is_one_by_its_address_and_runs_nowhere_else() -> None:
    app = fairgrid.App(ADDRESS.lower())
    assert app == App(ADDRESS) and hash(app) == hash(App(ADDRESS)) and app.address == ADDRESS
    with pytest.raises(UsageError, match="runs on the network"):
        app("a")
    with fairgrid.executor("threads") as threads, pytest.raises(UsageError, match="to the submit or map"):
        threads.submit(app, "a").result()


async def test_an_asynchronous_executor_takes_apps_too(stage: Stage, app: App) -> None:
    async with AsyncExecutor(stage.place, timing=QUICK, budget=100) as ex:
        assert (await ex.quote(app, "abc")).tasks == 3
        results = [result async for result in ex.map(app, "ab")]
        assert [result["said.txt"].read_text() for result in results] == ["a;table.csv;t", "b;table.csv;t"]


def test_hosts_that_an_app_names_are_in_its_deals_whatever_the_executor_reaches_also_after_a_restart(
    tmp_path: Path,
) -> None:
    program = tmp_path / "tool.sh"
    program.write_text("#!/bin/sh\n")
    needy = AppProgram(ADDRESS, program, (), NATIVE_RUNTIME, 1 << 28, ("a.org", "b.org:22"))
    deal = DealJob("run.1", program, (), (TaskJob(()),), needy)
    assert job_of(deal, NATIVE_RUNTIME, ("c.org",)).network == ("a.org", "b.org:22")
    record = RunRecord.make(tmp_path / "runs", "run")
    kept = json.loads(json.dumps(record._keep_app(needy)))
    app = record._app_job("run.1", kept, ()).app
    assert app is not None and (app.reach, app.runtime) == (needy.reach, needy.runtime)
    del kept["reach"]
    assert record._app_job("run.1", kept, ()).app == replace(app, reach=())
