"""What CPython's own tests of `concurrent.futures` ask of every executor, asked of ours in our words."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import time
import weakref
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future, as_completed, wait
from typing import Any

import pytest

from fairgrid.errors import ServiceUnavailable
from fairgrid.executors import timing
from fairgrid.executors.asynchronous import AsyncExecutor
from fairgrid.executors.packing import Packing
from fairgrid.executors.timing import Timing
from tests.executors.simple_calls import NEVER, divide, nap, scaled
from tests.executors.stage import QUICK, Stage

NOW = Packing(width=50)


class Falsey(Exception):
    """An exception that is false."""

    def __bool__(self) -> bool:
        return False


def fail_falsely() -> None:
    raise Falsey


def table(n: int) -> list[int]:
    return list(range(n))


def divide_slowly(seconds: float) -> float:
    return divide(int(nap(seconds)), 1)


def threads_of(run_id: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"fairgrid-{run_id}"]


def test_wait_returns_at_the_first_that_is_done_and_names_the_others(stage: Stage) -> None:
    with stage.executor(packing=NOW) as ex:
        quick, slow = ex.submit(nap, 0), ex.submit(nap, 2)
        done, open_ones = wait([quick, slow], timeout=30, return_when=FIRST_COMPLETED)
        assert (done, open_ones) == ({quick}, {slow})
        done, open_ones = wait([quick, slow], timeout=30, return_when=ALL_COMPLETED)
        assert (done, open_ones) == ({quick, slow}, set())


def test_wait_returns_at_an_exception_while_others_run_and_at_once_for_an_old_one(stage: Stage) -> None:
    with stage.executor(packing=NOW) as ex:
        bad, slow = ex.submit(divide, 1, 0), ex.submit(divide_slowly, 2)
        done, open_ones = wait([bad, slow], timeout=30, return_when=FIRST_EXCEPTION)
        assert (done, open_ones) == ({bad}, {slow})
        assert wait([bad, slow], timeout=0, return_when=FIRST_EXCEPTION).done == {bad}


def test_wait_counts_a_cancelled_call_as_done_once_the_executor_has_seen_it(stage: Stage) -> None:
    with stage.executor(timing=Timing(window=0.3), packing=NOW) as ex:
        dropped, kept = ex.submit(nap, 1.5), ex.submit(nap, 2)
        assert dropped.cancel()
        done, open_ones = wait([dropped, kept], timeout=30, return_when=FIRST_COMPLETED)
        assert (done, open_ones) == ({dropped}, {kept})


def test_whoever_waits_for_calls_that_are_left_behind_is_woken(stage: Stage) -> None:
    ex = stage.executor(timing=NEVER)
    futures = [ex.submit(scaled, 1), ex.submit(scaled, 2)]
    ex._dispatcher.abandon("the test is over")
    assert wait(futures, timeout=10).done == set(futures)
    assert list(as_completed(futures, timeout=1)) and all(future.cancelled() for future in futures)


def test_as_completed_without_time_gives_what_is_done_and_then_times_out(stage: Stage) -> None:
    with stage.executor(packing=NOW) as ex:
        quick = ex.submit(nap, 0)
        quick.result(30)
        found = as_completed([quick, ex.submit(nap, 1)], timeout=0)
        assert next(found) is quick
        with pytest.raises(TimeoutError, match="futures unfinished"):
            next(found)


def test_as_completed_gives_a_future_that_was_given_twice_once(stage: Stage) -> None:
    with stage.executor() as ex:
        future = ex.submit(scaled, 1)
        assert list(as_completed([future, future], timeout=30)) == [future]


def test_map_submits_everything_before_anything_is_read(stage: Stage) -> None:
    with stage.executor() as ex:
        results = ex.map(scaled, range(3))
        end = time.monotonic() + 30
        while not stage.backend.signed:
            assert time.monotonic() < end
            time.sleep(0.01)
        del results


def test_map_gives_what_is_done_before_its_time_is_over(stage: Stage) -> None:
    with stage.executor(packing=NOW) as ex:
        results = ex.map(nap, [0, 0, 20], timeout=6)
        assert [next(results), next(results)] == [0, 0]
        with pytest.raises(TimeoutError):
            next(results)
        ex._dispatcher.abandon("the test is over")


def test_map_raises_exceptions_that_are_false(stage: Stage) -> None:
    with stage.executor() as ex, pytest.raises(Exception, match="Falsey"):
        list(ex.map(lambda _: fail_falsely(), range(2)))


def test_results_that_were_read_are_held_by_nobody(stage: Stage) -> None:
    with stage.executor() as ex:
        held = [weakref.ref(future) for future in _run(ex, [ex.submit(table, n) for n in range(5)])]
        results = ex.map(table, range(4), chunksize=1)
        next(results)
        gc.collect()
        assert [one for one in held if one() is not None] == []
        assert sum(len(value) for value in results) == 6


def _run(ex: concurrent.futures.Executor, futures: list[Future[Any]]) -> list[Future[Any]]:
    for future in futures:
        future.result(30)
    ex.submit(scaled, 1).result(30)
    return futures


def test_an_executor_that_nobody_holds_finishes_its_calls_and_ends_its_thread(stage: Stage) -> None:
    ex = stage.executor()
    future, results, run_id = ex.submit(scaled, 1), ex.map(scaled, range(3)), ex.run_id
    assert threads_of(run_id)
    del ex
    assert future.result(30) == 3 and list(results) == [0, 3, 6]
    del results
    end = time.monotonic() + 30
    while threads_of(run_id):
        assert time.monotonic() < end
        gc.collect()
        time.sleep(0.05)


def test_shutdown_that_cancels_keeps_what_runs(stage: Stage) -> None:
    ex = stage.executor(packing=NOW)
    running = ex.submit(nap, 1)
    while not running.running():
        time.sleep(0.01)
    ex.shutdown(cancel_futures=True)
    assert running.result(0) == 1


def test_shutdown_without_waiting_may_be_followed_by_one_that_waits(stage: Stage) -> None:
    ex = stage.executor()
    future = ex.submit(nap, 0.5)
    ex.shutdown(wait=False)
    ex.shutdown(wait=True)
    assert future.done() and threads_of(ex.run_id) == []


def test_a_block_that_raises_still_waits_for_its_calls(stage: Stage) -> None:
    with pytest.raises(ZeroDivisionError):
        with stage.executor() as ex:
            future = ex.submit(scaled, 2)
            divide(1, 0)
    assert future.result(0) == 6


def lost_while(lost: threading.Event, *where: str) -> Any:
    """Services do not answer while ``lost`` is set."""

    def trouble(asked: str) -> Exception | None:
        return ServiceUnavailable("pool", "http://127.0.0.1:1", "away") if lost.is_set() and asked in where else None

    return trouble


def test_a_network_that_is_lost_in_the_middle_of_a_map_and_returns_costs_nothing_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_RETRY_S", 0.02)
    lost, asked_in_vain = threading.Event(), 0
    stage.troubled(lost_while(lost, "price", "sign", "match"), price_nrlc=7)
    with stage.executor(budget=10_000) as ex:
        results = ex.map(scaled, range(30), chunksize=3, buffersize=6)
        seen = [next(results) for _ in range(6)]
        lost.set()
        before = len(stage.backend.asked)
        back = threading.Timer(1.0, lost.clear)
        back.start()
        seen += list(results)
        back.join()
        asked_in_vain = len(stage.backend.asked) - before
    assert seen == [3 * number for number in range(30)]
    assert asked_in_vain > 10
    receipt = ex.receipt()
    assert sum(deal.calls for deal in receipt.deals) == 30
    assert (receipt.spent, receipt.open) == (7 * sum(deal.tasks for deal in receipt.deals), 0)
    assert sorted(stage.backend.signed) == sorted(deal.job_name for deal in receipt.deals)


async def test_the_asynchronous_executor_outlives_a_lost_network_and_holds_thousands(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_RETRY_S", 0.02)
    lost = threading.Event()
    stage.troubled(lost_while(lost, "price", "sign", "match"))
    options = {"timing": QUICK, "packing": Packing(call_seconds=0.01)}
    async with AsyncExecutor(stage.place, **options) as ex:
        assert await ex.submit(scaled, 1) == 3
        lost.set()
        futures = [ex.submit(scaled, number) for number in range(2_000)]
        await asyncio.sleep(0.5)
        assert not any(future.done() for future in futures)
        lost.clear()
        assert await asyncio.gather(*futures) == [3 * number for number in range(2_000)]
