"""How people write down sizes, graphics processors and lists of arguments; what cannot be meant is refused."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from fairgrid.client.job import MAX_KEEP_DAYS
from fairgrid.errors import UsageError
from fairgrid.protocol.needs import GpuNeed

__all__ = ["parse_days", "parse_gpus", "parse_size", "read_items"]

_SIZE = re.compile(r"(\d{1,12})\s*([KMG]?)I?B?", re.ASCII | re.IGNORECASE)
_GPUS = re.compile(r"(\d{1,3})(?::(\d{1,9}\s*[kmg]i?b?)?(?::([a-z0-9][a-z0-9 ._-]{0,99}))?)?", re.ASCII)
_DAYS = re.compile(r"(\d{1,6})\s*([dw]?)", re.ASCII)
_MOST_GPUS = 64
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str, option: str) -> int:
    """Bytes of ``512M``, ``2G``, ``4096``; K, M and G are powers of 1,024.

    Raises:
        UsageError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise UsageError(f"{option} {text!r} is not a size. Give one such as 512M or 2G.")
    return int(found[1]) * _UNITS[found[2].upper()]


def parse_days(text: str | int, option: str) -> int:
    """Days of ``7d``, ``2w`` or ``7``.

    Raises:
        UsageError: it is no number of days.
    """
    found = _DAYS.fullmatch(str(text).strip().lower())
    if found is None:
        raise UsageError(f"{option} {text!r} is no number of days. Give one such as 7d or 4w. Nothing was signed.")
    days = int(found[1]) * (7 if found[2] == "w" else 1)
    if not 1 <= days <= MAX_KEEP_DAYS:
        raise UsageError(f"{option} {text!r} is not from 1 to {MAX_KEEP_DAYS} days. Nothing was signed.")
    return days


def parse_gpus(text: str) -> GpuNeed:
    """What ``--gpus`` says: ``2``, ``2:16G`` (memory of each), or ``1:40G:a100`` (a part of the model's name).

    Raises:
        UsageError: it says something else.
    """
    found = _GPUS.fullmatch(text.strip().lower())
    if found is None or not 1 <= int(found[1]) <= _MOST_GPUS:
        raise UsageError(
            f"--gpus {text!r} is not COUNT[:MEMORY[:MODEL]] with a count from 1 to {_MOST_GPUS}. Give one such as 1, "
            f"2:16G or 1:40G:a100."
        )
    return GpuNeed(int(found[1]), parse_size(found[2], "--gpus") if found[2] else 0, found[3] or "")


def read_items(file: Path) -> list[list[str]]:
    """The arguments of a bag's tasks: one line a task, split as a shell does; empty lines are skipped.

    Raises:
        UsageError: it cannot be read, or a quote is not closed.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The list of arguments {file} cannot be read ({error}). Nothing was signed.") from error
    items: list[list[str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            items.append(shlex.split(line))
        except ValueError as error:
            raise UsageError(f"Line {number} of {file} cannot be split into arguments: {error}.") from error
    if not items:
        raise UsageError(f"The list of arguments {file} is empty: a bag has a line for each task. Nothing was signed.")
    return items
