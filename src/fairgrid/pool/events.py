"""What happens to a pool: facts of the chain, words of workers, outcomes of its own effects, time."""

from __future__ import annotations

from dataclasses import dataclass

from fairgrid.pool.policy import Policy
from fairgrid.pool.state import ChainFacts, DealTerms
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.usage import Usage

__all__ = [
    "ChainReconciled",
    "ConsensusReached",
    "ContributionMined",
    "DealMatched",
    "DealUndone",
    "DependenciesMet",
    "DependencyFailed",
    "EffectFailed",
    "Event",
    "Held",
    "LeaseFailed",
    "OpeningReceived",
    "OperatorBanned",
    "OperatorEvent",
    "OperatorUnbanned",
    "PhaseReported",
    "PolicyChanged",
    "PoolDrained",
    "RevealMined",
    "RunOpened",
    "SealReceived",
    "TaskClaimed",
    "TaskFinalized",
    "TaskInitialized",
    "TaskSettledAtOnce",
    "Tick",
    "UploadRejected",
    "UploadReported",
    "UploadVerified",
    "WorkerBeat",
    "WorkerDrained",
    "WorkerFacts",
    "WorkerJoined",
    "WorkerLabelled",
    "WorkerLost",
    "WorkerReady",
]


# --- the chain ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DealMatched:
    """A deal for this pool: tasks ``bot_first`` to ``bot_first + bot_size - 1``."""

    deal: DealTerms
    bot_first: int
    bot_size: int


@dataclass(frozen=True, slots=True)
class DealUndone:
    """A reorganisation took a deal back."""

    deal_id: str


@dataclass(frozen=True, slots=True)
class RunOpened:
    """Tasks ``first`` to ``first + count - 1`` of a deal are a run on chain, by `openRun` or by a split."""

    task_id: str
    deal_id: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class TaskInitialized:
    task_id: str


@dataclass(frozen=True, slots=True)
class ContributionMined:
    """``weight`` is the worker's exact weight (`protocol.trust.worker_weight`)."""

    task_id: str
    worker: str
    result_hash: str
    weight: int


@dataclass(frozen=True, slots=True)
class ConsensusReached:
    task_id: str
    consensus_value: str
    reveal_deadline: int


@dataclass(frozen=True, slots=True)
class RevealMined:
    task_id: str
    worker: str
    digest: str


@dataclass(frozen=True, slots=True)
class TaskFinalized:
    task_id: str


@dataclass(frozen=True, slots=True)
class TaskSettledAtOnce:
    """The task's only worker contributed, revealed and finalized in one transaction."""

    task_id: str
    worker: str
    result_hash: str
    digest: str


@dataclass(frozen=True, slots=True)
class TaskClaimed:
    task_id: str


@dataclass(frozen=True, slots=True)
class ChainReconciled:
    """What the chain's views say now. They win over all that was believed: an undone event is undone here."""

    task_id: str
    facts: ChainFacts


