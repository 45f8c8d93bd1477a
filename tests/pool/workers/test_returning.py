"""Whom a pool expects back."""

from __future__ import annotations

from fairgrid.pool.core.worker_state import WorkerState
from fairgrid.pool.workers.returning import Absences, Return

START = 1_000.0
LATER = START + 500


def connected(*owners: str) -> dict[str, WorkerState]:
    return {owner: WorkerState(f"worker of {owner}", owner, 1, 0, 2, 1) for owner in owners}


def test_pool_that_began_a_moment_ago_expects_workers_that_it_cannot_name() -> None:
    absences = Absences(START)
    assert absences.expected({}, START + 10) == Return(20, None)
    assert absences.expected({}, START + 31) == Return(0, None)


def test_owner_that_was_lost_is_expected_for_a_minute() -> None:
    absences = Absences(START)
    absences.lost("alice", 3, LATER)
    assert absences.expected(connected("bob"), LATER + 20) == Return(40, 6)
    assert absences.expected(connected("bob"), LATER + 60) == Return(0, None)


def test_owner_that_came_back_or_has_another_worker_is_not_expected() -> None:
    absences = Absences(START)
    absences.lost("alice", 3, LATER)
    assert absences.expected(connected("alice"), LATER + 1) == Return(0, None)


def test_the_last_one_that_was_lost_says_how_long_to_wait() -> None:
    absences = Absences(START)
    absences.lost("alice", 2, LATER)
    absences.lost("bob", 2, LATER + 30)
    assert absences.expected({}, LATER + 40) == Return(50, 4)
    assert absences.expected({}, LATER + 70) == Return(20, 2)
