"""Starting child processes so that none is left behind, whenever the one who starts it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

__all__ = ["end_child", "signal_group", "start_child"]


async def start_child(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """As `asyncio.create_subprocess_exec`, which loses a child that it has started when it is cancelled half way.

    A cancellation that comes meanwhile ends the child, which must lead a session of its own, and then goes on.

    Raises:
        OSError: it cannot be started.
    """
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*command, **{**options, "start_new_session": True}))
    cancelled = False
    while not starting.done():
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            cancelled = True
        except OSError:
            break
    if not cancelled:
        return starting.result()
    if starting.exception() is None:
        await end_child(starting.result())
    raise asyncio.CancelledError


async def end_child(process: asyncio.subprocess.Process) -> None:
    """Kill the child's process group, and wait until the child is gone, also while being cancelled.

    A cancellation that comes meanwhile is dropped: whoever ends a child does so on the way out.
    """
    if process.returncode is None:
        signal_group(process.pid, signal.SIGKILL)
    # No task of its own that waits: a loop that ends cancels all of them, this one included.
    while process.returncode is None:
        with contextlib.suppress(asyncio.CancelledError):
            await process.wait()
    if process.stdin is not None:
        process.stdin.close()


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
