"""What a sweep will cost, told before anything is signed."""

from __future__ import annotations

import threading

import pytest

import fairgrid
from fairgrid.errors import CannotTravel
from fairgrid.executors.backend import Terms
from fairgrid.executors.calls import Call
from fairgrid.executors.packing import Packing
from fairgrid.executors.quoting import quote_of, workers_for_trust
from fairgrid.protocol.trust import reachable_trust, trust_for_workers
from tests.executors.stage import Stage

TERMS = Terms(101, 10, "python", escrow=150, workers=8, workers_per_task=4, batch=True)
LOCK = threading.Lock()


@fairgrid.remote(seconds=10)
def slow(x: int) -> int:
    return x


def guarded(x: int) -> int:
    with LOCK:
        return x


def test_a_quote_prices_every_task_and_signs_nothing(stage: Stage) -> None:
    stage.troubled(price_nrlc=3)
    with stage.executor(budget=100, packing=Packing(width=4)) as ex:
        quote = ex.quote(slow, range(12))
        assert (quote.calls, quote.tasks, quote.deals, quote.price_per_task, quote.total) == (12, 4, 1, 3, 12)
        assert (quote.compute_seconds, quote.is_covered, quote.deposit) == (120.0, True, 12)
        assert stage.backend.signed == []
        assert ex.receipt().left == 100
        assert list(ex.map(slow, range(12))) == list(range(12))
    assert ex.receipt().spent == quote.total


def test_a_quote_beyond_the_budget_says_so_and_a_smaller_budget_makes_longer_tasks(stage: Stage) -> None:
    stage.troubled(price_nrlc=3)
    with stage.executor(budget=6, packing=Packing(width=4)) as ex:
        assert ex.quote(slow, range(12)).tasks == 2
        beyond = ex.quote(slow, range(12), chunksize=1)
    assert (beyond.total, beyond.is_covered) == (36, False)
    assert "NOT covered" in str(beyond)


def test_a_quote_names_what_cannot_travel(stage: Stage) -> None:
    with stage.executor() as ex, pytest.raises(CannotTravel, match="lock"):
        ex.quote(guarded, range(3))


def test_a_quote_leaves_no_trace_in_the_run(stage: Stage) -> None:
    with stage.executor() as ex:
        run_id = ex.run_id
        assert list(ex.map(slow, [1, 2])) == [1, 2]
    with stage.resume(run_id) as again:
        again.quote(slow, [1, 2])
        assert list(again.map(slow, [1, 2])) == [1, 2]
    assert len(stage.plans()) == 1


def test_time_counts_the_workers_that_agree_on_a_task() -> None:
    tasks = tuple((Call(number, "0\t{}", "b", seconds=10),) for number in range(6))
    quote = quote_of(tasks, TERMS, Packing(), budget_left=1_000)
    assert (quote.compute_seconds, quote.wall_seconds) == (60, 30)
    assert (quote.total, quote.deposit) == (606, 456)
    assert "1 in 10" in str(quote) and "4 or more workers" in quote._repr_html_()


def test_no_calls_cost_nothing() -> None:
    quote = quote_of((), TERMS, Packing(), budget_left=0)
    assert (quote.total, quote.tasks, quote.wall_seconds, quote.is_covered) == (0, 0, 0, True)


@pytest.mark.parametrize("weights", [[2] * 8, [3, 5, 2, 2, 7]])
def test_the_fewest_workers_for_a_trust_are_those_that_reach_it(weights: list[int]) -> None:
    for workers in range(1, len(weights) + 1):
        trust = trust_for_workers(weights, workers)
        assert workers_for_trust(weights, trust) == workers
        assert reachable_trust(sorted(weights, reverse=True)[:workers]) >= trust
    assert workers_for_trust([], 1) == 1
    assert workers_for_trust(weights, 10**9) == len(weights)
