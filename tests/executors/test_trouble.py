"""What may go wrong around a run: services away, processes killed, interrupted and forked. Nothing is paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import RunInterrupted, ServiceError, ServiceUnavailable, UsageError
from fairgrid.executors import timing
from fairgrid.executors.timing import Timing
from tests.executors.simple_calls import Point, nap, scaled
from tests.executors.stage import Stage, void

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services are asked again at once."""
    monkeypatch.setattr(timing, "_RETRY_S", 0.01)


def away(times: int, *where: str) -> Callable[[str], Exception | None]:
    """A service does not answer for the first few times."""
    left = [times]

    def trouble(asked: str) -> Exception | None:
        if asked in where and left[0]:
            left[0] -= 1
            return ServiceUnavailable("pool", "http://127.0.0.1:1", "it is away")
        return None

    return trouble


@pytest.mark.parametrize("where", ["sign", "match"])
def test_a_service_that_is_away_for_a_while_is_waited_for(stage: Stage, where: str) -> None:
    stage.troubled(away(5, where))
    with stage.executor() as ex:
        assert ex.submit(scaled, 1).result(30) == 3
    assert len(stage.backend.signed) == 1


def test_a_service_that_stays_away_fails_the_call_and_nothing_was_signed(stage: Stage) -> None:
    stage.troubled(away(10**6, "sign"))
    with stage.executor(timing=Timing(window=0.01, patience=0.05)) as ex:
        with pytest.raises(ServiceUnavailable):
            ex.submit(scaled, 1).result(30)
    assert ex.receipt().signed == 0
    assert stage.plans() == []


def test_a_chain_that_is_lost_after_the_signature_leaves_a_run_to_resume(stage: Stage) -> None:
    stage.troubled(away(10**6, "match"), price_nrlc=5)
    with stage.executor(budget=100, timing=Timing(window=0.01, patience=0.05)) as ex:
        with pytest.raises(RunInterrupted, match="resume"):
            ex.submit(scaled, 1).result(30)
        assert ex.receipt().open == 5
    with stage.resume(ex.run_id) as again:
        assert again.submit(scaled, 1).result(30) == 3
        assert again.receipt().spent == 5
    assert stage.backend.signed == []


def test_a_network_that_cannot_be_used_is_told_by_the_constructor(stage: Stage) -> None:
    stage.troubled(away(10**6, "open"))
    with pytest.raises(ServiceUnavailable):
        stage.executor()
    assert list((stage.folder / "runs").glob("run-*")) == []


def test_a_displaced_deal_is_signed_anew_and_counts_once(stage: Stage) -> None:
    stage.troubled(void(2), price_nrlc=5)
    with stage.executor(budget=5) as ex:
        assert ex.submit(scaled, 1).result(30) == 3
    assert len(stage.backend.signed) == 3
    assert (ex.receipt().signed, ex.receipt().spent) == (5, 5)


def test_a_deal_that_is_displaced_again_and_again_is_given_up(stage: Stage) -> None:
    stage.troubled(void(10**6), price_nrlc=5)
    with stage.executor(budget=5) as ex:
        with pytest.raises(ServiceError, match="one process at a time"):
            ex.submit(scaled, 1).result(30)
    assert ex.receipt().signed == 0


def test_a_failure_while_following_leaves_a_run_to_resume(stage: Stage) -> None:
    stage.troubled(lambda where: OSError("disk full") if where == "endings" else None)
    with stage.executor() as ex:
        with pytest.raises(RunInterrupted, match="disk full"):
            ex.submit(scaled, 1).result(30)
    with stage.resume(ex.run_id) as again:
        assert [future.result(30) for future in again.recovered] == [3]


def test_a_resumed_run_gives_the_same_calls_the_same_deals_and_new_ones_new_deals(stage: Stage) -> None:
    stage.troubled(price_nrlc=5)
    with stage.executor(budget=100) as ex:
        first = [ex.submit(Point, 1), ex.submit(Point, 1), ex.submit(Point, 2)]
        assert [future.result(30) for future in first] == [Point(1), Point(1), Point(2)]
    before = ex.receipt()
    with stage.resume(ex.run_id) as again:
        same = [again.submit(Point, 1), again.submit(Point, 1), again.submit(Point, 2)]
        assert [future.result(30) for future in same] == [Point(1), Point(1), Point(2)]
        assert stage.backend.signed == []
        assert again.receipt() == before
        assert again.submit(Point, 1).result(30) == Point(1)
        assert len(stage.backend.signed) == 1
        assert again.receipt().left == before.left - 5


def test_results_of_ones_own_classes_need_the_same_call_to_be_read(stage: Stage) -> None:
    with stage.executor() as ex:
        ex.submit(Point, 1).result(30)
    with stage.resume(ex.run_id) as again:
        (future,) = again.recovered
        assert "the class '0' is unknown" in str(future.exception(30))
    with stage.resume(ex.run_id) as again:
        assert again.submit(Point, 1).result(30) == Point(1)


def test_the_budget_holds_over_all_processes_of_a_run(stage: Stage) -> None:
    stage.troubled(price_nrlc=60)
    with stage.executor(budget=100) as ex:
        ex.submit(scaled, 1).result(30)
    with stage.resume(ex.run_id) as again:
        assert "40 nRLC of the budget" in str(again.submit(scaled, 2).exception(30))
        assert again.receipt().signed == 60


def test_two_processes_cannot_work_on_one_run(stage: Stage) -> None:
    with stage.executor() as ex:
        with pytest.raises(UsageError, match="Another process"):
            stage.resume(ex.run_id)


