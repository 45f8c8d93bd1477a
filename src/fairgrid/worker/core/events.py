"""What happens to a worker, beside what its pool says to it: its own work, its owner, the chain, time."""

from __future__ import annotations

from dataclasses import dataclass

from fairgrid.chain.interface import SignedTransaction
from fairgrid.protocol.pool_messages import (
    Abort,
    Authorisation,
    Lease,
    OpeningRequest,
    RevealNotice,
    TaskDone,
    UploadRequest,
)
from fairgrid.protocol.usage import Usage
from fairgrid.protocol.views import Contribution, Task
from fairgrid.worker.core.held import HeldTask, Step

__all__ = [
    "Approved",
    "ChainSeen",
    "Computed",
    "ContributionRefused",
    "Downloaded",
    "Event",
    "HeadSeen",
    "MadeReady",
    "OwnerSaid",
    "PoolConnected",
    "PoolDisconnected",
    "Restored",
    "RevealRefused",
    "SealSigned",
    "Stopping",
    "TransactionLost",
    "TransactionMined",
    "TransactionReplaced",
    "TransactionSigned",
    "UploadFailed",
    "Uploaded",
    "WorkFailed",
]


@dataclass(frozen=True, slots=True)
class Restored:
    """The process started: this is what the store held."""

    held: tuple[HeldTask, ...]


@dataclass(frozen=True, slots=True)
class PoolConnected:
    """The pool welcomed this worker, for the first time or again."""


@dataclass(frozen=True, slots=True)
class PoolDisconnected:
    """The connection is gone; what was computed or contributed goes on."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The process was told to end."""


@dataclass(frozen=True, slots=True)
class OwnerSaid:
    """The owner's rules as they are now. ``reason`` says why no work is taken; ``slots`` None: as at the start."""

    takes_work: bool
    reason: str = ""
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Approved:
    """The task was read from the chain, and the owner's policy, stake and runtimes allow it."""

    task_id: str
    workerpool: str
    scheduler: str
    worker_stake: int
    final_deadline: int
    trust: int = 0
    """Of the deal, 1 or more; 0: not known."""


@dataclass(frozen=True, slots=True)
class MadeReady:
    """How far this machine is with what it makes of a program that is new to it, in words for its owner."""

    task_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Downloaded:
    """Manifest and inputs lie in the cache; ``bytes_in`` of them were fetched for it."""

    task_id: str
    bytes_in: int = 0


@dataclass(frozen=True, slots=True)
class Computed:
    """The job ended in a result (which may be an error that every machine gets); its folder is on disk."""

    task_id: str
    digest: str
    callback_data: str
    compute_s: float
    usage: Usage | None = None
    """What the sandbox measured; None where it measures nothing."""
    root: str = ""
    """Of a run: the root over the digests of its tasks."""
    where: str = ""
    """On which machine of an engine, for people; empty: on this one."""


@dataclass(frozen=True, slots=True)
class SealSigned:
    """Salt chosen, seal signed."""

    task_id: str
    salt: str
    seal: str
    signature: str


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """This machine, or its owner's policy, cannot do the task: never contributed."""

    task_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ContributionRefused:
    """No contribution was signed. ``lasting`` False: only for now (chain down), it is tried again."""

    task_id: str
    reason: str
    lasting: bool


@dataclass(frozen=True, slots=True)
class RevealRefused:
    """No reveal was signed; it is tried again while the chain still waits for it."""

    task_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class TransactionSigned:
    """Signed, not yet sent: stored first (decision 25)."""

    task_id: str
    step: Step
    transaction: SignedTransaction


@dataclass(frozen=True, slots=True)
class TransactionReplaced:
    """Not mined for long: the same with higher fees, signed and not yet sent."""

    task_id: str
    step: Step
    transaction: SignedTransaction


@dataclass(frozen=True, slots=True)
class TransactionMined:
    """A receipt of ``block``; ``succeeded`` False means that the hub refused."""

    task_id: str
    step: Step
    tx_hash: str
    block: int
    succeeded: bool


@dataclass(frozen=True, slots=True)
class TransactionLost:
    """The node will never mine these bytes (its nonce was used otherwise): sign anew."""

    task_id: str
    step: Step
    reason: str


@dataclass(frozen=True, slots=True)
class ChainSeen:
    """The task on chain and this worker's contribution, both as of ``block``, whose timestamp is ``time``."""

    task_id: str
    block: int
    time: int
    task: Task
    contribution: Contribution


@dataclass(frozen=True, slots=True)
class HeadSeen:
    """The newest block; ``rewritten``: blocks were replaced since the last one."""

    block: int
    rewritten: bool


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The archive is in storage; ``bytes_out`` were sent."""

    task_id: str
    cid: str
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """Storage did not take the archive; it is tried again at the next look at the chain."""

    task_id: str
    reason: str


Event = (
    Restored
    | PoolConnected
    | PoolDisconnected
    | Stopping
    | OwnerSaid
    | Approved
    | MadeReady
    | Downloaded
    | Computed
    | SealSigned
    | WorkFailed
    | ContributionRefused
    | RevealRefused
    | TransactionSigned
    | TransactionReplaced
    | TransactionMined
    | TransactionLost
    | ChainSeen
    | HeadSeen
    | Uploaded
    | UploadFailed
    | Lease
    | Authorisation
    | RevealNotice
    | OpeningRequest
    | UploadRequest
    | Abort
    | TaskDone
)
