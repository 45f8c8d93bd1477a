"""Messages between a worker and its pool, over the worker's outgoing websocket: one JSON object a frame.

The order of a task's life (decision 2): `Lease` → worker computes → `Seal` → `Authorisation` → the worker contributes
on chain → `RevealNotice` → the worker reveals on chain → `OpeningRequest`/`Opening` → `UploadRequest`/`Uploaded`
→ `TaskDone`. No message carries a digest before the task is REVEALING. Every message is frozen and strict: an unknown
key, a missing key or a wrong type is a `ProtocolViolation`, and so is a frame of over `MAX_FRAME_BYTES`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fairgrid.errors import UsageError
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.usage import Usage

__all__ = [
    "MAX_FRAME_BYTES",
    "MAX_REPORTED_FILES",
    "PROTOCOL_VERSION",
    "Abort",
    "Authorisation",
    "CacheReport",
    "Challenge",
    "Contributed",
    "Enrol",
    "Heartbeat",
    "HeldLease",
    "Lease",
    "LeaseFailed",
    "LiveOutput",
    "Opening",
    "OpeningRequest",
    "PartialRequest",
    "PartialResult",
    "PhaseReport",
    "PoolMessage",
    "Progress",
    "ProtocolViolation",
    "Ready",
    "Refused",
    "RevealNotice",
    "Revealed",
    "Seal",
    "SponsorRequest",
    "Sponsored",
    "SpotAnswer",
    "SpotCheck",
    "TaskDone",
    "UploadRequest",
    "Uploaded",
    "Welcome",
    "Why",
    "WhyReason",
    "WhyRequest",
    "WorkerMessage",
    "decode_pool_message",
    "decode_worker_message",
    "encode",
]

PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 65_536
MAX_REPORTED_FILES = 256
"""A worker tells of so many files that it has."""

Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
Hex32 = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Signature = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{128,132}$")]
ShortText = Annotated[str, Field(max_length=500)]
Phase = Literal["accepted", "downloading", "computing", "sealed", "contributing", "revealing", "uploading"]
"""Coarse phases: all that is shown of a replica before consensus (decision 3)."""

CidTail = Annotated[str, Field(pattern=r"^[a-z2-7]{10}$")]
"""The end of a CID (`protocol.cid.tail_of`): tells files apart, and fetches none."""
RunName = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""Names one execution of a job on one worker."""

_Message = TypeVar("_Message")
_STRICT = ConfigDict(extra="forbid", strict=True)


class ProtocolViolation(UsageError):
    """The other side sent a message that this protocol does not have."""


# --- pool to worker ---------------------------------------------------------------------------------------------


@dataclass(config=_STRICT, frozen=True, slots=True)
class Challenge:
    """First frame: `Enrol` must answer it with a signature that binds ``nonce`` to chain, hub, pool and worker."""

    nonce: Hex32
    chain_id: int
    hub: Address
    workerpool: Address
    version: int
    kind: Literal["challenge"] = "challenge"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Welcome:
    """The worker is enrolled; it must send a `Heartbeat` at least every ``heartbeat_s`` seconds."""

    heartbeat_s: float
    now: float | None = None
    """The pool's own clock, in seconds since the epoch."""
    kind: Literal["welcome"] = "welcome"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Refused:
    """The pool will not work with this worker; ``reason`` says what to mend. The connection closes after it."""

    reason: ShortText
    kind: Literal["refused"] = "refused"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Lease:
    """Compute this task and seal the digest. Carries no authorisation (decision 2). The task is read from the chain.

    ``count`` is 0 for a task; for a run of the batch lane it is its number of tasks, ``index`` the first of them, and
    ``task_id`` its run id in every message about it."""

    lease_id: Annotated[str, Field(min_length=1, max_length=64)]
    deal_id: Hex32
    task_id: Hex32
    index: int
    round: int
    seal_window_s: float
    count: Annotated[int, Field(ge=0, lt=1 << 20)] = 0
    unopened: bool | None = None
    """True: the chain does not know the run yet; it is to be settled in one transaction. Only for `Enrol.settles`."""
    kind: Literal["lease"] = "lease"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Authorisation:
    """The scheduler's signature that lets this worker contribute to this task.

    ``fast`` True: its result was uploaded and checked; it may contribute and finalize in one transaction."""

    lease_id: str
    task_id: Hex32
    enclave_challenge: Address
    signature: Signature
    fast: bool | None = None
    kind: Literal["authorisation"] = "authorisation"


@dataclass(config=_STRICT, frozen=True, slots=True)
class RevealNotice:
    """Consensus was seen on chain. The worker checks the chain itself before it reveals."""

    task_id: Hex32
    kind: Literal["reveal_notice"] = "reveal_notice"


@dataclass(config=_STRICT, frozen=True, slots=True)
class OpeningRequest:
    """Open the seal: send its digest and salt within 60 s; silence counts as differing."""

    lease_id: str
    task_id: Hex32
    kind: Literal["opening_request"] = "opening_request"


