"""The behaviour of an executor as the standard library promises it, with the real runner behind it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import itertools
import math
import operator
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

import pytest

from fairgrid.errors import BudgetExceeded, CannotTravel, RemoteError, UsageError
from fairgrid.executors.executor import Executor
from fairgrid.executors.packing import Packing
from fairgrid.executors.results import RemoteTraceback
from fairgrid.executors.timing import Timing
from tests.executors.stage import Stage

NEVER = Timing(window=300, longest_window=300)
FACTOR = 3


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0

    def moved(self, by: int) -> Point:
        return Point(self.x + by, self.y)


class OwnError(Exception):
    pass


def scaled(x: int, factor: int = FACTOR) -> int:
    return x * factor


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def divide(a: int, b: int) -> float:
    return a / b


def raise_own() -> None:
    raise OwnError("mine")


def same(text: str) -> str:
    return text


@pytest.fixture
def ex(stage: Stage) -> Iterator[Executor]:
    with stage.executor() as made:
        yield made


@pytest.fixture
def still(stage: Stage) -> Iterator[Executor]:
    """An executor that gathers calls for ever."""
    made = stage.executor(timing=NEVER)
    yield made
    made.shutdown(cancel_futures=True)


def test_it_is_an_executor_of_the_standard_library(ex: Executor) -> None:
    assert isinstance(ex, concurrent.futures.Executor)
    future = ex.submit(scaled, 2)
    assert isinstance(future, Future)
    assert future.result(timeout=30) == 6


def test_keywords_may_be_named_as_the_parameters_of_submit(ex: Executor) -> None:
    def given(**kwargs: Any) -> Any:
        return sorted(kwargs.items())

    assert ex.submit(given, self=1, fn=2).result(30) == [("fn", 2), ("self", 1)]


def test_submit_without_a_function_is_a_type_error(ex: Executor) -> None:
    with pytest.raises(TypeError):
        ex.submit()  # type: ignore[call-arg]


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


def test_calls_that_come_together_are_one_deal(stage: Stage) -> None:
    with stage.executor(timing=NEVER) as ex:
        futures = [ex.submit(scaled, x) for x in range(300)]
    assert [future.result() for future in futures] == [3 * x for x in range(300)]
    assert len(stage.plans()) == 1
    assert len(stage.plans()[0]["tasks"]) == 5


def test_as_completed_gives_every_future_once(ex: Executor) -> None:
    futures = {ex.submit(scaled, x): x for x in range(7)}
    done = list(concurrent.futures.as_completed(futures, timeout=30))
    assert set(done) == set(futures)
    assert all(future.result() == futures[future] * 3 for future in done)


def test_wait_returns_at_the_first_exception(ex: Executor) -> None:
    failing = ex.submit(divide, 1, 0)
    done, _ = concurrent.futures.wait([failing], timeout=30, return_when=concurrent.futures.FIRST_EXCEPTION)
    assert done == {failing}


def test_callbacks_are_called_and_those_that_fail_harm_nobody(ex: Executor, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    called = threading.Event()

    def note(done: Future[int]) -> None:
        seen.append(done.result())
        called.set()

    future = ex.submit(scaled, 5)
    future.add_done_callback(lambda done: divide(1, 0))
    future.add_done_callback(note)
    assert called.wait(30)
    assert seen == [15]
    assert ex.submit(scaled, 6).result(30) == 18


def test_result_times_out_and_comes_later(ex: Executor) -> None:
    future = ex.submit(nap, 0.5)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.01)
    assert future.result(30) == 0.5


def test_an_exception_is_rebuilt_with_the_remote_traceback_as_text(ex: Executor) -> None:
    error = ex.submit(divide, 1, 0).exception(30)
    assert type(error) is ZeroDivisionError
    assert error.args == ("division by zero",)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert 'File "test_executor.py", line' in str(error.__cause__)
    assert "return a / b" in str(error.__cause__)
    assert "runner.py" not in str(error.__cause__)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (KeyError, ("a",)),
        (FileNotFoundError, (2, "gone")),
        (UnicodeDecodeError, ("utf-8", b"\xff", 0, 1, "bad")),
        (AssertionError, ()),
        (TimeoutError, ("late",)),
    ],
)
def test_exceptions_of_python_itself_keep_class_and_arguments(
    ex: Executor, kind: type[Exception], arguments: tuple[Any, ...]
) -> None:
    def fail() -> None:
        raise kind(*arguments)

    error = ex.submit(fail).exception(30)
    assert type(error) is kind
    assert error.args == arguments


def stop() -> None:
    raise StopIteration(1)


def leave() -> None:
    raise SystemExit(3)


def escape() -> None:
    raise ValueError("\x1b[31mred")


@pytest.mark.parametrize(
    ("function", "kind"),
    [(raise_own, "OwnError"), (stop, "builtins.StopIteration"), (leave, "builtins.SystemExit")],
)
def test_other_exceptions_are_remote_errors(ex: Executor, function: Any, kind: str) -> None:
    error = ex.submit(function).exception(30)
    assert isinstance(error, RemoteError)
    assert error.kind.endswith(kind)
    assert "Traceback" in str(error.__cause__)


def test_what_a_traceback_says_cannot_steer_a_terminal(ex: Executor) -> None:
    error = ex.submit(escape).exception(30)
    assert "\x1b" not in str(error) + str(error.__cause__ if error else "")


def test_a_result_that_cannot_travel_is_an_error_of_that_call_alone(ex: Executor) -> None:
    good, bad = ex.submit(scaled, 1), ex.submit(lambda: object())
    with pytest.raises(TypeError, match="cannot travel"):
        bad.result(30)
    assert good.result(30) == 3


def test_a_waiting_call_is_cancelled_and_never_sent(stage: Stage) -> None:
    ex = stage.executor(timing=NEVER)
    kept, dropped = ex.submit(scaled, 1), ex.submit(scaled, 2)
    assert dropped.cancel()
    ex.shutdown()
    assert kept.result() == 3
    with pytest.raises(CancelledError):
        dropped.result()
    assert [len(task["numbers"]) for task in stage.plans()[0]["tasks"]] == [1]


def test_a_call_that_is_paid_for_is_not_cancelled(ex: Executor) -> None:
    future = ex.submit(nap, 1)
    while not future.running():
        time.sleep(0.01)
    assert not future.cancel()
    assert future.result(30) == 1


def test_shutdown_takes_no_more_calls_and_finishes_those_that_are_there(stage: Stage) -> None:
    ex = stage.executor()
    futures = [ex.submit(scaled, x) for x in range(5)]
    ex.shutdown()
    assert all(future.done() for future in futures)
    for refused in (lambda: ex.submit(scaled, 1), lambda: ex.map(scaled, [1])):
        with pytest.raises(RuntimeError, match="after shutdown"):
            refused()
    ex.shutdown()


def test_shutdown_without_waiting_still_finishes(stage: Stage) -> None:
    ex = stage.executor(timing=NEVER)
    future = ex.submit(scaled, 4)
    ex.shutdown(wait=False)
    assert future.result(30) == 12


def test_shutdown_cancels_what_was_not_signed(stage: Stage) -> None:
    ex = stage.executor(timing=NEVER)
    futures = [ex.submit(scaled, x) for x in range(5)]
    ex.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert stage.plans() == []


def test_leaving_the_block_waits(stage: Stage) -> None:
    with stage.executor() as ex:
        future = ex.submit(scaled, 4)
    assert future.done()
    assert not any(thread.name.startswith("fairgrid-") for thread in threading.enumerate())


def test_functions_of_all_kinds_are_called(ex: Executor) -> None:
    offset = 10

    def closure(x: int) -> int:
        return x + offset

    cases: list[tuple[Future[Any], Any]] = [
        (ex.submit(closure, 1), 11),
        (ex.submit(lambda x: x - offset, 1), -9),
        (ex.submit(functools.partial(divide, b=4), 8), 2.0),
        (ex.submit(functools.partial(functools.partial(divide, 8), 4)), 2.0),
        (ex.submit(math.hypot, 3, 4), 5.0),
        (ex.submit(str.upper, "a"), "A"),
        (ex.submit("a-b".split, "-"), ["a", "b"]),
        (ex.submit(Point(1).moved, 2), Point(3)),
        (ex.submit(Point, 1, 2), Point(1, 2)),
        (ex.submit(sorted, [3, 1], key=operator.neg), [3, 1]),
        (ex.submit(functools.reduce, scaled, [1, 2, 3]), 6),
    ]
    for future, expected in cases:
        assert future.result(30) == expected


def test_large_arguments_are_kept_once_however_many_calls_have_them(stage: Stage) -> None:
    table = bytes(range(256)) * 1000
    with stage.executor() as ex:
        assert list(ex.map(bytes.count, [table] * 20, [b"\0"] * 20)) == [1000] * 20
        numbers = list(range(20_000))
        assert ex.submit(sum, numbers).result(30) == sum(numbers)
        assert ex.submit(bytes, 100_000).result(30) == bytes(100_000)
    assert len(list((stage.folder / "runs").glob("*/inputs/blob-*"))) == 2


def test_each_call_has_its_own_random_numbers_and_a_repeated_run_has_the_same(stage: Stage) -> None:
    import random

    def draw() -> float:
        return random.random()

    seen = []
    for width in (1, 3):
        with stage.executor(packing=Packing(width=width)) as ex:
            seen.append([future.result(30) for future in [ex.submit(draw) for _ in range(5)]])
    assert len(set(seen[0])) == 5
    assert seen[0] == seen[1]


def test_it_works_under_an_event_loop(stage: Stage) -> None:
    async def main(ex: Executor) -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(ex, scaled, x) for x in range(4)))

    with stage.executor() as ex:
        assert asyncio.run(main(ex)) == [0, 3, 6, 9]


def test_many_threads_may_submit(ex: Executor) -> None:
    results: dict[int, list[int]] = {}

    def some(base: int) -> None:
        futures = [ex.submit(scaled, base + x) for x in range(50)]
        results[base] = [future.result(50) for future in futures]

    threads = [threading.Thread(target=some, args=(base,)) for base in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {base: [3 * (base + x) for x in range(50)] for base in range(0, 400, 100)}


def test_10000_futures_come_back(stage: Stage) -> None:
    with stage.executor(packing=Packing(call_seconds=0.01)) as ex:
        assert list(ex.map(scaled, range(10_000))) == [3 * x for x in range(10_000)]


def test_what_cannot_travel_is_refused_by_submit_and_harms_no_other_call(ex: Executor) -> None:
    with pytest.raises(CannotTravel, match="argument 1"):
        ex.submit(scaled, threading.Lock())  # type: ignore[arg-type]
    assert ex.submit(scaled, 1).result(30) == 3


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


def test_an_unknown_network_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"'local'.*'here'"):
        Executor("moon", budget=1)
