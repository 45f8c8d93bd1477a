"""Deadlines of a task, in seconds of chain time; ``timeref`` is the category's `workClockTimeRef` in seconds.

Contribution and final deadlines count from the *deal*, so all tasks of a bag share them; the reveal deadline counts
from the consensus. An act is in time strictly before its deadline; a claim is possible from the final deadline on.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CONTRIBUTION_DEADLINE_RATIO",
    "FINAL_DEADLINE_RATIO",
    "REVEAL_DEADLINE_RATIO",
    "contribution_deadline",
    "final_deadline",
    "reveal_deadline",
]

CONTRIBUTION_DEADLINE_RATIO: Final = 7
REVEAL_DEADLINE_RATIO: Final = 2
FINAL_DEADLINE_RATIO: Final = 10


def contribution_deadline(start_time: int, timeref: int) -> int:
    """Contributions are accepted before this; ``start_time`` is the time of the match."""
    return start_time + CONTRIBUTION_DEADLINE_RATIO * timeref


def reveal_deadline(consensus_time: int, timeref: int) -> int:
    """Reveals are accepted before this; from then on the scheduler may finalize with the reveals it has."""
    return consensus_time + REVEAL_DEADLINE_RATIO * timeref


def final_deadline(start_time: int, timeref: int) -> int:
    """The scheduler may finalize before this; from then on anybody may claim the refund."""
    return start_time + FINAL_DEADLINE_RATIO * timeref
