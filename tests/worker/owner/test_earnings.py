"""The worker's own books: by day and pool, as lines, as bars, against the chain."""

from __future__ import annotations

from datetime import date, datetime

from fairgrid.worker.core.held import Phase
from fairgrid.worker.owner.earnings import DayOfPool, Ledger, csv_of, days_of, sparkline
from fairgrid.worker.records.store import Finished

MONDAY = datetime(2026, 11, 23, 12)


def line(pool: str, earned: int | None, outcome: str = "completed", *, day: int = 23) -> Finished:
    at = MONDAY.replace(day=day).timestamp()
    return Finished("0x01", "0x02", pool, Phase.UPLOADED, outcome, earned, at)


def test_days_and_pools_are_added_up_apart() -> None:
    history = [line("A", 10), line("A", 5), line("B", 7), line("A", 1, day=24), line("A", 0, "failed")]
    assert days_of(history) == (
        DayOfPool(date(2026, 11, 23), "A", 3, 2, 1, 15),
        DayOfPool(date(2026, 11, 23), "B", 1, 1, 0, 7),
        DayOfPool(date(2026, 11, 24), "A", 1, 1, 0, 1),
    )
    assert sum(day.earned for day in days_of(history)) == sum(found.earned or 0 for found in history)


def test_what_was_handed_back_is_no_contribution() -> None:
    assert days_of([line("A", None, "handed back: stopped"), line("A", None, "aborted: late")]) == ()


def test_a_contribution_whose_reward_is_not_known_counts_as_unpaid() -> None:
    assert days_of([line("A", None)])[0].unpaid == 1


def test_the_table_has_a_line_for_each_day_and_pool() -> None:
    assert csv_of(days_of([line("A", 10)])) == ("day,workerpool,tasks,paid,unpaid,earned_nrlc\n2026-11-23,A,1,1,0,10\n")


def test_bars_rise_with_the_day_and_a_day_without_earnings_is_blank() -> None:
    days = days_of([line("A", 1, day=21), line("A", 800, day=23)])
    bars = sparkline(days, last=date(2026, 11, 23), count=4)
    assert bars == " ▁ █"
    assert sparkline((), last=date(2026, 11, 23), count=3) == "   "


def test_what_the_history_does_not_explain_is_said() -> None:
    assert Ledger(earned=30, stake=1_020, locked=10).unexplained == 1_000
