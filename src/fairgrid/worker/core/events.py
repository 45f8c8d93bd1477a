"""What happens to a worker (events, beside the pool's own messages), and what it then does (instructions)."""

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
from fairgrid.protocol.worker_messages import WorkerMessage
from fairgrid.worker.core.held import HeldTask, Step

__all__ = [
    "Approved",
    "Broadcast",
    "Cancel",
    "ChainSeen",
    "Compute",
    "Computed",
    "Contribute",
    "ContributionRefused",
    "Download",
    "Downloaded",
    "Drop",
    "Event",
    "Examine",
    "Forget",
    "HeadSeen",
    "Instruction",
    "LookAtChain",
    "Note",
    "OwnerSaid",
    "PoolConnected",
    "PoolDisconnected",
    "Restored",
    "Retire",
    "Reveal",
    "RevealRefused",
    "Save",
    "SealSigned",
    "Send",
    "SignSeal",
    "Stopping",
    "TakeUp",
    "TransactionLost",
    "TransactionMined",
    "TransactionReplaced",
    "TransactionSigned",
    "Upload",
    "UploadFailed",
    "Uploaded",
    "WorkFailed",
]


# --- events -----------------------------------------------------------------------------------------------------


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


# --- instructions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Save:
    """Store this record. All that one event stores is stored, in this order, before anything else of it is done."""

    held: HeldTask


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the record and its folder."""

    held: HeldTask
    outcome: str


@dataclass(frozen=True, slots=True)
class Retire:
    """Store how it ended; the record, what works on it aside, and its folder stay."""

    held: HeldTask


@dataclass(frozen=True, slots=True)
class TakeUp:
    """Store that it is held again, and that it did not end."""

    held: HeldTask


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop a kept record and its folder; how it ended stays stored."""

    held: HeldTask


@dataclass(frozen=True, slots=True)
class Send:
    """Tell the pool; dropped when it is not connected, because `PoolConnected` tells everything anew."""

    message: WorkerMessage


@dataclass(frozen=True, slots=True)
class Examine:
    """Read deal, task and app from the chain; answer `Approved` or `WorkFailed`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Download:
    """Fetch manifest and inputs; answer `Downloaded` or `WorkFailed`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Compute:
    """Run the job; answer `Computed` or `WorkFailed`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the work on this task, and kill what it started."""

    task_id: str


@dataclass(frozen=True, slots=True)
class SignSeal:
    """Choose a salt, unless the task was sealed before, and sign the seal; answer `SealSigned`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Contribute:
    """Check authorisation, policy and stake, sign; answer `TransactionSigned` or `ContributionRefused`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Reveal:
    """Sign the reveal; answer `TransactionSigned` or `RevealRefused`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send the stored bytes, wait for the receipt; answer `TransactionMined` or `TransactionLost`."""

    task_id: str
    step: Step


@dataclass(frozen=True, slots=True)
class Upload:
    """Archive and upload the result; answer `Uploaded` or `UploadFailed`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class LookAtChain:
    """Read the task now instead of at the next poll; answer `ChainSeen`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log: something was asked for that is not done, and why."""

    task_id: str
    text: str


Instruction = (
    Save
    | Forget
    | Retire
    | TakeUp
    | Drop
    | Send
    | Examine
    | Download
    | Compute
    | Cancel
    | SignSeal
    | Contribute
    | Reveal
    | Broadcast
    | Upload
    | LookAtChain
    | Note
)
