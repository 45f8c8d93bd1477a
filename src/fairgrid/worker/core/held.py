"""What a worker holds: one record per task, its phases, and which phase may follow which.

::

    ACCEPTED ─► DOWNLOADING ─► COMPUTING ─► SEALED ⇄ CONTRIBUTING ⇄ CONTRIBUTED ⇄ REVEALING ⇄ REVEALED ⇄ UPLOADING
                                                                                                 UPLOADED ◄─┘

Records before SEALED can be handed back at any time and cost nobody anything. From SEALED on a record is kept on disk
until the chain says that its task is over, and for 64 blocks more: it holds what a stake depends on, and a
reorganisation may lead back to REVEALING, CONTRIBUTED or CONTRIBUTING.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fairgrid.chain.interface import SignedTransaction
from fairgrid.protocol.runs import unit_id, units_of
from fairgrid.protocol.usage import NO_USAGE, Usage
from fairgrid.protocol.wire_fields import Phase as WirePhase
from fairgrid.protocol.worker_messages import HeldLease

__all__ = ["TRANSITIONS", "WORKING", "HeldTask", "InvalidTransition", "Phase", "Step", "moved"]

_STORY_LINES: Final = 60


class Phase(StrEnum):
    """How far a task is on this worker."""

    ACCEPTED = "accepted"
    """Leased; deal and app are read from the chain and held against the owner's policy."""
    DOWNLOADING = "downloading"
    COMPUTING = "computing"
    SEALED = "sealed"
    """The digest is stored and sealed; waits for the scheduler's authorisation."""
    CONTRIBUTING = "contributing"
    """The signed contribution is stored and on its way."""
    CONTRIBUTED = "contributed"
    """The contribution is on chain, the stake is locked; waits for consensus."""
    REVEALING = "revealing"
    """The signed reveal is stored and on its way."""
    REVEALED = "revealed"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"


WORKING: Final = frozenset({Phase.ACCEPTED, Phase.DOWNLOADING, Phase.COMPUTING})
"""Phases that occupy a slot, and that may be handed back to the pool."""

TRANSITIONS: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.ACCEPTED: frozenset({Phase.DOWNLOADING}),
    Phase.DOWNLOADING: frozenset({Phase.COMPUTING, Phase.ACCEPTED}),
    Phase.COMPUTING: frozenset({Phase.SEALED, Phase.ACCEPTED}),
    Phase.SEALED: frozenset({Phase.SEALED, Phase.CONTRIBUTING, Phase.CONTRIBUTED}),
    Phase.CONTRIBUTING: frozenset({Phase.CONTRIBUTED, Phase.SEALED}),
    Phase.CONTRIBUTED: frozenset({Phase.REVEALING, Phase.REVEALED, Phase.CONTRIBUTING}),
    Phase.REVEALING: frozenset({Phase.REVEALED, Phase.CONTRIBUTED}),
    Phase.REVEALED: frozenset({Phase.UPLOADING, Phase.REVEALING, Phase.CONTRIBUTED}),
    Phase.UPLOADING: frozenset({Phase.UPLOADED, Phase.REVEALED}),
    Phase.UPLOADED: frozenset({Phase.UPLOADING, Phase.REVEALING, Phase.CONTRIBUTED}),
}
"""Which phase may follow which. Ways back: a restart computes anew (to ACCEPTED); a contribution or reveal that the
chain refused, or undid in a reorganisation, is made again."""

_WIRE: Final[dict[Phase, WirePhase]] = {
    Phase.ACCEPTED: "accepted",
    Phase.DOWNLOADING: "downloading",
    Phase.COMPUTING: "computing",
    Phase.SEALED: "sealed",
    Phase.CONTRIBUTING: "contributing",
    Phase.CONTRIBUTED: "contributing",
    Phase.REVEALING: "revealing",
    Phase.REVEALED: "revealing",
    Phase.UPLOADING: "uploading",
    Phase.UPLOADED: "uploading",
}


class Step(StrEnum):
    """The two transactions of a task."""

    CONTRIBUTE = "contribute"
    REVEAL = "reveal"


