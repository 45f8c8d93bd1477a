"""One task as the scheduler remembers it, with its replicas, its upload and its story: stored after every event."""

from __future__ import annotations

import math

from msgspec import Struct, field

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.phases import EXPECTED_PHASES, FAULTY_PHASES, FINAL_PHASES, Phase, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_facts import ChainFacts, SeenContribution
from fairgrid.protocol.runs import units_of
from fairgrid.protocol.trust import consensus_reached
from fairgrid.protocol.views import TaskStatus

__all__ = ["ChainStep", "StoryLine", "TaskState", "Upload"]


class StoryLine(Struct, frozen=True, gc=False):
    """One thing that happened to a task. ``at`` is local time in seconds since the epoch.

    ``text`` never holds a digest, and names no worker: that is ``worker``, which is shown from REVEALING on only.
    """

    task_id: str
    number: int
    at: float
    text: str
    worker: str = ""


class Upload(Struct, gc=False, omit_defaults=True):
    """The search for a winner that uploads the result."""

    lease_id: str = ""
    worker: str = ""
    asked_at: float = 0.0
    cid: str = ""
    callback_data: str = "0x"
    verifying: bool = False
    verified: bool = False
    root: str = ""
    """Of a run: the root over the digests of its tasks."""
    not_before: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)


class ChainStep(Struct, gc=False, omit_defaults=True):
    """One of the pool's own transactions for a task."""

    issued: bool = False
    attempts: int = 0
    retry_at: float = 0.0


