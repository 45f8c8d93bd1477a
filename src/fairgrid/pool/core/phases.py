"""The phases of a task and of a replica, and which phase may follow which: the diagram of the docs is this table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from fairgrid.errors import FairgridError

if TYPE_CHECKING:
    from fairgrid.pool.core.task_state import StoryLine

__all__ = [
    "ACTIVE_PHASES",
    "ENDED_REPLICA_PHASES",
    "EXPECTED_PHASES",
    "FAULTY_PHASES",
    "FINAL_PHASES",
    "TRANSITIONS",
    "InvalidTransition",
    "Phase",
    "ReplicaPhase",
]


class Phase(StrEnum):
    """How far a task is, as its pool sees it."""

    RECEIVED = "received"
    """Its deal is on chain; the task is not initialised yet."""
    INITIALIZING = "initializing"
    """The pool sent `initialize`."""
    SEALING = "sealing"
    """A round is open: workers compute and send seals, or the round waits for workers."""
    CONTRIBUTING = "contributing"
    """The round's seals are in: authorisations go out one at a time."""
    REVEALING = "revealing"
    """Consensus on chain; winners reveal, contributors open their seals."""
    UPLOADING = "uploading"
    """A winner revealed; one is asked for the result, which the pool checks."""
    FINALIZING = "finalizing"
    """The result is checked; the pool sent `finalize`."""
    REOPENING = "reopening"
    """Nobody revealed in time; the pool sent `reopen`, so that others may compute it anew."""
    ABANDONED = "abandoned"
    """It cannot complete any more; the refund is claimed at the final deadline."""
    CLAIMING = "claiming"
    """The final deadline passed; the pool sends `claim`, so that the requester is refunded."""
    COMPLETED = "completed"
    """Finalized on chain."""
    FAILED = "failed"
    """Claimed on chain: the requester has its money back."""
    SPLIT = "split"
    """A run whose workers disagreed: two smaller ones take its place."""


FINAL_PHASES = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.SPLIT})

ACTIVE_PHASES = frozenset(
    {
        Phase.RECEIVED,
        Phase.INITIALIZING,
        Phase.SEALING,
        Phase.CONTRIBUTING,
        Phase.REVEALING,
        Phase.UPLOADING,
        Phase.FINALIZING,
        Phase.REOPENING,
    }
)
"""Being worked on: these take the room that the policy's ``max_active_tasks`` gives."""

_LEADS_NOWHERE = (Phase.ABANDONED, Phase.CLAIMING, Phase.FAILED)

TRANSITIONS: Mapping[Phase, frozenset[Phase]] = MappingProxyType(
    {
        Phase.RECEIVED: frozenset({Phase.INITIALIZING, Phase.SEALING, *_LEADS_NOWHERE}),
        Phase.INITIALIZING: frozenset({Phase.SEALING, *_LEADS_NOWHERE}),
        Phase.SEALING: frozenset({Phase.CONTRIBUTING, Phase.REVEALING, Phase.COMPLETED, Phase.SPLIT, *_LEADS_NOWHERE}),
        Phase.CONTRIBUTING: frozenset({Phase.SEALING, Phase.REVEALING, Phase.COMPLETED, Phase.SPLIT, *_LEADS_NOWHERE}),
        Phase.REVEALING: frozenset({Phase.UPLOADING, Phase.REOPENING, Phase.COMPLETED, *_LEADS_NOWHERE}),
        Phase.UPLOADING: frozenset({Phase.FINALIZING, Phase.COMPLETED, *_LEADS_NOWHERE}),
        Phase.FINALIZING: frozenset({Phase.COMPLETED, *_LEADS_NOWHERE}),
        Phase.REOPENING: frozenset({Phase.SEALING, Phase.REVEALING, Phase.UPLOADING, Phase.COMPLETED, *_LEADS_NOWHERE}),
        Phase.ABANDONED: frozenset(
            {Phase.REVEALING, Phase.UPLOADING, Phase.CLAIMING, Phase.COMPLETED, Phase.FAILED, Phase.SPLIT}
        ),
        Phase.CLAIMING: frozenset({Phase.COMPLETED, Phase.FAILED}),
        Phase.COMPLETED: frozenset(),
        Phase.FAILED: frozenset(),
        Phase.SPLIT: frozenset(),
    }
)
"""What an event may do. Chain facts win: a `ChainReconciled` may put a task into any phase, also back."""


class ReplicaPhase(StrEnum):
    """How far one worker is with one task."""

    LEASED = "leased"
    SEALED = "sealed"
    AUTHORISED = "authorised"
    CONTRIBUTED = "contributed"
    AUDITING = "auditing"
    """Sealed and never authorised: its opening is compared with the consensus."""
    LATE = "late"
    """No seal within the window."""
    LOST = "lost"
    """Its worker went away, or forgot the lease."""
    DECLINED = "declined"
    """Its worker said that it cannot do it."""
    GIVEN_UP = "given_up"
    """Authorised, and no contribution was mined in time."""
    DISMISSED = "dismissed"
    """No longer needed."""
    BANNED = "banned"
    """Its worker was banned."""


EXPECTED_PHASES = frozenset({ReplicaPhase.LEASED, ReplicaPhase.SEALED, ReplicaPhase.AUTHORISED})
"""A contribution is still expected."""

ENDED_REPLICA_PHASES = frozenset(
    {
        ReplicaPhase.LATE,
        ReplicaPhase.LOST,
        ReplicaPhase.DECLINED,
        ReplicaPhase.GIVEN_UP,
        ReplicaPhase.DISMISSED,
        ReplicaPhase.BANNED,
    }
)


FAULTY_PHASES = (ReplicaPhase.LATE, ReplicaPhase.LOST, ReplicaPhase.DECLINED, ReplicaPhase.GIVEN_UP)
"""Ended because its worker did not do what it took on."""


class InvalidTransition(FairgridError):
    """An event asked for a step that the table does not have; ``story`` is all that happened to the task before.

    The rim then compares the task with the chain, whose facts win.
    """

    def __init__(self, *, task_id: str, phase: Phase, wanted: Phase, story: Sequence[StoryLine]) -> None:
        self.task_id = task_id
        self.phase = phase
        self.wanted = wanted
        self.story = tuple(story)
        told = "\n".join(f"  {line.text}" for line in self.story) or "  (nothing happened yet)"
        super().__init__(
            f"Task {task_id} is {phase.value} and cannot become {wanted.value}; compare it with the chain. "
            f"Its story:\n{told}"
        )
