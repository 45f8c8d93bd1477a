"""What the scheduler tells its rim to do. Each has a ``key`` of task and step, so doing it twice does nothing more."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BanWorker",
    "ChainInstruction",
    "Claim",
    "Finalize",
    "Initialize",
    "Instruction",
    "Reopen",
    "RequestOpening",
    "RequestUpload",
    "SendAbort",
    "SendAuthorisation",
    "SendDone",
    "SendLease",
    "SendRevealNotice",
    "VerifyUpload",
    "WorkerInstruction",
]


# --- transactions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Initialize:
    task_id: str
    deal_id: str
    index: int

    @property
    def key(self) -> str:
        return f"{self.task_id}/initialize"


@dataclass(frozen=True, slots=True)
class Finalize:
    """``cid`` names the checked result; ``results_callback`` is 0x-hex, empty for a deal without callback."""

    task_id: str
    cid: str
    results_callback: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/finalize"


@dataclass(frozen=True, slots=True)
class Claim:
    task_id: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/claim"


@dataclass(frozen=True, slots=True)
class Reopen:
    """Take back a consensus that nobody revealed in time; ``round`` is the round that it ended."""

    task_id: str
    round: int

    @property
    def key(self) -> str:
        return f"{self.task_id}/reopen/{self.round}"


# --- messages to workers: repeated when a worker comes back, so it may get one twice ------------------------------


@dataclass(frozen=True, slots=True)
class SendLease:
    task_id: str
    worker: str
    lease_id: str
    deal_id: str
    index: int
    round: int
    seal_window_s: float

    @property
    def key(self) -> str:
        return f"{self.task_id}/lease/{self.lease_id}"


@dataclass(frozen=True, slots=True)
class SendAuthorisation:
    task_id: str
    worker: str
    lease_id: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/authorisation/{self.lease_id}"


@dataclass(frozen=True, slots=True)
class SendRevealNotice:
    task_id: str
    worker: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/reveal_notice/{self.worker}"


@dataclass(frozen=True, slots=True)
class RequestOpening:
    task_id: str
    worker: str
    lease_id: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/opening/{self.lease_id}"


@dataclass(frozen=True, slots=True)
class RequestUpload:
    task_id: str
    worker: str
    lease_id: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/upload/{self.lease_id}"


@dataclass(frozen=True, slots=True)
class SendAbort:
    task_id: str
    worker: str
    lease_id: str
    reason: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/abort/{self.lease_id}"


@dataclass(frozen=True, slots=True)
class SendDone:
    task_id: str
    worker: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/done/{self.worker}"


# --- the rest -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VerifyUpload:
    """Fetch ``cid``, compute its digest, compare it with ``digest``; answer `UploadVerified` or `UploadRejected`."""

    task_id: str
    lease_id: str
    cid: str
    digest: str
    callback_data: str
    has_callback: bool

    @property
    def key(self) -> str:
        return f"{self.task_id}/verify/{self.lease_id}"


@dataclass(frozen=True, slots=True)
class BanWorker:
    """Never work with this worker or its owner again; ``evidence`` is JSON text and is kept."""

    task_id: str
    worker: str
    owner: str
    reason: str
    evidence: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/ban/{self.worker}"


ChainInstruction = Initialize | Finalize | Claim | Reopen
WorkerInstruction = (
    SendLease | SendAuthorisation | SendRevealNotice | RequestOpening | RequestUpload | SendAbort | SendDone
)
Instruction = ChainInstruction | WorkerInstruction | VerifyUpload | BanWorker
