"""A worker that ends by itself when there is nothing for it to do: for a machine that is paid by the hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fairgrid.errors import UsageError
from fairgrid.seams.clock import Clock
from fairgrid.worker.setup.pilot import parse_duration

__all__ = ["parse_idle", "wait_until_idle"]

_LOOKS: Final = 20
"""So often it is looked while the time goes by."""
_LONGEST_REST_S: Final = 5.0


def parse_idle(text: str) -> float:
    """Seconds of a duration such as ``10m``.

    Raises:
        UsageError: it is none, or none at all.
    """
    seconds = parse_duration(text)
    if not seconds:
        raise UsageError(f"--idle-exit takes a duration like 10m or 2h, not {text!r}.")
    return float(seconds)


async def wait_until_idle(idle_s: float, is_busy: Callable[[], bool], *, clock: Clock) -> None:
    """Return once nothing was held for ``idle_s`` seconds without a break."""
    rest_s = min(idle_s / _LOOKS, _LONGEST_REST_S)
    since = clock.now()
    while clock.now() - since < idle_s:
        await clock.sleep(rest_s)
        if is_busy():
            since = clock.now()
