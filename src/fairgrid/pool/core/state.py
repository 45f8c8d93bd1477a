"""What the scheduler remembers: tasks with their replicas (stored after every event), and workers (while connected)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct, field

from fairgrid.pool.core.matching import NO_REQUIREMENTS, Requirements
from fairgrid.pool.core.phases import (
    ENDED_REPLICA_PHASES,
    EXPECTED_PHASES,
    FAULTY_PHASES,
    FINAL_PHASES,
    Phase,
    ReplicaPhase,
)
from fairgrid.protocol import deadlines
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.runs import units_of
from fairgrid.protocol.trust import consensus_reached
from fairgrid.protocol.usage import Usage
from fairgrid.protocol.views import ContributionStatus, TaskStatus

if TYPE_CHECKING:
    from fairgrid.pool.core.events import Held

__all__ = [
    "Bag",
    "Ban",
    "ChainFacts",
    "ChainStep",
    "DealTerms",
    "PoolIdentity",
    "Replica",
    "SeenContribution",
    "StoryLine",
    "TaskState",
    "Upload",
    "WorkerState",
]


@dataclass(frozen=True, slots=True)
class PoolIdentity:
    """Which hub on which chain, and which workerpool of it, this scheduler serves."""

    chain_id: int
    hub: str
    workerpool: str


class StoryLine(Struct, frozen=True, gc=False):
    """One thing that happened to a task. ``at`` is local time in seconds since the epoch.

    ``text`` never holds a digest, and names no worker: that is ``worker``, which is shown from REVEALING on only.
    """

    task_id: str
    number: int
    at: float
    text: str
    worker: str = ""


class DealTerms(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the scheduler needs of a deal; ``refusal`` says why this pool cannot serve it (empty: it can)."""

    deal_id: str
    trust: int
    timeref: int
    start_time: int
    worker_stake: int
    requester: str
    callback: str = ZERO_ADDRESS
    refusal: str = ""
    undone: bool = False
    """A reorganisation took the deal back; it may be matched again."""
    in_batch_lane: bool = False
    """Its tasks are settled in runs (`fairgrid.pool.core.runs`)."""
    waits: bool = False
    """Its tasks read results of other tasks, or nobody could say yet: each begins when these are there."""
    price: int = 0
    """What the requester pays the pool for one task, in nRLC."""
    app: str = ZERO_ADDRESS
    pool_percent: int = 0
    """The pool's share of what is distributed, in percent."""
    requirements: Requirements = NO_REQUIREMENTS
    """What each of its tasks needs of a machine."""

    @property
    def contribution_deadline(self) -> int:
        return deadlines.contribution_deadline(self.start_time, self.timeref)

    @property
    def final_deadline(self) -> int:
        return deadlines.final_deadline(self.start_time, self.timeref)

    @property
    def has_callback(self) -> bool:
        return self.callback != ZERO_ADDRESS


@dataclass(slots=True)
class Bag:
    """A deal for this pool: tasks ``first`` to ``first + size - 1``, of which the first ``begun`` have a `TaskState`.

    The others are a number only, until there is room to work on them.
    """

    deal: DealTerms
    first: int
    size: int
    created_at: float
    begun: int = 0
    settled: bool = False
    """Nothing more is expected of any of its tasks."""

    @property
    def left(self) -> int:
        """How many of its tasks have not begun."""
        return self.size - self.begun


class SeenContribution(Struct, frozen=True, gc=False, omit_defaults=True):
    """A contribution on chain; ``weight`` is the worker's exact weight (2 for a newcomer), not its logarithm."""

    worker: str
    result_hash: str
    weight: int
    status: ContributionStatus = ContributionStatus.CONTRIBUTED


class ChainFacts(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the chain says of a task, as far as the scheduler has seen it."""

    status: TaskStatus = TaskStatus.UNSET
    consensus_value: str = ZERO32
    reveal_deadline: int = 0
    result_digest: str = ZERO32
    contributions: tuple[SeenContribution, ...] = ()

    def contribution(self, worker: str) -> SeenContribution | None:
        for seen in self.contributions:
            if seen.worker == worker:
                return seen
        return None

    def with_contribution(self, added: SeenContribution) -> ChainFacts:
        """These facts with ``added`` in the place of what the same worker had before."""
        if any(seen.worker == added.worker for seen in self.contributions):
            kept = tuple(added if seen.worker == added.worker else seen for seen in self.contributions)
        else:
            kept = (*self.contributions, added)
        # Written out: `dataclasses.replace` takes several times as long, and every event of the chain comes here.
        return ChainFacts(self.status, self.consensus_value, self.reveal_deadline, self.result_digest, kept)

    def with_status(self, status: TaskStatus) -> ChainFacts:
        """These facts with a later status; themselves if they are as late already."""
        if status <= self.status:
            return self
        return ChainFacts(status, self.consensus_value, self.reveal_deadline, self.result_digest, self.contributions)

    def groups(self, ahead: tuple[SeenContribution, ...] = ()) -> dict[str, int]:
        """The weight of each contributed result: the product of its contributors' weights; ``ahead`` counts as well."""
        products: dict[str, int] = {}
        for seen in (*self.contributions, *ahead):
            if seen.status is not ContributionStatus.REJECTED:
                products[seen.result_hash] = products.get(seen.result_hash, 1) * seen.weight
        return products

    def winners(self) -> tuple[SeenContribution, ...]:
        """Who agrees with the consensus, in the order of the chain."""
        return tuple(
            seen
            for seen in self.contributions
            if seen.result_hash == self.consensus_value and seen.status is not ContributionStatus.REJECTED
        )

    @property
    def is_revealed(self) -> bool:
        """Whether anybody revealed."""
        for seen in self.contributions:
            if seen.status is ContributionStatus.PROVED:
                return True
        return False

    def revealed(self) -> tuple[SeenContribution, ...]:
        return tuple(seen for seen in self.contributions if seen.status is ContributionStatus.PROVED)


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


@dataclass(slots=True)
class WorkerState:
    """A connected worker. ``stake`` is its free deposit on chain in nRLC."""

    worker: str
    owner: str
    slots: int
    score: int
    weight: int
    stake: int
    runtimes: tuple[str, ...] = ()
    free_slots: int = 0
    ready: bool = False
    leases_given: int = 0
    machine: Machine | None = None
    """What it claims to offer; None when it claims nothing."""
    claimed_labels: tuple[str, ...] = ()
    """Those labels of its machine that its owner chose; the operator chose the others."""
    network: str = ""
    """The network that it came from (a /24 of IPv4, a /48 of IPv6); empty when it is not known."""
    fast: bool = False
    """It can contribute and finalize in one transaction."""
    settles: bool = False
    """It can compute a run before it is opened, and settle it in one transaction."""
    unjudged: tuple[tuple[Held, bool], ...] = ()
    """Leases that it holds and the pool does not know, and whether their tasks are over by the store: judged when the
    chain's past is read."""
    cached: frozenset[str] = frozenset()
    """The ends of the CIDs of files that it says that it has (`protocol.cid.tail_of`); a hint, never proved."""


@dataclass(frozen=True, slots=True)
class Ban:
    """Why a worker, and its owner, get no more work here. ``evidence`` is JSON text."""

    worker: str
    owner: str
    task_id: str
    reason: str
    evidence: str
    at: float