@dataclass(config=_STRICT, frozen=True, slots=True)
class UploadRequest:
    """You revealed: upload the result archive to the network's storage and name its CID.

    ``early`` True: you sealed, and nobody else computes this task of trust 1; `Uploaded` then opens the seal, too."""

    lease_id: str
    task_id: Hex32
    early: bool | None = None
    kind: Literal["upload_request"] = "upload_request"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Abort:
    """Stop this lease; nothing more is expected for it. Results that were contributed are kept until `TaskDone`."""

    lease_id: str
    task_id: Hex32
    reason: ShortText
    kind: Literal["abort"] = "abort"


@dataclass(config=_STRICT, frozen=True, slots=True)
class TaskDone:
    """The task is COMPLETED or FAILED on chain: its folder may go."""

    task_id: Hex32
    kind: Literal["task_done"] = "task_done"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Sponsored:
    """The answer to `SponsorRequest`: what is on its way (0: nothing), and why it is not more.

    What is owed is told only to a worker that said that it ``repays``: older ones do not know these fields.
    """

    stake_nrlc: Annotated[int, Field(ge=0, lt=1 << 256)]
    coins_wei: Annotated[int, Field(ge=0, lt=1 << 256)]
    reason: ShortText
    sponsor: Address | None = None
    """Who gave the stake, and is to be paid back inside the hub's escrow."""
    owed_nrlc: Annotated[int, Field(ge=0, lt=1 << 256)] | None = None
    """What is to be paid back in all, repaid or not; None: nothing."""
    repaid_nrlc: Annotated[int, Field(ge=0, lt=1 << 256)] | None = None
    """What of it the pool has seen on chain."""
    deposit_tx: Hex32 | None = None
    """The transaction that gives the stake: the worker looks it up before it owes anything."""
    kind: Literal["sponsored"] = "sponsored"


@dataclass(config=_STRICT, frozen=True, slots=True)
class SpotCheck:
    """Run `protocol.spot_checks.SCRIPT` with these arguments now: a test of the speed that was claimed."""

    check_id: Annotated[str, Field(min_length=1, max_length=64)]
    seed: Annotated[int, Field(ge=0, lt=1 << 61)]
    rounds: Annotated[int, Field(ge=1, le=1_000_000)]
    kind: Literal["spot_check"] = "spot_check"


@dataclass(config=_STRICT, frozen=True, slots=True)
class WhyReason:
    """One rule of the pool for this worker, with its numbers in ``text``; ``allowed`` False: it keeps work away."""

    rule: Annotated[str, Field(max_length=64)]
    allowed: bool
    text: ShortText


@dataclass(config=_STRICT, frozen=True, slots=True)
class Why:
    """The answer to `WhyRequest`: how many tasks wait for workers, and which rules speak for and against this one."""

    waiting_tasks: Annotated[int, Field(ge=0)]
    reasons: Annotated[tuple[WhyReason, ...], Field(max_length=64)]
    kind: Literal["why"] = "why"


@dataclass(config=_STRICT, frozen=True, slots=True)
class PartialRequest:
    """The requester asks for what the job has written so far. Only for tasks of trust 1 (decision 3)."""

    task_id: Hex32
    request_id: Annotated[str, Field(min_length=1, max_length=64)]
    kind: Literal["partial_request"] = "partial_request"


PoolMessage = (
    Challenge
    | Welcome
    | Refused
    | Lease
    | Authorisation
    | RevealNotice
    | OpeningRequest
    | UploadRequest
    | Abort
    | TaskDone
    | Sponsored
    | SpotCheck
    | Why
    | PartialRequest
)


# --- worker to pool ---------------------------------------------------------------------------------------------


@dataclass(config=_STRICT, frozen=True, slots=True)
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
    kind: Literal["enrol"] = "enrol"


@dataclass(config=_STRICT, frozen=True, slots=True)
class HeldLease:
    """One lease that the worker holds, and how far it is."""

    lease_id: str
    task_id: Hex32
    phase: Phase


@dataclass(config=_STRICT, frozen=True, slots=True)
class Ready:
    """The worker recovered what it held (``held``) and has ``free_slots`` for new leases."""

    held: tuple[HeldLease, ...]
    free_slots: Annotated[int, Field(ge=0, le=1024)]
    kind: Literal["ready"] = "ready"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Heartbeat:
    """Still here; renews every lease in ``held``."""

    held: tuple[HeldLease, ...]
    free_slots: Annotated[int, Field(ge=0, le=1024)]
    kind: Literal["heartbeat"] = "heartbeat"