# --- workers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker enrolled; its owner's signature, its own and the bans were checked by the rim.

    ``machine`` is what it claims to offer, signed by itself; None for a worker that claims nothing.
    """

    worker: str
    owner: str
    slots: int
    score: int
    stake: int
    runtimes: tuple[str, ...] = ()
    machine: Machine | None = None
    network: str = ""
    """The network that its connection comes from."""
    fast: bool = False
    """It can contribute and finalize in one transaction."""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """Score and free deposit (nRLC) of a connected worker, read again from the chain.

    ``benchmark_fell`` True: a test contradicted what it claims of its speed; nothing is believed of it any more.
    ``unwelcome`` True: it may end what it has begun, and gets nothing new.
    """

    worker: str
    score: int
    stake: int
    benchmark_fell: bool = False
    unwelcome: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that a worker says it holds."""

    lease_id: str
    task_id: str
    phase: str


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """First report after joining: what it recovered. ``finished`` are held tasks that the store knows as settled."""

    worker: str
    held: tuple[Held, ...]
    free_slots: int
    finished: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """A heartbeat; it renews the leases that it names."""

    worker: str
    held: tuple[Held, ...]
    free_slots: int


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The connection is gone."""

    worker: str


@dataclass(frozen=True, slots=True)
class PhaseReported:
    worker: str
    lease_id: str
    task_id: str
    phase: str


@dataclass(frozen=True, slots=True)
class SealReceived:
    """A seal whose signature the rim verified."""

    worker: str
    lease_id: str
    task_id: str
    round: int
    seal: str
    signature: str


@dataclass(frozen=True, slots=True)
class OpeningReceived:
    worker: str
    lease_id: str
    task_id: str
    digest: str
    salt: str
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class UploadReported:
    worker: str
    lease_id: str
    task_id: str
    cid: str
    callback_data: str = "0x"
    digest: str = ""
    """With ``salt`` the opening of its seal, if the upload was asked for before the contribution."""
    salt: str = ""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class LeaseFailed:
    worker: str
    lease_id: str
    task_id: str
    reason: str


# --- the pool's own effects, and time -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UploadVerified:
    """The archive was downloaded and has the digest that the chain holds."""

    task_id: str
    lease_id: str
    cid: str
    root: str = ""
    """Of a run: the root over the digests of its tasks."""


@dataclass(frozen=True, slots=True)
class UploadRejected:
    """``dishonest`` True: these bytes have another digest; False: they could not be had."""

    task_id: str
    lease_id: str
    cid: str
    reason: str
    dishonest: bool


@dataclass(frozen=True, slots=True)
class EffectFailed:
    """A transaction was refused (``step``: initialize, finalize, claim), and the task compared with the chain."""

    task_id: str
    step: str
    reason: str


@dataclass(frozen=True, slots=True)
class DependenciesMet:
    """Every task whose result this one reads is COMPLETED on chain, or it reads none."""

    task_id: str


@dataclass(frozen=True, slots=True)
class DependencyFailed:
    """A task whose result this one reads was refunded: the result will never come."""

    task_id: str
    dependency: str


@dataclass(frozen=True, slots=True)
class OperatorBanned:
    """The operator bans a worker and its owner; it is stored already."""

    worker: str
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class OperatorUnbanned:
    """The operator lifts the bans of a worker, or of an owner; it is stored already."""

    address: str


@dataclass(frozen=True, slots=True)
class PoolDrained:
    """The operator lets no new task begin (``draining``), or lets them begin again."""

    draining: bool


@dataclass(frozen=True, slots=True)
class WorkerDrained:
    """The operator lets a worker have no new lease (``draining``), or lets it have them again."""

    worker: str
    draining: bool


@dataclass(frozen=True, slots=True)
class WorkerLabelled:
    """The operator gave a worker exactly these labels, beside those that its owner claims."""

    worker: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """Another policy counts from now on."""

    policy: Policy


OperatorEvent = OperatorBanned | OperatorUnbanned | PoolDrained | WorkerDrained | WorkerLabelled | PolicyChanged


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes; ``chain_time`` is the newest block's, by which deadlines are judged."""

    chain_time: int


Event = (
    DealMatched
    | DealUndone
    | RunOpened
    | TaskInitialized
    | ContributionMined
    | ConsensusReached
    | RevealMined
    | TaskFinalized
    | TaskSettledAtOnce
    | TaskClaimed
    | ChainReconciled
    | WorkerJoined
    | WorkerFacts
    | WorkerReady
    | WorkerBeat
    | WorkerLost
    | PhaseReported
    | SealReceived
    | OpeningReceived
    | UploadReported
    | LeaseFailed
    | UploadVerified
    | UploadRejected
    | EffectFailed
    | DependenciesMet
    | DependencyFailed
    | OperatorEvent
    | Tick
)
