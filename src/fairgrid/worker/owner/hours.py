"""Days and hours in which a machine may work: ``mon-fri 19:00-07:00``, ``sat,sun 00:00-24:00``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fairgrid.errors import UsageError

__all__ = ["DAYS", "Window", "is_open", "local_time", "next_opening", "parse_window", "parse_zone"]

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 24 * 60
_FORM: Final = re.compile(r"([a-z,\-]+) (\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Window:
    """On each of ``days`` (0 is Monday) from minute ``begin`` on, ``length`` minutes long, over midnight if need be."""

    days: frozenset[int]
    begin: int
    length: int


def parse_window(text: str) -> Window:
    """Read a window; where it ends before it begins, it ends on the next day.

    Raises:
        UsageError: it has another form.
    """
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"{text!r} is no window of time. Write days and hours, like 'mon-fri 19:00-07:00'.")
    begin, end = (int(found[at]) * 60 + int(found[at + 1]) for at in (2, 4))
    if begin >= _DAY_MINUTES or end > _DAY_MINUTES or int(found[3]) > 59 or int(found[5]) > 59:
        raise UsageError(f"{text!r} names an hour that no day has: from 00:00 to 24:00.")
    if begin == end:
        raise UsageError(f"{text!r} is empty. The whole day is 00:00-24:00.")
    return Window(_days(found[1], text), begin, (end - begin) % _DAY_MINUTES or _DAY_MINUTES)


def parse_zone(name: str) -> tzinfo | None:
    """The time zone of an IANA name; None (the machine's own) for the empty name.

    Raises:
        UsageError: there is no such zone here.
    """
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {name!r} here. Write one like 'Europe/Paris' or 'UTC'.") from None


def local_time(now: float, zone: str = "") -> datetime:
    """The wall clock at ``now`` (seconds since the epoch) in a zone that `parse_zone` takes."""
    return datetime.fromtimestamp(now, parse_zone(zone)) if zone else datetime.fromtimestamp(now).astimezone()


def is_open(windows: tuple[Window, ...], moment: datetime) -> bool:
    """True when the wall clock of ``moment`` lies in one of the windows, or there are none."""
    minute = moment.hour * 60 + moment.minute
    for window in windows:
        if moment.weekday() in window.days and window.begin <= minute < window.begin + window.length:
            return True
        yesterday = (moment.weekday() - 1) % 7
        if yesterday in window.days and minute + _DAY_MINUTES < window.begin + window.length:
            return True
    return not windows


def next_opening(windows: tuple[Window, ...], moment: datetime) -> datetime | None:
    """When the next window begins after ``moment``, by the wall clock; None without windows."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = [
        midnight + timedelta(days=ahead, minutes=window.begin)
        for ahead in range(8)
        for window in windows
        if (moment.weekday() + ahead) % 7 in window.days
    ]
    return min((begin for begin in begins if begin > moment), default=None)


def _days(text: str, whole: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS or part.endswith("-"):
            raise UsageError(f"{whole!r} names a day that there is not. Days are {', '.join(DAYS)}.")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days.update((begin + ahead) % 7 for ahead in range((end - begin) % 7 + 1))
    return frozenset(days)
