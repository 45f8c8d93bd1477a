"""`joblib.Parallel` on an executor."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import joblib  # type: ignore[import-untyped]
import pytest

import fairgrid
from fairgrid.errors import CannotTravel, UsageError
from fairgrid.executors.joblib_backend import joblib_backend
from fairgrid.executors.timing import Timing
from tests.executors.simple_calls import NEVER, divide, scaled
from tests.executors.stage import Stage


def calls(count: int) -> Any:
    return (joblib.delayed(scaled)(number, factor=2) for number in range(count))


def test_parallel_gives_results_in_order_out_of_few_tasks(stage: Stage) -> None:
    with stage.executor(timing=Timing(window=0.3)) as ex, joblib_backend(ex):
        assert joblib.Parallel()(calls(300)) == [2 * number for number in range(300)]
    assert sum(len(deal["tasks"]) for deal in stage.plans()) <= 12
    assert len(stage.plans()) <= 2


def test_batches_and_generators_are_the_same_calls(stage: Stage) -> None:
    with stage.executor() as ex, fairgrid.joblib_backend(ex):
        assert joblib.Parallel(batch_size=4, n_jobs=2)(calls(10)) == [2 * number for number in range(10)]
        found = joblib.Parallel(return_as="generator")(calls(10))
        assert next(found) == 0 and list(found) == [2 * number for number in range(1, 10)]


def test_an_exception_of_a_call_is_raised_as_itself(stage: Stage) -> None:
    with stage.executor() as ex, joblib_backend(ex), pytest.raises(ZeroDivisionError) as caught:
        joblib.Parallel()(joblib.delayed(divide)(1, number) for number in (1, 0))
    assert "return a / b" in str(caught.value.__cause__)


def test_a_timeout_drops_what_is_not_signed(stage: Stage) -> None:
    ex = stage.executor(timing=NEVER)
    with joblib_backend(ex), pytest.raises(multiprocessing.TimeoutError):
        joblib.Parallel(timeout=0.2)(calls(5))
    ex.shutdown()
    assert stage.plans() == []


def test_what_cannot_travel_is_told_at_once(stage: Stage) -> None:
    with stage.executor() as ex, joblib_backend(ex), pytest.raises(CannotTravel):
        joblib.Parallel()(joblib.delayed(scaled)(object()) for _ in range(2))


def test_outside_of_the_block_joblib_computes_here(stage: Stage) -> None:
    with stage.executor() as ex:
        with joblib_backend(ex):
            assert joblib.Parallel()(calls(2)) == [0, 2]
        assert joblib.Parallel(n_jobs=1)(calls(3)) == [0, 2, 4]
    assert len([task for deal in stage.plans() for task in deal["tasks"] for _ in task["numbers"]]) == 2


def test_joblib_that_is_missing_is_told_with_the_command(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joblib.parallel", None)
    with stage.executor() as ex, pytest.raises(UsageError, match="pip install joblib"):
        joblib_backend(ex)
