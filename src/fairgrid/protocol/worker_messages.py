"""What a worker says to its pool (`fairgrid.protocol.wire` tells the order of a task's life)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from fairgrid.protocol.machine import Machine
from fairgrid.protocol.usage import Usage
from fairgrid.protocol.wire_fields import STRICT, Address, CidTail, Hex32, Phase, RunName, ShortText, Signature

__all__ = [
    "MAX_REPORTED_FILES",
    "CacheReport",
    "Contributed",
    "Enrol",
    "Heartbeat",
    "HeldLease",
    "LeaseFailed",
    "LiveOutput",
    "Opening",
    "PartialResult",
    "PhaseReport",
    "Progress",
    "Ready",
    "Revealed",
    "Seal",
    "SponsorRequest",
    "SpotAnswer",
    "TaskKeyRequest",
    "Uploaded",
    "WhyRequest",
    "WorkerMessage",
]

MAX_REPORTED_FILES = 256
"""A worker tells of so many files that it has."""


@dataclass(config=STRICT, frozen=True, slots=True)
class Enrol:
    """Who is here. ``owner_signature`` is the owner's EIP-712 enrolment (decision 49); ``nonce_signature`` is the
    worker's EIP-191 signature of `protocol.seals.challenge_message`, ``machine_signature`` that of
    `protocol.machine.machine_message`."""

    owner: Address
    worker: Address
    owner_signature: Signature
    nonce_signature: Signature
    runtimes: tuple[ShortText, ...]
    slots: Annotated[int, Field(ge=1, le=1024)]
    version: int
    machine: Machine | None = None
    machine_signature: Signature | None = None
    fast: bool | None = None
    """True: it can contribute and finalize in one transaction. Others are never asked for an early upload."""
    settles: bool | None = None
    """True: it can compute a run before it is opened, and settle it in one transaction."""
    opens_keys: bool | None = None
    """True: it can ask for the keys of private jobs. Others get no lease of such a job."""
    kind: Literal["enrol"] = "enrol"


@dataclass(config=STRICT, frozen=True, slots=True)
class HeldLease:
    """One lease that the worker holds, and how far it is."""

    lease_id: str
    task_id: Hex32
    phase: Phase


@dataclass(config=STRICT, frozen=True, slots=True)
class Ready:
    """The worker recovered what it held (``held``) and has ``free_slots`` for new leases."""

    held: tuple[HeldLease, ...]
    free_slots: Annotated[int, Field(ge=0, le=1024)]
    kind: Literal["ready"] = "ready"


@dataclass(config=STRICT, frozen=True, slots=True)
class Heartbeat:
    """Still here; renews every lease in ``held``."""

    held: tuple[HeldLease, ...]
    free_slots: Annotated[int, Field(ge=0, le=1024)]
    kind: Literal["heartbeat"] = "heartbeat"


@dataclass(config=STRICT, frozen=True, slots=True)
class PhaseReport:
    """A lease reached a coarse phase."""

    lease_id: str
    task_id: Hex32
    phase: Phase
    kind: Literal["phase"] = "phase"


@dataclass(config=STRICT, frozen=True, slots=True)
class Seal:
    """A signed commitment to the digest (decision 42): ``seal`` hides it, ``signature`` is its EIP-191 signature."""

    lease_id: str
    task_id: Hex32
    round: Annotated[int, Field(ge=0, lt=1 << 31)]
    seal: Hex32
    signature: Signature
    compute_s: float
    kind: Literal["seal"] = "seal"


@dataclass(config=STRICT, frozen=True, slots=True)
class Contributed:
    """The contribution was mined; a hint, the pool believes the chain only."""

    lease_id: str
    task_id: Hex32
    tx_hash: Hex32
    kind: Literal["contributed"] = "contributed"


@dataclass(config=STRICT, frozen=True, slots=True)
class Revealed:
    """The reveal was mined; a hint, the pool believes the chain only."""

    lease_id: str
    task_id: Hex32
    tx_hash: Hex32
    kind: Literal["revealed"] = "revealed"


@dataclass(config=STRICT, frozen=True, slots=True)
class Opening:
    """The digest and salt behind a seal."""

    lease_id: str
    task_id: Hex32
    digest: Hex32
    salt: Hex32
    usage: Usage | None = None
    """What the task took of the machine."""
    kind: Literal["opening"] = "opening"


@dataclass(config=STRICT, frozen=True, slots=True)
class Uploaded:
    """The result lies in storage under ``cid``; ``callback_data`` is 0x-hex when the deal has a callback.

    ``digest`` and ``salt`` are the opening of its seal, if the upload was asked for early."""

    lease_id: str
    task_id: Hex32
    cid: Annotated[str, Field(min_length=1, max_length=128)]
    callback_data: Annotated[str, Field(pattern=r"^0x([0-9a-f]{2})*$", max_length=4098)] = "0x"
    digest: Hex32 | None = None
    salt: Hex32 | None = None
    usage: Usage | None = None
    """What the task took of the machine, the upload included."""
    kind: Literal["uploaded"] = "uploaded"


@dataclass(config=STRICT, frozen=True, slots=True)
class LeaseFailed:
    """This machine cannot do the lease (refused by its owner's policy, wall clock, disk, …): hand it to another."""

    lease_id: str
    task_id: Hex32
    reason: ShortText
    kind: Literal["lease_failed"] = "lease_failed"


@dataclass(config=STRICT, frozen=True, slots=True)
class TaskKeyRequest:
    """The task's manifest has a sealed key, and this lease needs it: seal it for ``public_key`` (X25519).

    ``signature`` is the worker's EIP-191 signature of `protocol.sealing.worker_key_message`. Asked again, it is
    answered again, for as long as the worker has a part in the task: nothing of it has to be kept."""

    lease_id: str
    task_id: Hex32
    public_key: Hex32
    signature: Signature
    kind: Literal["task_key_request"] = "task_key_request"


@dataclass(config=STRICT, frozen=True, slots=True)
class SponsorRequest:
    """A newcomer asks for coins and a stake to begin with. ``agreement`` is the key's EIP-191 signature of
    `protocol.sponsorship.agreement_message`."""

    agreement: Signature
    repays: bool | None = None
    """True: this worker pays the stake back by itself, from what it earns; None: it does not, as older ones."""
    kind: Literal["sponsor_request"] = "sponsor_request"


@dataclass(config=STRICT, frozen=True, slots=True)
class CacheReport:
    """Large inputs that need not be fetched, in place of what was reported before: a hint for whom to lease a task."""

    tails: Annotated[tuple[CidTail, ...], Field(max_length=MAX_REPORTED_FILES)]
    kind: Literal["cache"] = "cache"


@dataclass(config=STRICT, frozen=True, slots=True)
class SpotAnswer:
    """What the script of a `SpotCheck` printed."""

    check_id: Annotated[str, Field(min_length=1, max_length=64)]
    answer: Annotated[int, Field(ge=0, lt=1 << 64)]
    kind: Literal["spot_answer"] = "spot_answer"


@dataclass(config=STRICT, frozen=True, slots=True)
class WhyRequest:
    """Why does this worker get no work?"""

    kind: Literal["why_request"] = "why_request"


@dataclass(config=STRICT, frozen=True, slots=True)
class LiveOutput:
    """What a running job printed, from byte ``offset`` of ``stream`` on. Only for tasks of trust 1 (decision 3).

    A new ``run`` begins both streams anew: the job was started again. A gap between messages was too much to send.
    """

    task_id: Hex32
    run: RunName
    stream: Literal["stdout", "stderr"]
    offset: Annotated[int, Field(ge=0, le=1 << 32)]
    data: Annotated[str, Field(max_length=44_000, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
    """Base64."""
    kind: Literal["live"] = "live"


@dataclass(config=STRICT, frozen=True, slots=True)
class Progress:
    """What a running job says of itself: ``ppm`` millionths are done. Only for tasks of trust 1 (decision 3)."""

    task_id: Hex32
    run: RunName
    ppm: Annotated[int, Field(ge=0, le=1_000_000)]
    message: Annotated[str, Field(max_length=200)] = ""
    kind: Literal["progress"] = "progress"


@dataclass(config=STRICT, frozen=True, slots=True)
class PartialResult:
    """The answer to a `PartialRequest`: an unverified archive at ``cid``, or none (empty) and the ``reason``."""

    task_id: Hex32
    request_id: Annotated[str, Field(min_length=1, max_length=64)]
    cid: Annotated[str, Field(max_length=128)] = ""
    size: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    reason: ShortText = ""
    kind: Literal["partial"] = "partial"


WorkerMessage = (
    Enrol
    | Ready
    | Heartbeat
    | PhaseReport
    | Seal
    | Contributed
    | Revealed
    | Opening
    | Uploaded
    | LeaseFailed
    | TaskKeyRequest
    | SponsorRequest
    | CacheReport
    | SpotAnswer
    | WhyRequest
    | LiveOutput
    | Progress
    | PartialResult
)