@pytest.mark.parametrize("name", ["run-20260101-00000000", "../run", ""])
def test_an_unknown_run_is_told(stage: Stage, name: str) -> None:
    with pytest.raises(UsageError, match="There is no run"):
        stage.resume(name)


def test_a_broken_plan_is_told_with_its_place(stage: Stage) -> None:
    with stage.executor() as ex:
        ex.submit(scaled, 1).result(30)
    (plan,) = (stage.folder / "runs").glob("*/deal-*/plan.json")
    plan.write_text("{}")
    with pytest.raises(UsageError, match=r"deal-0001.*cannot be read"):
        stage.resume(ex.run_id)


def test_an_edit_above_a_function_does_not_make_it_another(stage: Stage, tmp_path: Path) -> None:
    with stage.executor() as ex:
        first = _module(tmp_path, "one", "def f(x):\n    return x + 1\n")
        assert ex.submit(first, 1).result(30) == 2
    with stage.resume(ex.run_id) as again:
        second = _module(tmp_path, "two", "# a remark\n\n\ndef f(x):\n    return x + 1\n")
        assert again.submit(second, 1).result(30) == 2
    assert stage.backend.signed == []


def _module(folder: Path, name: str, text: str) -> Any:
    file = folder / f"{name}.py"
    file.write_text(text)
    names: dict[str, Any] = {"__name__": "users_module", "__file__": str(file)}
    exec(compile(text, str(file), "exec"), names)
    return names["f"]


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from tests.executors.stage import Stage
from tests.executors.simple_calls import nap, scaled

# A process that was started in the background ignores it otherwise.
signal.signal(signal.SIGINT, signal.default_int_handler)

def main():
    stage = Stage(Path(sys.argv[1]))
    stage.troubled(price_nrlc=5)
    ex = stage.executor(budget=100)
    print(ex.run_id, flush=True)
    BODY
main()
"""


def script(stage: Stage, body: str, **options: Any) -> subprocess.Popen[str]:
    """A process with an executor; its first line is the run's name."""
    text = SCRIPT.replace("BODY", body)
    return subprocess.Popen(
        [sys.executable, "-c", text, str(stage.folder)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def planned(stage: Stage, count: int = 1) -> None:
    """Wait until so many deals are signed."""
    end = time.monotonic() + 40
    while len(list((stage.folder / "deals").glob("*.json"))) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_process_is_resumed_without_paying_twice(stage: Stage) -> None:
    process = script(stage, "[ex.submit(nap, 60 + x) for x in range(4)]; time.sleep(60)")
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    planned(stage)
    process.kill()
    process.communicate()
    stage.troubled(price_nrlc=5)
    again = stage.resume(run_id)
    future = again.submit(nap, 60)
    assert future in list(again._dispatcher._calls._futures.values())
    end = time.monotonic() + 30
    while again.receipt().signed != 10:  # the deals are looked up beside the caller
        assert time.monotonic() < end, again.receipt()
        time.sleep(0.02)
    assert again._dispatcher.abandon("the test is over") == 4
    assert isinstance(future.exception(5), RunInterrupted)
    assert stage.backend.signed == []


def test_a_process_killed_before_the_signature_signs_once_when_it_is_resumed(stage: Stage) -> None:
    with stage.executor() as ex:
        ex.submit(scaled, 1).result(30)
    (note,) = (stage.folder / "deals").glob("*.json")
    note.unlink()
    with stage.resume(ex.run_id) as again:
        assert again.submit(scaled, 1).result(30) == 3
        assert len(stage.backend.signed) == 1


def test_an_interpreter_that_ends_with_open_calls_does_not_hang_and_says_how_to_go_on(stage: Stage) -> None:
    process = script(stage, "ex.submit(nap, 300); time.sleep(0.5)")
    output, errors = process.communicate(timeout=40)
    assert process.returncode == 0
    assert f"Executor.resume('{output.strip()}')" in errors
    assert "Traceback" not in errors


def test_ctrl_c_leaves_the_block_at_once_and_says_how_to_go_on(stage: Stage) -> None:
    body = "with ex:\n        ex.submit(nap, 300).result()"
    process = script(stage, body)
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    planned(stage)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=40)
    assert f"Executor.resume('{run_id}')" in errors
    assert "KeyboardInterrupt" in errors
    assert process.returncode in (-signal.SIGINT, 130)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_told_instead_of_waiting_for_ever(stage: Stage) -> None:
    body = """
    future = ex.submit(nap, 1)
    child = os.fork()
    if child == 0:
        said = []
        for what in (lambda: ex.submit(scaled, 1), lambda: ex.map(scaled, [1]), lambda: future.result(5)):
            try:
                what()
            except Exception as error:
                said.append(type(error).__name__)
        ex.shutdown()
        print(said, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(future.result())
    ex.shutdown()
"""
    process = script(stage, body.strip())
    output, errors = process.communicate(timeout=40)
    assert process.returncode == 0, errors
    assert output.splitlines()[1:] == ["['UsageError', 'UsageError', 'UsageError']", "1"]


def test_a_run_that_is_left_alone_is_still_on_disk(stage: Stage) -> None:
    with stage.executor(budget=7, trust=0.75) as ex:
        pass
    facts = json.loads((stage.folder / "runs" / ex.run_id / "run.json").read_text())
    assert (facts["run"], facts["budget"], facts["trust"]) == (ex.run_id, 7, "0.75")


def test_nap_is_what_it_says() -> None:
    assert nap(0) == 0
