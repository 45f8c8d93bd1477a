"""At the interpreter's exit nobody will look at the futures: runs are left, and it is said how they go on."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import Protocol

__all__ = ["leave_at_exit", "tell_left"]


class Leaver(Protocol):
    """A run in this process."""

    run_id: str

    @property
    def is_alive(self) -> bool:
        """Whether it still works."""
        ...

    def abandon(self, reason: str) -> int:
        """Stop waiting for anything; gives how many calls had no end yet."""
        ...


_LIVE: weakref.WeakSet[Leaver] = weakref.WeakSet()


def leave_at_exit(run: Leaver) -> None:
    """From now on the interpreter's exit does not wait for this run, and names it if calls of it are open."""
    _LIVE.add(run)


def tell_left(run_id: str, calls: int) -> None:
    """Say on stderr how to go on with a run that was left with open calls."""
    sys.stderr.write(
        f"fairgrid: {calls} calls of run {run_id} were still open. What was paid for goes on: "
        f"Executor.resume({run_id!r}) fetches it.\n"
    )


def _leave() -> None:
    for run in list(_LIVE):
        if run.is_alive and (left := run.abandon("the interpreter ended")):
            tell_left(run.run_id, left)


atexit.register(_leave)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LIVE.clear)
