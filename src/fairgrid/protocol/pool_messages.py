"""What a pool says to a worker (`fairgrid.protocol.wire` tells the order of a task's life)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from fairgrid.protocol.wire_fields import STRICT, Address, Hex32, ShortText, Signature

__all__ = [
    "Abort",
    "Authorisation",
    "Challenge",
    "Lease",
    "OpeningRequest",
    "PartialRequest",
    "PoolMessage",
    "Refused",
    "RevealNotice",
    "Sponsored",
    "SpotCheck",
    "TaskDone",
    "TaskKey",
    "UploadRequest",
    "Welcome",
    "Why",
    "WhyReason",
]


@dataclass(config=STRICT, frozen=True, slots=True)
class Challenge:
    """First frame: `Enrol` must answer it with a signature that binds ``nonce`` to chain, hub, pool and worker."""

    nonce: Hex32
    chain_id: int
    hub: Address
    workerpool: Address
    version: int
    kind: Literal["challenge"] = "challenge"


@dataclass(config=STRICT, frozen=True, slots=True)
class Welcome:
    """The worker is enrolled; it must send a `Heartbeat` at least every ``heartbeat_s`` seconds."""

    heartbeat_s: float
    now: float | None = None
    """The pool's own clock, in seconds since the epoch."""
    kind: Literal["welcome"] = "welcome"


@dataclass(config=STRICT, frozen=True, slots=True)
class Refused:
    """The pool will not work with this worker; ``reason`` says what to mend. The connection closes after it."""

    reason: ShortText
    kind: Literal["refused"] = "refused"


@dataclass(config=STRICT, frozen=True, slots=True)
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


@dataclass(config=STRICT, frozen=True, slots=True)
class Authorisation:
    """The scheduler's signature that lets this worker contribute to this task.

    ``fast`` True: its result was uploaded and checked; it may contribute and finalize in one transaction."""

    lease_id: str
    task_id: Hex32
    enclave_challenge: Address
    signature: Signature
    fast: bool | None = None
    kind: Literal["authorisation"] = "authorisation"


@dataclass(config=STRICT, frozen=True, slots=True)
class RevealNotice:
    """Consensus was seen on chain. The worker checks the chain itself before it reveals."""

    task_id: Hex32
    kind: Literal["reveal_notice"] = "reveal_notice"


@dataclass(config=STRICT, frozen=True, slots=True)
class OpeningRequest:
    """Open the seal: send its digest and salt within 60 s; silence counts as differing."""

    lease_id: str
    task_id: Hex32
    kind: Literal["opening_request"] = "opening_request"


@dataclass(config=STRICT, frozen=True, slots=True)
class UploadRequest:
    """You revealed: upload the result archive to the network's storage and name its CID.

    ``early`` True: you sealed, and nobody else computes this task of trust 1; `Uploaded` then opens the seal, too."""

    lease_id: str
    task_id: Hex32
    early: bool | None = None
    kind: Literal["upload_request"] = "upload_request"


@dataclass(config=STRICT, frozen=True, slots=True)
class Abort:
    """Stop this lease; nothing more is expected for it. Results that were contributed are kept until `TaskDone`."""

    lease_id: str
    task_id: Hex32
    reason: ShortText
    kind: Literal["abort"] = "abort"


@dataclass(config=STRICT, frozen=True, slots=True)
class TaskDone:
    """The task is COMPLETED or FAILED on chain: its folder may go."""

    task_id: Hex32
    kind: Literal["task_done"] = "task_done"


@dataclass(config=STRICT, frozen=True, slots=True)
class TaskKey:
    """The answer to `TaskKeyRequest`: the keys of the lease's tasks (`protocol.data_keys.TaskKeys`), sealed in the
    context of the request's message; or none, and the ``reason``."""

    task_id: Hex32
    sealed: Annotated[str, Field(pattern=r"^0x([0-9a-f]{2})+$", max_length=32_768)] | None = None
    reason: ShortText = ""
    lasting: bool | None = None
    """True: it is useless to ask again."""
    kind: Literal["task_key"] = "task_key"


@dataclass(config=STRICT, frozen=True, slots=True)
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


@dataclass(config=STRICT, frozen=True, slots=True)
class SpotCheck:
    """Run `protocol.spot_checks.SCRIPT` with these arguments now: a test of the speed that was claimed."""

    check_id: Annotated[str, Field(min_length=1, max_length=64)]
    seed: Annotated[int, Field(ge=0, lt=1 << 61)]
    rounds: Annotated[int, Field(ge=1, le=1_000_000)]
    kind: Literal["spot_check"] = "spot_check"


@dataclass(config=STRICT, frozen=True, slots=True)
class WhyReason:
    """One rule of the pool for this worker, with its numbers in ``text``; ``allowed`` False: it keeps work away."""

    rule: Annotated[str, Field(max_length=64)]
    allowed: bool
    text: ShortText


@dataclass(config=STRICT, frozen=True, slots=True)
class Why:
    """The answer to `WhyRequest`: how many tasks wait for workers, and which rules speak for and against this one."""

    waiting_tasks: Annotated[int, Field(ge=0)]
    reasons: Annotated[tuple[WhyReason, ...], Field(max_length=64)]
    kind: Literal["why"] = "why"


@dataclass(config=STRICT, frozen=True, slots=True)
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
    | TaskKey
    | Sponsored
    | SpotCheck
    | Why
    | PartialRequest
)
