"""The behaviour of an executor as the standard library promises it, with the real runner behind it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import math
import operator
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from fairgrid.errors import CannotTravel, UsageError
from fairgrid.executors.executor import Executor
from fairgrid.executors.packing import Packing
from tests.executors.simple_calls import NEVER, Point, divide, nap, scaled
from tests.executors.stage import Stage


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


def test_an_unknown_network_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"'local'.*'here'"):
        Executor("moon", budget=1)
