"""What happens to a pool: facts of the chain, words of workers, outcomes of its own effects, time."""

from __future__ import annotations

from msgspec import Struct

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_facts import ChainFacts, SeenContribution
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.usage import Usage

__all__ = [
    "ChainRead",
    "ChainReconciled",
    "ConsensusReached",
    "ContributionMined",
    "ContributionsAhead",
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
    "RunSettledAtOnce",
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
    "WorkerCached",
    "WorkerDrained",
    "WorkerFacts",
    "WorkerJoined",
    "WorkerLabelled",
    "WorkerLost",
    "WorkerReady",
]


# --- the chain ----------------------------------------------------------------------------------------------------


class DealMatched(Struct, frozen=True, gc=False):
    """A deal for this pool: tasks ``bot_first`` to ``bot_first + bot_size - 1``."""

    deal: DealTerms
    bot_first: int
    bot_size: int


class DealUndone(Struct, frozen=True, gc=False):
    """A reorganisation took a deal back."""

    deal_id: str


class RunOpened(Struct, frozen=True, gc=False):
    """Tasks ``first`` to ``first + count - 1`` of a deal are a run on chain, by `openRun` or by a split."""

    task_id: str
    deal_id: str
    first: int
    count: int


class TaskInitialized(Struct, frozen=True, gc=False):
    task_id: str


class ContributionMined(Struct, frozen=True, gc=False):
    """``weight`` is the worker's exact weight (`protocol.trust.worker_weight`)."""

    task_id: str
    worker: str
    result_hash: str
    weight: int


class ContributionsAhead(Struct, frozen=True, gc=False):
    """All contributions that the newest block has and that are not deep enough yet to be believed."""

    task_id: str
    contributions: tuple[SeenContribution, ...]


class ConsensusReached(Struct, frozen=True, gc=False):
    task_id: str
    consensus_value: str
    reveal_deadline: int


class RevealMined(Struct, frozen=True, gc=False):
    task_id: str
    worker: str
    digest: str


class TaskFinalized(Struct, frozen=True, gc=False):
    task_id: str


class TaskSettledAtOnce(Struct, frozen=True, gc=False):
    """The task's only worker contributed, revealed and finalized in one transaction."""

    task_id: str
    worker: str
    result_hash: str
    digest: str


class RunSettledAtOnce(Struct, frozen=True, gc=False):
    """A run's only worker opened and ended it in one transaction."""

    task_id: str
    deal_id: str
    first: int
    count: int
    worker: str
    result_hash: str
    digest: str


class TaskClaimed(Struct, frozen=True, gc=False):
    task_id: str


class ChainRead(Struct, frozen=True):
    """So many blocks of the time before the pool's start are not read yet: what they tell is not known."""

    behind: int


class ChainReconciled(Struct, frozen=True, gc=False):
    """What the chain's views say now. They win over all that was believed: an undone event is undone here."""

    task_id: str
    facts: ChainFacts


# --- workers ------------------------------------------------------------------------------------------------------


class WorkerJoined(Struct, frozen=True, gc=False):
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
    settles: bool = False
    """It can compute a run before it is opened, and settle it in one transaction."""
    opens_keys: bool = False
    """It can ask for the keys of private jobs."""


class WorkerFacts(Struct, frozen=True, gc=False):
    """Score and free deposit (nRLC) of a connected worker, read again from the chain.

    ``benchmark_fell`` True: a test contradicted what it claims of its speed; nothing is believed of it any more.
    ``unwelcome`` True: it may end what it has begun, and gets nothing new.
    """

    worker: str
    score: int
    stake: int
    benchmark_fell: bool = False
    unwelcome: bool = False


class Held(Struct, frozen=True, gc=False):
    """A lease that a worker says it holds."""

    lease_id: str
    task_id: str
    phase: str


class WorkerReady(Struct, frozen=True, gc=False):
    """First report after joining: what it recovered. ``finished`` are held tasks that the store knows as settled."""

    worker: str
    held: tuple[Held, ...]
    free_slots: int
    finished: frozenset[str] = frozenset()


class WorkerBeat(Struct, frozen=True, gc=False):
    """A heartbeat; it renews the leases that it names."""

    worker: str
    held: tuple[Held, ...]
    free_slots: int