class TaskState(Struct, gc=False):
    """Everything about one task. The store writes it as one document; ``story`` has a table of its own."""

    task_id: str
    index: int
    deal: DealTerms
    created_at: float
    phase: Phase = Phase.RECEIVED
    facts: ChainFacts = field(default_factory=ChainFacts)
    round: int = -1
    round_opened_at: float = 0.0
    last_contribution_at: float = 0.0
    leases: int = 0
    replicas: list[Replica] = field(default_factory=list)
    upload: Upload = field(default_factory=Upload)
    steps: dict[str, ChainStep] = field(default_factory=dict)
    finished_at: float = 0.0
    waiting: bool = False
    """It begins when the results that it reads are there."""
    extra: int = -1
    """So many silent replicas it gets beyond what its trust needs; -1: not drawn yet."""
    dispute_since: float = 0.0
    """Since when (local time) an auditor is known to differ from the consensus; 0: none does."""
    judged: bool = False
    """Its audits are compared."""
    disproved: bool = False
    """More machines agree on another result than on the consensus: the pool does not finalize it."""
    credited: bool = False
    """Its contributions are in the records of their workers."""
    accounted: bool = False
    """What it took and who was paid is in the accounts."""
    story: list[StoryLine] = field(default_factory=list)
    ahead: tuple[SeenContribution, ...] = ()
    """Contributions that are mined and not deep enough yet to be facts."""
    count: int = 0
    """Tasks of the run that this is, ``index`` is the first; 0: one task of the classic lane."""
    parent: str = ""
    """The run that was split into this one and another."""
    planned: bool = False
    """A run that is to be settled in one transaction: it is computed before the chain knows it."""
    in_line_since: float = 0.0
    """Since when (local time) it waits for the runs before it; 0: it does not."""

    @property
    def units(self) -> int:
        """How often the deal's prices and stakes count."""
        return units_of(self.count)

    @property
    def stake(self) -> int:
        """What a contribution to it locks (nRLC)."""
        return self.deal.worker_stake * self.units

    @property
    def is_rest(self) -> bool:
        """True for what stands for all tasks of a batch-lane deal that were never opened."""
        return self.task_id == self.deal.deal_id

    @property
    def is_final(self) -> bool:
        return self.phase in FINAL_PHASES

    @property
    def is_settled(self) -> bool:
        """Final, and nobody owes an opening: nothing more is expected."""
        if self.phase not in FINAL_PHASES:
            return False
        for replica in self.replicas:
            if replica.opening_asked_at and replica.owes_opening:
                return False
        return True

    @property
    def is_public(self) -> bool:
        """True when who computed what may be told (decision 3): consensus is on chain, or the task is over."""
        return TaskStatus.REVEALING <= self.facts.status <= TaskStatus.FAILED

    def replica(self, lease_id: str) -> Replica | None:
        for replica in self.replicas:
            if replica.lease_id == lease_id:
                return replica
        return None

    def replica_of(self, worker: str) -> Replica | None:
        """The newest replica of a worker."""
        for replica in reversed(self.replicas):
            if replica.worker == worker:
                return replica
        return None

    def contributing_replica_of(self, worker: str) -> Replica | None:
        """The replica under which a worker contributes: the newest that was authorised, else the newest."""
        for replica in reversed(self.replicas):
            if replica.worker == worker and replica.authorised_at:
                return replica
        return self.replica_of(worker)

    def contributor(self, worker: str) -> Replica | None:
        """The replica under which a worker's contribution is on chain; None if it has none."""
        for replica in self.replicas:
            if replica.worker == worker and replica.phase is ReplicaPhase.CONTRIBUTED:
                return replica
        return None

    @property
    def unconfirmed(self) -> tuple[SeenContribution, ...]:
        """Contributions that are mined and only wait for their confirmations."""
        if not self.ahead:
            return ()
        return tuple(seen for seen in self.ahead if self.facts.contribution(seen.worker) is None)

    def expected_groups(self) -> dict[str, int]:
        """`ChainFacts.groups`, as they are when all that is mined is confirmed."""
        return self.facts.groups(self.unconfirmed)

    @property
    def awaits_confirmations(self) -> bool:
        """True when what is mined is a consensus that only waits for its confirmations: nobody else is needed."""
        if not self.unconfirmed:
            return False
        groups = self.expected_groups()
        total = 1 + sum(groups.values())
        return any(consensus_reached(group, total, self.deal.trust) for group in groups.values())

    def contributors(self) -> set[str]:
        """Workers that have a contribution, deep enough or not."""
        return {seen.worker for seen in (*self.facts.contributions, *self.ahead)}

    def is_mined(self, worker: str) -> bool:
        """Whether a worker's contribution waits for its confirmations."""
        return bool(self.ahead) and any(seen.worker == worker for seen in self.unconfirmed)

    def is_held_by(self, owner: str) -> bool:
        """Whether a machine of this owner has a part in it now."""
        return any(replica.owner == owner and not replica.ended for replica in self.replicas)

    def in_phase(self, *phases: ReplicaPhase) -> list[Replica]:
        """Those of its replicas; a copy, so that they may move on meanwhile."""
        return [replica for replica in self.replicas if replica.phase in phases]

    def has(self, phase: ReplicaPhase) -> bool:
        """Whether any replica is in this phase."""
        for replica in self.replicas:
            if replica.phase is phase:
                return True
        return False

    def is_spare(self, replica: Replica) -> bool:
        """True for a speculative copy while the straggler that it stands for still computes."""
        if not replica.stands_for:
            return False
        straggler = self.replica(replica.stands_for)
        return straggler is not None and straggler.phase is ReplicaPhase.LEASED

    def pending_weights(self) -> list[int]:
        """Weights of those from whom a contribution may still come; a straggler and its copy count once."""
        return [
            replica.weight
            for replica in self.replicas
            if replica.phase in EXPECTED_PHASES
            and not (replica.stands_for and self.is_spare(replica))
            and not self.is_mined(replica.worker)
        ]

    def failures(self) -> int:
        """How many replicas ended by a fault of their workers."""
        return len(self.in_phase(*FAULTY_PHASES))

    def pending_product(self) -> int:
        weights = self.pending_weights()
        return math.prod(weights) if weights else 0
