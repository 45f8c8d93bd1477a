"""What is changed of the host between two runs of one job. Each change is made in a process of its own."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["AGAIN", "CONDITIONS", "Condition", "apply_condition"]

_CLONE_NEWUTS: Final = 0x04000000


@dataclass(frozen=True, slots=True)
class Condition:
    """One change of the host; every other thing is as in the first run."""

    name: str
    text: str
    """For people: what was different."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables of the host's processes; a sandbox keeps them from the job."""
    one_core: bool = False
    host_name: str = ""
    reversed_folders: bool = False
    """Files are laid into the job's folders in the opposite order, as another file system would list them."""


AGAIN: Final = Condition("again", "nothing but the time of day")

CONDITIONS: Final = (
    AGAIN,
    Condition("folders", "the order of files in the input folder", reversed_folders=True),
    Condition("cores", "one processor core instead of all", one_core=True),
    Condition("host name", "the machine's name", host_name="another-host"),
    Condition(
        "environment",
        "locale, time zone and hash seed of the machine",
        environment=(
            ("LANG", "tr_TR.UTF-8"),
            ("LC_ALL", "POSIX"),
            ("PYTHONHASHSEED", "4711"),
            ("TZ", "Asia/Kathmandu"),
            ("OMP_NUM_THREADS", "3"),
        ),
    ),
)
"""In the order in which they are tried."""


def apply_condition(condition: Condition) -> str:
    """Change this process, and hence those that it starts; gives why a part could not be changed, or an empty text."""
    os.environ.update(_as_mapping(condition.environment))
    faults = []
    if condition.one_core:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        else:
            faults.append("this system cannot bind a process to one core")
    if condition.host_name and not _rename_host(condition.host_name):
        faults.append("only root can give a process another host name")
    return "; ".join(faults)


def _as_mapping(pairs: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(pairs)


def _rename_host(name: str) -> bool:
    """A host name of this process's own; False where that is not allowed."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.unshare(_CLONE_NEWUTS) != 0:
            return False
        return bool(library.sethostname(name.encode(), len(name)) == 0)
    except (OSError, AttributeError):
        return False