@dataclass(frozen=True, slots=True)
class HeldTask:
    """One task on this worker. Empty text means: not known yet. Money in nRLC, times in seconds."""

    lease_id: str
    deal_id: str
    task_id: str
    index: int
    round: int
    count: int = 0
    """Tasks of the run that ``task_id`` names, ``index`` is the first; 0: one task of the classic lane."""
    phase: Phase = Phase.ACCEPTED
    workerpool: str = ""
    scheduler: str = ""
    """The pool's owner in the deal: who must have signed the authorisation."""
    worker_stake: int = 0
    """What its contribution locks: of a run, once for each of its tasks."""
    final_deadline: int = 0
    trust: int = 0
    """Of the deal; 0: not known. Above 1 nothing leaves before consensus (decision 3)."""
    digest: str = ""
    callback_data: str = "0x"
    compute_s: float = 0.0
    salt: str = ""
    seal: str = ""
    seal_signature: str = ""
    authorisation: str = ""
    fast: bool = False
    """The authorisation is for contributing and finalizing in one transaction."""
    unopened: bool = False
    """A run that the chain did not know when it was leased: it is settled in one transaction, or opened later."""
    root: str = ""
    """Of a run: the root over the digests of its tasks."""
    contribution: SignedTransaction | None = None
    reveal: SignedTransaction | None = None
    earlier: tuple[SignedTransaction, ...] = ()
    """Versions of the transaction under way that a dearer one replaced: any of them may be mined."""
    attempts: int = 0
    """Transactions signed for the current step without success."""
    cid: str = ""
    opening_requested: bool = False
    upload_requested: bool = False
    """The pool asked for the result: before the contribution if the task is SEALED."""
    done_requested: bool = False
    outcome: str = ""
    """How its task ended on chain; empty while it is held."""
    ended_block: int = 0
    """The block at which it had ended; 0 while it is held."""
    usage: Usage = NO_USAGE
    """What the task took of this machine."""
    story: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """How often the deal's prices and stakes count."""
        return units_of(self.count)

    @property
    def is_what_it_says(self) -> bool:
        """Whether ``task_id`` is the id of deal, index and count."""
        return unit_id(self.deal_id, self.index, self.count) == self.task_id

    @property
    def may_be_quick(self) -> bool:
        """Whether the result may leave before consensus, and end the task in one transaction (decision 3)."""
        return self.trust == 1 and (self.unopened or not self.count)

    @property
    def may_follow_the_chain(self) -> bool:
        """Whether its next step may come from the chain alone: it is looked at often then.

        Before it has an authorisation, while it uploads and while it waits to be asked for its result, only the pool
        moves it. A transaction under way is asked for by its hash.
        """
        if self.opening_requested or self.done_requested:
            return True
        match self.phase:
            case Phase.CONTRIBUTED:
                return True
            case Phase.SEALED:
                return bool(self.authorisation) or self.upload_requested
            case Phase.REVEALED | Phase.UPLOADED:
                return self.upload_requested
            case _:
                return False

    @property
    def is_over(self) -> bool:
        """Whether it is only kept, in case that the chain takes the end of its task back."""
        return bool(self.outcome)

    @property
    def held_lease(self) -> HeldLease:
        """What the pool is told of it: the coarse phase only (decision 3)."""
        return HeldLease(lease_id=self.lease_id, task_id=self.task_id, phase=_WIRE[self.phase])

    def transaction(self, step: Step) -> SignedTransaction | None:
        """The stored transaction of a step."""
        return self.contribution if step is Step.CONTRIBUTE else self.reveal

    def versions(self, step: Step) -> tuple[SignedTransaction, ...]:
        """All that was signed for a step with one nonce, newest last."""
        newest = self.transaction(step)
        return () if newest is None else (*(old for old in self.earlier if old.nonce == newest.nonce), newest)

    def told(self, line: str) -> tuple[str, ...]:
        """The story with one more line; the oldest lines go when it grows over 60."""
        return (*self.story, line)[-_STORY_LINES:]


class InvalidTransition(Exception):
    """The machine was asked for a step that it does not have: a bug in whoever fed it. Carries the whole story."""

    def __init__(self, held: HeldTask, wanted: Phase, because: str) -> None:
        self.held = held
        self.wanted = wanted
        story = "\n  ".join(held.story) or "(nothing yet)"
        super().__init__(
            f"Task {held.task_id} cannot go from {held.phase} to {wanted} ({because}). Its story:\n  {story}"
        )


def moved(held: HeldTask, phase: Phase, because: str) -> None:
    """Check a change of phase.

    Raises:
        InvalidTransition: `TRANSITIONS` does not have it.
    """
    if phase not in TRANSITIONS[held.phase]:
        raise InvalidTransition(held, phase, because)
