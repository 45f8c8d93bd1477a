"""`Executor.map`: order, sizes, time-outs, and what is ahead of its reader."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from fairgrid.executors.executor import Executor
from tests.executors.simple_calls import NEVER, divide, scaled
from tests.executors.stage import Stage


def test_map_gives_results_in_order_and_stops_with_the_shortest_input(ex: Executor) -> None:
    assert list(ex.map(pow, range(10), [2] * 4)) == [0, 1, 4, 9]


def test_map_raises_where_the_failed_call_is(ex: Executor) -> None:
    results = ex.map(divide, [4, 3, 1], [2, 3, 0])
    assert [next(results), next(results)] == [2.0, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_of_nothing_is_nothing(ex: Executor) -> None:
    assert list(ex.map(scaled, [])) == []


def test_map_times_out(still: Executor) -> None:
    results = still.map(scaled, [1, 2], timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)


def test_map_with_a_buffer_takes_an_endless_input(ex: Executor) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = ex.map(scaled, numbers(), buffersize=4)
    assert taken == [0, 1, 2, 3]
    assert list(itertools.islice(results, 6)) == [0, 3, 6, 9, 12, 15]
    assert len(taken) == 10


def test_leaving_a_map_early_cancels_what_was_not_sent(stage: Stage) -> None:
    ex = stage.executor(timing=NEVER)
    other = ex.submit(scaled, 7)
    results = ex.map(scaled, range(100), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    ex.shutdown()
    assert other.result() == 21
    assert [len(task["numbers"]) for task in stage.plans()[0]["tasks"]] == [1]


@pytest.mark.parametrize("options", [{"chunksize": 0}, {"chunksize": -1}, {"buffersize": 0}])
def test_map_refuses_sizes_below_one_at_once(ex: Executor, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ex.map(scaled, [1], **options)


def test_chunksize_says_how_many_calls_are_a_task(stage: Stage) -> None:
    with stage.executor() as ex:
        assert list(ex.map(scaled, range(10), chunksize=4)) == [3 * x for x in range(10)]
    assert [len(task["numbers"]) for task in stage.plans()[0]["tasks"]] == [4, 4, 2]
