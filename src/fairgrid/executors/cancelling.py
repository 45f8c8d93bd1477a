"""Pure: what cancelling a run stopped, and what of its money comes back when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fairgrid.protocol.amounts import format_amount

__all__ = ["Cancelled"]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a run that was cancelled."""

    run_id: str
    dropped: int
    """Calls that were not signed: they cost nothing."""
    open_tasks: int
    """In signed deals that go on: a deal cannot be taken back before its deadline."""
    locked: int
    """For these (nRLC)."""
    returns_at: float | None
    """From then on (seconds since 1970, by the chain's time) the money of every task without a result can be taken
    back; None if nothing is locked on a chain."""

    def __str__(self) -> str:
        dropped = f"{self.dropped} calls were dropped: nothing was signed for them."
        if not self.open_tasks:
            return f"{dropped} No deal is open, nothing is locked."
        goes_on = f"{self.open_tasks} tasks go on, and {format_amount(self.locked)} are locked for them."
        if self.returns_at is None:
            return f"{dropped} {goes_on}"
        when = datetime.fromtimestamp(self.returns_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return (
            f"{dropped} {goes_on} A task with a result is paid for; the money of the others comes back after {when}: "
            f"this executor takes it back if it is still there, else Executor.resume({self.run_id!r}) does."
        )
