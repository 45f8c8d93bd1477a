"""Compiled interpreters are native code that this machine will execute: only their owner may have written them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fairgrid.errors import HostFailure

__all__ = ["check_native_code"]


def check_native_code(path: Path) -> None:
    """Accept only a regular file of this user or root that no group and nobody else can write.

    Raises:
        HostFailure: it is missing, a link, or somebody else could have changed it.
    """
    try:
        found = path.lstat()
    except OSError as error:
        raise HostFailure(
            f"The compiled interpreter {path} is missing ({error.strerror}). Run `fairgrid runtime install`."
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise HostFailure(f"The compiled interpreter {path} is not a regular file. Remove it and install again.")
    if os.name != "posix":
        return
    if found.st_uid not in (0, os.geteuid()):
        raise HostFailure(
            f"The compiled interpreter {path} belongs to user {found.st_uid}: it is native code and would run as you. "
            f"Remove it, or set FAIRGRID_CACHE to a folder of yours, then run `fairgrid runtime install`."
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise HostFailure(
            f"The compiled interpreter {path} can be written by others (mode {stat.filemode(found.st_mode)}): it is "
            f"native code and would run as you. Remove it and run `fairgrid runtime install`."
        )