class WorkerCached(Struct, frozen=True, gc=False):
    """Which files a worker says that it has: the ends of their CIDs."""

    worker: str
    tails: tuple[str, ...]


class WorkerLost(Struct, frozen=True, gc=False):
    """The connection is gone."""

    worker: str


class PhaseReported(Struct, frozen=True, gc=False):
    worker: str
    lease_id: str
    task_id: str
    phase: str


class SealReceived(Struct, frozen=True, gc=False):
    """A seal whose signature the rim verified."""

    worker: str
    lease_id: str
    task_id: str
    round: int
    seal: str
    signature: str


class OpeningReceived(Struct, frozen=True, gc=False):
    worker: str
    lease_id: str
    task_id: str
    digest: str
    salt: str
    usage: Usage | None = None


class UploadReported(Struct, frozen=True, gc=False):
    worker: str
    lease_id: str
    task_id: str
    cid: str
    callback_data: str = "0x"
    digest: str = ""
    """With ``salt`` the opening of its seal, if the upload was asked for before the contribution."""
    salt: str = ""
    usage: Usage | None = None


class LeaseFailed(Struct, frozen=True, gc=False):
    worker: str
    lease_id: str
    task_id: str
    reason: str


# --- the pool's own effects, and time -----------------------------------------------------------------------------


class UploadVerified(Struct, frozen=True, gc=False):
    """The archive was downloaded and has the digest that the chain holds."""

    task_id: str
    lease_id: str
    cid: str
    root: str = ""
    """Of a run: the root over the digests of its tasks."""


class UploadRejected(Struct, frozen=True, gc=False):
    """``dishonest`` True: these bytes have another digest; False: they could not be had."""

    task_id: str
    lease_id: str
    cid: str
    reason: str
    dishonest: bool


class EffectFailed(Struct, frozen=True, gc=False):
    """A transaction was refused (``step``: initialize, finalize, claim), and the task compared with the chain."""

    task_id: str
    step: str
    reason: str


class DependenciesMet(Struct, frozen=True, gc=False):
    """Every task whose result this one reads is COMPLETED on chain, or it reads none."""

    task_id: str


class DependencyFailed(Struct, frozen=True, gc=False):
    """A task whose result this one reads was refunded: the result will never come."""

    task_id: str
    dependency: str


class OperatorBanned(Struct, frozen=True, gc=False):
    """The operator bans a worker and its owner; it is stored already."""

    worker: str
    owner: str
    reason: str


class OperatorUnbanned(Struct, frozen=True, gc=False):
    """The operator lifts the bans of a worker, or of an owner; it is stored already."""

    address: str


class PoolDrained(Struct, frozen=True, gc=False):
    """The operator lets no new task begin (``draining``), or lets them begin again."""

    draining: bool


class WorkerDrained(Struct, frozen=True, gc=False):
    """The operator lets a worker have no new lease (``draining``), or lets it have them again."""

    worker: str
    draining: bool


class WorkerLabelled(Struct, frozen=True, gc=False):
    """The operator gave a worker exactly these labels, beside those that its owner claims."""

    worker: str
    labels: tuple[str, ...]


class PolicyChanged(Struct, frozen=True, gc=False):
    """Another policy counts from now on."""

    policy: Policy


OperatorEvent = OperatorBanned | OperatorUnbanned | PoolDrained | WorkerDrained | WorkerLabelled | PolicyChanged


class Tick(Struct, frozen=True, gc=False):
    """Time passes; ``chain_time`` is the newest block's, by which deadlines are judged."""

    chain_time: int
    silence_s: float = 0.0
    """Before this the chain did not answer for so long (local seconds): what was mined meanwhile is not known yet."""


Event = (
    DealMatched
    | DealUndone
    | RunOpened
    | RunSettledAtOnce
    | TaskInitialized
    | ContributionMined
    | ContributionsAhead
    | ConsensusReached
    | RevealMined
    | TaskFinalized
    | TaskSettledAtOnce
    | TaskClaimed
    | ChainRead
    | ChainReconciled
    | WorkerJoined
    | WorkerFacts
    | WorkerReady
    | WorkerBeat
    | WorkerCached
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
