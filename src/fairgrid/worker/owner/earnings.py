"""What a worker earned, day by day and pool by pool, from its own history."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from fairgrid.worker.records.store import Finished

__all__ = ["DayOfPool", "Ledger", "csv_of", "days_of", "sparkline"]

_BARS: Final = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class DayOfPool:
    """One pool on one day of the machine's calendar. ``earned`` in nRLC; ``unpaid`` contributions brought nothing."""

    day: date
    workerpool: str
    tasks: int
    paid: int
    unpaid: int
    earned: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The history held against the chain, in nRLC.

    ``unexplained`` is what account and history differ by: deposits count for it, withdrawals against it, and so do
    rewards and stakes lost that the history does not have.
    """

    earned: int
    stake: int
    locked: int

    @property
    def unexplained(self) -> int:
        return self.stake + self.locked - self.earned


def days_of(history: Iterable[Finished]) -> tuple[DayOfPool, ...]:
    """The history added up, oldest day first, then by pool. Tasks handed back before a contribution do not count."""
    sums: dict[tuple[date, str], list[int]] = {}
    for line in history:
        if line.outcome not in ("completed", "failed"):
            continue
        key = datetime.fromtimestamp(line.finished_at).date(), line.workerpool
        tasks, paid, unpaid, earned = sums.get(key, [0, 0, 0, 0])
        got = line.earned or 0
        sums[key] = [tasks + 1, paid + (got > 0), unpaid + (got == 0), earned + got]
    return tuple(DayOfPool(day, pool, *numbers) for (day, pool), numbers in sorted(sums.items()))


def csv_of(days: Sequence[DayOfPool]) -> str:
    """One line a day and pool, with a head line."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["day", "workerpool", "tasks", "paid", "unpaid", "earned_nrlc"])
    for line in days:
        table.writerow([line.day.isoformat(), line.workerpool, line.tasks, line.paid, line.unpaid, line.earned])
    return text.getvalue()


def sparkline(days: Sequence[DayOfPool], *, last: date, count: int = 30) -> str:
    """One bar for each of the ``count`` days up to ``last``; a day without earnings is a blank."""
    totals = {last - timedelta(days=ago): 0 for ago in range(count)}
    for line in days:
        if line.day in totals:
            totals[line.day] += line.earned
    most = max(totals.values(), default=0)
    return "".join(
        " " if not totals[day] else _BARS[min(totals[day] * len(_BARS) // (most + 1), len(_BARS) - 1)]
        for day in sorted(totals)
    )
