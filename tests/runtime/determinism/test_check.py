"""The whole check: real runs in the default runtime, and runs of a pretended program that depends on its host."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairgrid.cli.app import app
from fairgrid.client.job import Job
from fairgrid.client.prepared_job import local_files, manifest_of
from fairgrid.errors import HostFailure
from fairgrid.runtime.determinism import check as checking
from fairgrid.runtime.determinism.check import CheckReport, check_determinism
from fairgrid.runtime.determinism.conditions import CONDITIONS
from fairgrid.runtime.determinism.trial import TrialRequest, TrialResult
from fairgrid.runtime.wasm.interpreters import InstalledRuntime, default_runtime_id

pytestmark = pytest.mark.timeout(240)
HOSTILE_TO_AGREEMENT = """
import os, random, time, uuid, threading
print(random.random(), time.time(), uuid.uuid4(), {"a", "b", "c", object}, os.listdir(os.environ["IEXEC_IN"]))
"""


def job_in(folder: Path, script: str) -> Job:
    program = folder / "job.py"
    program.write_text(script)
    for name in ("z.csv", "a.csv", "m.csv"):
        (folder / name).write_text(name)
    inputs = [folder / name for name in ("m.csv", "z.csv", "a.csv")]
    return Job.from_files(program, inputs, [], runtime_id=default_runtime_id())


async def checked(folder: Path, script: str) -> CheckReport:
    job = job_in(folder, script)
    return await check_determinism(
        manifest_of(job, timeref=60), local_files(job, timeref=60), folder / "runs", wall_s=60.0
    )


async def test_the_default_runtime_agrees_with_itself_whatever_the_host_does(
    tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    report = await checked(tmp_path, HOSTILE_TO_AGREEMENT)
    assert report.is_deterministic and report.difference is None and report.cause is None
    assert [trial.condition for trial in report.trials] == list(CONDITIONS)
    assert report.first.exit_code == 0


def pretend(monkeypatch: pytest.MonkeyPatch, result: Callable[[TrialRequest], str]) -> None:
    """Instead of a run: write what ``result`` says of the request to the result folder."""

    async def trial(request: TrialRequest) -> TrialResult:
        text = result(request)
        folder = Path(request.workdir) / "result"
        folder.mkdir(parents=True)
        (folder / "answer.txt").write_text(text)
        return TrialResult(digest=text, exit_code=0)

    monkeypatch.setattr(checking, "_trial", trial)
    monkeypatch.setattr(checking, "_APART_S", 0.0)


async def test_a_program_that_depends_on_the_cores_is_told_so_with_file_and_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda request: f"threads: {1 if request.condition.one_core else 8}")
    report = await checked(tmp_path, "")
    assert not report.is_deterministic
    assert report.difference is not None and (report.difference.path, report.difference.offset) == ("answer.txt", 9)
    assert report.cause is not None and report.cause.name == "threads"
    assert [trial.condition.name for trial in report.trials if trial.difference] == ["cores"]


async def test_a_run_that_is_not_possible_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trial(request: TrialRequest) -> TrialResult:
        return TrialResult(failure="no memory") if request.condition.one_core else TrialResult(digest="d")

    monkeypatch.setattr(checking, "_trial", trial)
    monkeypatch.setattr(checking, "_APART_S", 0.0)
    with pytest.raises(HostFailure, match=r"cores.*no memory"):
        await checked(tmp_path, "")


def test_the_command_says_the_same_for_people_and_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda request: "1 2 3" if request.condition.name != "folders" else "3 2 1")
    job_in(tmp_path, "")
    arguments = ["check", str(tmp_path / "job.py"), "--input", str(tmp_path / "a.csv")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 5
    document = json.loads(result.stdout)
    assert (document["status"], document["difference"]["file"], document["cause"]["name"]) == (
        "differs",
        "answer.txt",
        "order",
    )
    assert [run["condition"] for run in document["runs"] if not run["agrees"]] == ["folders"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 5 and "First difference: answer.txt, byte 0, line 1" in shown.output
    assert "sorted(...)" in shown.output
    only = CliRunner().invoke(app, [*arguments, "--only", "cores"])
    assert only.exit_code == 0 and "All 2 runs agree" in only.output
    wrong = CliRunner().invoke(app, [*arguments, "--only", "moon"])
    assert wrong.exit_code != 0 and "No condition is named moon" in str(wrong.exception)


def test_a_program_is_tried_as_a_worker_would_run_it(tmp_path: Path, installed_runtime: InstalledRuntime) -> None:
    script = "import os, sys; open(os.environ['IEXEC_OUT'] + '/r', 'w').write(sys.argv[1]); print('\\x1b[31mhi')"
    job_in(tmp_path, script)
    arguments = ["test", str(tmp_path / "job.py"), "--arg", "7", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["status"], document["files"], document["exitCode"]) == ("ok", ["r", "stdout.txt"], 0)
    assert document["usage"]["fuel"] > 0 and (tmp_path / "out" / "r").read_text() == "7"
    shown = CliRunner().invoke(app, arguments)
    assert "hi" in shown.output and "\x1b" not in shown.output and document["digest"] in shown.output


def test_a_program_that_fails_is_told_with_exit_code_1(tmp_path: Path, installed_runtime: InstalledRuntime) -> None:
    job_in(tmp_path, "raise SystemExit(3)")
    result = CliRunner().invoke(app, ["test", str(tmp_path / "job.py"), "--json"])
    assert result.exit_code == 1 and json.loads(result.stdout)["exitCode"] == 3


def test_a_missing_program_is_told_before_anything_runs(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(tmp_path / "none.py")])
    assert result.exit_code != 0 and "There is no script" in str(result.exception)
