"""Windows of days and hours: over midnight, over the week's end, in the owner's zone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fairgrid.errors import UsageError
from fairgrid.worker.owner.hours import is_open, local_time, next_opening, parse_window, parse_zone

# 2026-11-23 is a Monday.
MONDAY, SUNDAY = 23, 29


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "moment", "open_"),
    [
        ("mon-fri 09:00-17:00", at(MONDAY, 9), True),
        ("mon-fri 09:00-17:00", at(MONDAY, 8, 59), False),
        ("mon-fri 09:00-17:00", at(MONDAY, 16, 59), True),
        ("mon-fri 09:00-17:00", at(MONDAY, 17), False),
        ("mon-fri 09:00-17:00", at(SUNDAY, 12), False),
        ("sun 22:00-06:00", at(MONDAY, 5, 59), True),
        ("sun 22:00-06:00", at(MONDAY, 6), False),
        ("mon 22:00-06:00", at(MONDAY, 5), False),
        ("sat,sun 00:00-24:00", at(SUNDAY, 23, 59), True),
        ("sat,sun 00:00-24:00", at(MONDAY, 0), False),
        ("fri-mon 10:00-11:00", at(SUNDAY, 10), True),
        ("fri-mon 10:00-11:00", at(MONDAY + 1, 10), False),
    ],
)
def test_a_window_is_open_from_its_first_minute_to_before_its_last(window: str, moment: datetime, open_: bool) -> None:
    assert is_open((parse_window(window),), moment) is open_


def test_without_windows_it_is_always_open() -> None:
    assert is_open((), at(MONDAY, 3)) and next_opening((), at(MONDAY, 3)) is None


def test_one_of_several_windows_is_enough() -> None:
    windows = (parse_window("mon 08:00-09:00"), parse_window("mon 12:00-13:00"))
    assert is_open(windows, at(MONDAY, 12)) and not is_open(windows, at(MONDAY, 10))
    assert next_opening(windows, at(MONDAY, 10)) == at(MONDAY, 12)
    assert next_opening(windows, at(MONDAY, 12)) == datetime(2026, 11, 30, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("always", "no window"),
        ("mon 9:00-17:00", "no window"),
        ("mon 09:00-09:00", "empty"),
        ("mon 24:00-25:00", "no day has"),
        ("mon 10:00-24:01", "no day has"),
        ("mon 10:60-11:00", "no day has"),
        ("day 10:00-11:00", "names a day"),
        ("mon- 10:00-11:00", "names a day"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_window(text)


def test_the_zone_decides_what_the_wall_clock_says() -> None:
    noon_utc = datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()
    assert local_time(noon_utc, "Europe/Paris").hour == 14
    assert local_time(noon_utc, "UTC").hour == 12
    with pytest.raises(UsageError, match="no time zone"):
        parse_zone("Europe/Nowhere")
