"""Cancelling a run stops what can be stopped, and says when the rest of the money comes back."""

from __future__ import annotations

import time

import pytest

from fairgrid.errors import ServiceUnavailable
from fairgrid.executors.asynchronous import AsyncExecutor
from fairgrid.executors.cancelling import Cancelled
from tests.executors.simple_calls import NEVER, nap, scaled
from tests.executors.stage import QUICK, Stage


def test_what_is_not_signed_is_dropped_and_what_is_goes_on_to_be_paid_for(stage: Stage) -> None:
    stage.troubled(price_nrlc=5)
    with stage.executor(budget=100) as ex:
        running = ex.submit(nap, 2)
        while not ex.receipt().open:
            time.sleep(0.01)
        told = ex.cancel()
        assert (told.dropped, told.open_tasks, told.locked, told.returns_at) == (0, 1, 5, None)
        assert "1 tasks go on, and 0.000000005 RLC are locked" in str(told)
        with pytest.raises(RuntimeError, match="after shutdown"):
            ex.submit(scaled, 1)
        assert running.result(30) == 2
    assert ex.receipt().spent == 5


def test_calls_that_wait_cost_nothing_and_are_counted_once(stage: Stage) -> None:
    ex = stage.executor(timing=NEVER)
    futures = [ex.submit(scaled, number) for number in range(4)]
    futures[0].cancel()
    told = ex.cancel()
    assert (told.dropped, told.open_tasks, told.locked) == (3, 0, 0)
    assert str(told) == "3 calls were dropped: nothing was signed for them. No deal is open, nothing is locked."
    assert ex.cancel().dropped == 0
    ex.shutdown()
    assert all(future.cancelled() for future in futures) and stage.plans() == []


def test_the_latest_deadline_is_when_all_of_the_money_is_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([1_700_000_060.0, 1_700_000_000.0])

    async def deadline(deal_id: str) -> float | None:
        return next(ends)

    stage.troubled(price_nrlc=5)
    monkeypatch.setattr(stage.backend, "deadline", deadline)
    with stage.executor(budget=100) as ex:
        ex.submit(nap, 3)
        while len(ex.receipt().deals) < 1:
            time.sleep(0.01)
        ex.submit(nap, 3.5)
        while len(ex.receipt().deals) < 2:
            time.sleep(0.01)
        told = ex.cancel()
    assert told.returns_at == 1_700_000_060.0
    assert "comes back after 2023-11-14 22:14:20 UTC: this executor takes it back" in str(told)
    assert f"Executor.resume({ex.run_id!r})" in str(told)


async def test_an_asynchronous_run_is_cancelled_too(stage: Stage) -> None:
    async with AsyncExecutor(stage.place, timing=NEVER) as ex:
        future = ex.submit(scaled, 1)
        assert (await ex.cancel()).dropped == 1
    assert future.cancelled()


def test_a_chain_that_is_away_is_told_and_the_calls_are_dropped(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deadline(deal_id: str) -> float | None:
        raise ServiceUnavailable("chain", "its node", "away")

    monkeypatch.setattr(stage.backend, "deadline", deadline)
    with stage.executor(timing=QUICK) as ex:
        ex.submit(nap, 1)
        while not ex.receipt().deals:
            time.sleep(0.01)
        with pytest.raises(ServiceUnavailable):
            ex.cancel()
        with pytest.raises(RuntimeError, match="after shutdown"):
            ex.submit(scaled, 1)


def test_nothing_to_say_is_said_shortly() -> None:
    assert str(Cancelled("run-1", 0, 0, 0, None)).startswith("0 calls were dropped")
