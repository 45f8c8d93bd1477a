"""What a run may spend, and what its calls beyond that are told."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from fairgrid.errors import BudgetExceeded, RemoteError
from fairgrid.executors.packing import Packing
from fairgrid.executors.timing import Timing
from tests.executors.simple_calls import NEVER, same, scaled
from tests.executors.stage import Stage


def test_a_call_that_reaches_a_limit_does_not_take_its_neighbours_with_it(stage: Stage) -> None:
    stage.troubled(price_nrlc=10)
    with stage.executor(budget=1000, timing=Timing(window=0.3)) as ex:
        futures: list[Future[Any]] = [ex.submit(scaled, x) for x in range(8)]
        futures.insert(3, ex.submit(same, "exhaust_fuel"))
    errors = [future.exception() for future in futures]
    assert [type(error) for error in errors].count(RemoteError) == 1
    assert "fuel" in str(errors[3])
    assert [future.result() for future in futures if not future.exception()] == [3 * x for x in range(8)]
    receipt = ex.receipt()
    assert receipt.spent == receipt.signed == 10 * sum(deal.tasks for deal in receipt.deals)


def test_the_budget_is_never_exceeded_and_calls_beyond_it_say_so(stage: Stage) -> None:
    stage.troubled(price_nrlc=100)
    with stage.executor(budget=350, timing=NEVER) as ex:
        futures = list(ex.futures(scaled, range(10), chunksize=2))
    failed = [future for future in futures if future.exception()]
    assert [future.result() for future in futures[:6]] == [0, 3, 6, 9, 12, 15]
    assert len(failed) == 4
    error = failed[0].exception()
    assert isinstance(error, BudgetExceeded)
    assert (error.needed, error.left, error.budget) == (500, 350, 350)
    receipt = ex.receipt()
    assert (receipt.signed, receipt.spent, receipt.left) == (300, 300, 50)


def test_fewer_tasks_are_made_where_the_budget_is_small(stage: Stage) -> None:
    stage.troubled(price_nrlc=100)
    with stage.executor(budget=200, packing=Packing(width=8)) as ex:
        assert list(ex.map(scaled, range(20))) == [3 * x for x in range(20)]
    assert ex.receipt().spent == 200


def test_a_budget_that_covers_no_task_is_refused_before_anything(stage: Stage) -> None:
    stage.troubled(price_nrlc=100)
    with pytest.raises(BudgetExceeded):
        stage.executor(budget=99)
    assert list((stage.folder / "runs").glob("run-*")) == []


def test_what_is_refunded_can_be_spent_again(stage: Stage) -> None:
    stage.troubled(price_nrlc=100)
    with stage.executor(budget=100) as ex:
        stage.backend.refunds = True
        error = ex.submit(scaled, 1).exception(30)
        assert "Its money is back" in str(error)
        assert (ex.receipt().left, ex.receipt().refunded) == (100, 100)
        stage.backend.refunds = False
        assert ex.submit(scaled, 1).result(30) == 3
        assert (ex.receipt().left, ex.receipt().spent) == (0, 100)
