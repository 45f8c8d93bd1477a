"""What a waiting requester sees: coarse phases, never a result before the chain has agreed on one (decision 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["OnProgress", "Phase", "Progress", "WorkerProgress", "ignore_progress"]


class Phase(StrEnum):
    """Where a submitted job is, as its requester sees it."""

    PREPARING = "preparing"
    SIGNING = "signing"
    MATCHING = "matching"
    WAITING = "waiting for the pool"
    COMPUTING = "computing"
    REVEALING = "revealing"
    FINALIZING = "finalizing"
    FETCHING = "fetching and verifying"
    DONE = "done"
    REFUNDING = "taking the money back"


@dataclass(frozen=True, slots=True)
class WorkerProgress:
    """One worker on the task, and its coarse phase."""

    worker: str
    phase: str


@dataclass(frozen=True, slots=True)
class Progress:
    """One sign of life. ``note`` is for people: what was just done, or what is being waited for."""

    phase: Phase
    note: str = ""
    workers: tuple[WorkerProgress, ...] = ()


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """For callers that do not look."""
