"""Names of groups and containers: they say which process of this machine made them, so that a later one knows whose
are left over."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Final

__all__ = ["CONTAINER_PREFIX", "GROUP_PREFIX", "is_left_over", "next_number", "numbered_name"]

GROUP_PREFIX: Final = "fairgrid"
CONTAINER_PREFIX: Final = "fairgrid-job"
_NAME: Final = re.compile(r"fairgrid(?:-job)?-(\d+)-(\d+)-\d+", re.ASCII)
_numbers = itertools.count(1)


def next_number() -> int:
    """A number that nothing else of this process has."""
    return next(_numbers)


def numbered_name(number: int, *, prefix: str = GROUP_PREFIX) -> str:
    """A name that nothing else of this machine has, for a number of `next_number`."""
    return f"{prefix}-{os.getpid()}-{_started(os.getpid())}-{number}"


def is_left_over(name: str) -> bool:
    """True for a name of ours whose process is gone."""
    found = _NAME.fullmatch(name)
    return found is not None and _started(int(found[1])) != int(found[2])


def _started(pid: int) -> int:
    """When the kernel says that a process began, in ticks since the machine started; 0: there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
