"""Names of containers and cgroups: they say which process of this machine made them, so that a sweep knows whose
are left over."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Final

__all__ = ["is_left_over", "new_name"]

_PREFIX: Final = "fairgrid-job"
_NAME: Final = re.compile(rf"{_PREFIX}-(\d+)-(\d+)-\d+", re.ASCII)
_numbers = itertools.count(1)


def new_name() -> str:
    """A name that no other container of this machine has."""
    return f"{_PREFIX}-{os.getpid()}-{_started(os.getpid())}-{next(_numbers)}"


def is_left_over(name: str) -> bool:
    """True for a name of ours whose process is gone."""
    found = _NAME.fullmatch(name)
    return found is not None and _started(int(found[1])) != int(found[2])


def _started(pid: int) -> int:
    """When the kernel says that a process began, in ticks since the machine started; 0: there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])
