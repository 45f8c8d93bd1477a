"""One worker's part in a task."""

from __future__ import annotations

from msgspec import Struct

from fairgrid.pool.core.phases import ENDED_REPLICA_PHASES, ReplicaPhase
from fairgrid.protocol.usage import Usage

__all__ = ["Replica"]


class Replica(Struct, gc=False, omit_defaults=True):
    """One worker's part in a task. Times are local seconds; 0 means not yet."""

    lease_id: str
    worker: str
    owner: str
    round: int
    weight: int
    phase: ReplicaPhase
    leased_at: float
    renewed_at: float
    lost_at: float = 0.0
    sealed_at: float = 0.0
    authorised_at: float = 0.0
    opening_asked_at: float = 0.0
    opened: bool = False
    digest: str = ""
    """What its opening said; never known before the task is REVEALING."""
    seal: str = ""
    seal_signature: str = ""
    shown_phase: str = "accepted"
    unnamed: int = 0
    """How many heartbeats of its worker in a row did not name the lease."""
    network: str = ""
    """The network that its worker came from; empty when it is not known."""
    machine_class: str = ""
    """The class of its machine, if the job asks for machines that are alike."""
    arbiter: bool = False
    """It computes the task after the consensus, because an auditor differs from it."""
    stands_for: str = ""
    """A speculative copy: the lease of the straggler that it may overtake."""
    usage: Usage | None = None
    """What it says that the task took of its machine, cut to what is possible; known once its seal is open."""

    @property
    def ended(self) -> bool:
        return self.phase in ENDED_REPLICA_PHASES

    @property
    def owes_opening(self) -> bool:
        return self.opening_asked_at > 0 and not self.opened and self.phase is not ReplicaPhase.BANNED
