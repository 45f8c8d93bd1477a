from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import RunInterrupted
from fairgrid.executors.backend import DealJob
from fairgrid.executors.calls import Call
from fairgrid.executors.futures import CallFuture
from fairgrid.executors.open_calls import CallCounts, Intake, OpenCalls
from fairgrid.executors.record import DealPlan
from fairgrid.executors.results import TaskResults

NOWHERE = Path("nowhere")


def call(number: int) -> Call:
    return Call(number, f'{number}\t{{"f": "f"}}', "bundle")


def plan(name: str, *tasks: tuple[Call, ...]) -> DealPlan:
    return DealPlan(DealJob(name, NOWHERE, (), ()), tasks, NOWHERE)


def taken(calls: OpenCalls, *numbers: int) -> list[CallFuture[Any]]:
    futures = [CallFuture[Any]() for _ in numbers]
    for number, future in zip(numbers, futures, strict=True):
        calls.add(call(number), future)
    return futures


def counted(calls: OpenCalls) -> tuple[int, int, int]:
    counts: CallCounts = calls.counts()
    return counts.taken, counts.done, counts.failed


def test_only_the_first_call_since_nothing_waited_wakes_the_dispatcher() -> None:
    calls = OpenCalls("run")
    assert calls.intake() is Intake.EMPTY
    assert [calls.add(call(number), CallFuture()) for number in range(3)] == [True, False, False]
    assert calls.intake() is Intake.WAITING and [one.number for one in calls.take()] == [0, 1, 2]
    assert calls.intake() is Intake.EMPTY and calls.add(call(3), CallFuture())


def test_what_was_taken_before_the_end_is_still_done_and_nothing_is_taken_after_it() -> None:
    calls = OpenCalls("run")
    taken(calls, 0)
    calls.close(cancel=False)
    assert calls.intake() is Intake.WAITING
    with pytest.raises(RuntimeError, match="after shutdown"):
        calls.add(call(1), CallFuture())
    calls.take()
    assert calls.intake() is Intake.CLOSED


def test_a_cancelled_call_does_not_begin_and_a_begun_one_cannot_be_cancelled() -> None:
    calls = OpenCalls("run")
    dropped, kept = taken(calls, 0, 1)
    assert dropped.cancel()
    assert [one.number for one in calls.begin(calls.take())] == [1]
    assert not kept.cancel() and counted(calls) == (2, 1, 0)


def test_closing_drops_what_waits_if_that_is_wanted_and_not_what_has_begun() -> None:
    calls = OpenCalls("run")
    (begun,) = taken(calls, 0)
    calls.begin(calls.take())
    (waiting,) = taken(calls, 1)
    calls.close(cancel=True)
    assert waiting.cancelled() and begun.running()


def test_results_end_their_calls_each_with_its_own() -> None:
    calls, results = OpenCalls("run"), TaskResults(NOWHERE)
    good, bad = taken(calls, 0, 1)
    task = tuple(calls.begin(calls.take()))
    rest = calls.park(task, results, [b'{"value": 7}', b"no result"])
    calls.resolve(rest, [results.ending(line, one) for line, one in rest])
    assert good.result(0) == 7 and "cannot be read" in str(bad.exception(0))
    assert counted(calls) == (2, 2, 1)


def test_a_deal_that_fails_fails_no_call_that_a_later_deal_has() -> None:
    calls = OpenCalls("run")
    first, second = taken(calls, 0, 1)
    one, two = calls.begin(calls.take())
    earlier = plan("earlier", (one, two))
    calls.plan(earlier)
    assert calls.owns(earlier, (one, two))
    calls.release((two,))
    calls.plan(plan("later", (two,)))
    assert not calls.owns(earlier, (one, two))
    calls.fail([one, two], ValueError("no"), of=earlier)
    assert isinstance(first.exception(0), ValueError) and not second.done()


def test_results_of_an_earlier_process_wait_until_they_are_claimed() -> None:
    calls, results, one, two = OpenCalls("run"), TaskResults(NOWHERE), call(0), call(1)
    futures = calls.recover([plan("deal", (one, two))])
    calls.claim(1, None)
    rest = calls.park((one, two), results, [b'{"value": 1}', b'{"value": 2}'])
    assert [found.number for _, found in rest] == [1] and not futures[0].done()
    calls.claim(0, None)
    assert futures[0].result(0) == 1


def test_calls_without_an_end_are_told_why_when_nobody_follows_them_any_more() -> None:
    calls = OpenCalls("run-7")
    (begun,) = taken(calls, 0)
    calls.begin(calls.take())
    (waiting,) = taken(calls, 1)
    assert calls.abandon() == 2
    calls.end("the machine went away")
    assert waiting.cancelled()
    with pytest.raises(RunInterrupted, match="went away"):
        begun.result(0)
