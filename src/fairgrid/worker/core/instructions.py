"""What a worker's machine tells its rim to do."""

from __future__ import annotations

from dataclasses import dataclass

from fairgrid.protocol.worker_messages import WorkerMessage
from fairgrid.worker.core.held import HeldTask, Step

__all__ = [
    "Broadcast",
    "Cancel",
    "Compute",
    "Contribute",
    "Download",
    "Drop",
    "Examine",
    "Forget",
    "Instruction",
    "LookAtChain",
    "Note",
    "Retire",
    "Reveal",
    "Save",
    "Send",
    "SignSeal",
    "TakeUp",
    "Upload",
]


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