@dataclass(config=_STRICT, frozen=True, slots=True)
class PhaseReport:
    """A lease reached a coarse phase."""

    lease_id: str
    task_id: Hex32
    phase: Phase
    kind: Literal["phase"] = "phase"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Seal:
    """A signed commitment to the digest (decision 42): ``seal`` hides it, ``signature`` is its EIP-191 signature."""

    lease_id: str
    task_id: Hex32
    round: Annotated[int, Field(ge=0, lt=1 << 31)]
    seal: Hex32
    signature: Signature
    compute_s: float
    kind: Literal["seal"] = "seal"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Contributed:
    """The contribution was mined; a hint, the pool believes the chain only."""

    lease_id: str
    task_id: Hex32
    tx_hash: Hex32
    kind: Literal["contributed"] = "contributed"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Revealed:
    """The reveal was mined; a hint, the pool believes the chain only."""

    lease_id: str
    task_id: Hex32
    tx_hash: Hex32
    kind: Literal["revealed"] = "revealed"


@dataclass(config=_STRICT, frozen=True, slots=True)
class Opening:
    """The digest and salt behind a seal."""

    lease_id: str
    task_id: Hex32
    digest: Hex32
    salt: Hex32
    usage: Usage | None = None
    """What the task took of the machine."""
    kind: Literal["opening"] = "opening"


@dataclass(config=_STRICT, frozen=True, slots=True)
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


@dataclass(config=_STRICT, frozen=True, slots=True)
class LeaseFailed:
    """This machine cannot do the lease (refused by its owner's policy, wall clock, disk, …): hand it to another."""

    lease_id: str
    task_id: Hex32
    reason: ShortText
    kind: Literal["lease_failed"] = "lease_failed"


@dataclass(config=_STRICT, frozen=True, slots=True)
class SponsorRequest:
    """A newcomer asks for coins and a stake to begin with. ``agreement`` is the key's EIP-191 signature of
    `protocol.sponsorship.agreement_message`."""

    agreement: Signature
    repays: bool | None = None
    """True: this worker pays the stake back by itself, from what it earns; None: it does not, as older ones."""
    kind: Literal["sponsor_request"] = "sponsor_request"


@dataclass(config=_STRICT, frozen=True, slots=True)
class CacheReport:
    """Large inputs that need not be fetched, in place of what was reported before: a hint for whom to lease a task."""

    tails: Annotated[tuple[CidTail, ...], Field(max_length=MAX_REPORTED_FILES)]
    kind: Literal["cache"] = "cache"


@dataclass(config=_STRICT, frozen=True, slots=True)
class SpotAnswer:
    """What the script of a `SpotCheck` printed."""

    check_id: Annotated[str, Field(min_length=1, max_length=64)]
    answer: Annotated[int, Field(ge=0, lt=1 << 64)]
    kind: Literal["spot_answer"] = "spot_answer"


@dataclass(config=_STRICT, frozen=True, slots=True)
class WhyRequest:
    """Why does this worker get no work?"""

    kind: Literal["why_request"] = "why_request"


@dataclass(config=_STRICT, frozen=True, slots=True)
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


@dataclass(config=_STRICT, frozen=True, slots=True)
class Progress:
    """What a running job says of itself: ``ppm`` millionths are done. Only for tasks of trust 1 (decision 3)."""

    task_id: Hex32
    run: RunName
    ppm: Annotated[int, Field(ge=0, le=1_000_000)]
    message: Annotated[str, Field(max_length=200)] = ""
    kind: Literal["progress"] = "progress"


@dataclass(config=_STRICT, frozen=True, slots=True)
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
    | SponsorRequest
    | CacheReport
    | SpotAnswer
    | WhyRequest
    | LiveOutput
    | Progress
    | PartialResult
)

_pool_adapter: TypeAdapter[PoolMessage] = TypeAdapter(Annotated[PoolMessage, Field(discriminator="kind")])
_worker_adapter: TypeAdapter[WorkerMessage] = TypeAdapter(Annotated[WorkerMessage, Field(discriminator="kind")])


_either_adapter: TypeAdapter[PoolMessage | WorkerMessage] = TypeAdapter(
    Annotated[PoolMessage | WorkerMessage, Field(discriminator="kind")]
)


def encode(message: PoolMessage | WorkerMessage) -> str:
    """The JSON text of a message. What is None is left out, so that older peers, which lack the field, can read it."""
    return _either_adapter.dump_json(message, exclude_none=True).decode()


def decode_pool_message(text: str | bytes) -> PoolMessage:
    """Read a frame that a pool sent.

    Raises:
        ProtocolViolation: it is too large, not JSON, or not one of `PoolMessage`.
    """
    return _decode(_pool_adapter, text)


def decode_worker_message(text: str | bytes) -> WorkerMessage:
    """Read a frame that a worker sent.

    Raises:
        ProtocolViolation: it is too large, not JSON, or not one of `WorkerMessage`.
    """
    return _decode(_worker_adapter, text)


def _decode(adapter: TypeAdapter[_Message], text: str | bytes) -> _Message:
    if len(text) > MAX_FRAME_BYTES:
        raise ProtocolViolation(f"A frame of {len(text)} bytes came; at most {MAX_FRAME_BYTES} are read.")
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise ProtocolViolation(f"A message breaks protocol version {PROTOCOL_VERSION}: {error}") from error
