"""What the scheduler tells its rim to do. Each has a ``key`` of task and step, so doing it twice does nothing more."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AwaitDependencies",
    "BanWorker",
    "ChainInstruction",
    "Claim",
    "Finalize",
    "FinalizeRun",
    "Initialize",
    "Instruction",
    "OpenRun",
    "PayAuditor",
    "RefundRest",
    "Reopen",
    "RequestOpening",
    "RequestUpload",
    "SendAbort",
    "SendAuthorisation",
    "SendDone",
    "SendLease",
    "SendRevealNotice",
    "SplitRun",
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


@dataclass(frozen=True, slots=True)
class OpenRun:
    """Open the next ``count`` tasks of a deal as the run ``task_id``; the first of them is ``index``."""

    task_id: str
    deal_id: str
    index: int
    count: int

    @property
    def key(self) -> str:
        return f"{self.task_id}/openrun"


@dataclass(frozen=True, slots=True)
class SplitRun:
    """Replace a run by two, of ``left`` tasks and of the rest."""

    task_id: str
    left: int

    @property
    def key(self) -> str:
        return f"{self.task_id}/splitrun"


@dataclass(frozen=True, slots=True)
class FinalizeRun:
    """``cid`` names the checked manifest of the results, ``root`` is the root over the tasks' digests."""

    task_id: str
    root: str
    cid: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/finalizerun"


@dataclass(frozen=True, slots=True)
class RefundRest:
    """Refund all tasks of the deal ``task_id`` that were never opened."""

    task_id: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/refundrest"


@dataclass(frozen=True, slots=True)
class PayAuditor:
    """Pay a worker for audits out of the pool's account in the escrow: its payment number ``number``."""

    worker: str
    number: int
    amount_nrlc: int

    @property
    def task_id(self) -> str:
        """It belongs to a worker, not to a task."""
        return self.worker

    @property
    def key(self) -> str:
        return f"{self.worker}/audits/{self.number}"


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
    count: int = 0
    """Tasks of a run; 0 for a task."""

    @property
    def key(self) -> str:
        return f"{self.task_id}/lease/{self.lease_id}"


@dataclass(frozen=True, slots=True)
class SendAuthorisation:
    """``fast``: the result is here and checked, the worker may contribute and finalize in one transaction."""

    task_id: str
    worker: str
    lease_id: str
    fast: bool = False

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
    """``early``: before the contribution, with the seal's opening (`fairgrid.pool.fast_path`)."""

    task_id: str
    worker: str
    lease_id: str
    early: bool = False

    @property
    def key(self) -> str:
        return f"{self.task_id}/{'early_' if self.early else ''}upload/{self.lease_id}"


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
    first: int = 0
    count: int = 0
    """Of a run: its first index, and how many tasks it has; ``cid`` is then that of the manifest of its results."""

    @property
    def key(self) -> str:
        return f"{self.task_id}/verify/{self.lease_id}"


@dataclass(frozen=True, slots=True)
class AwaitDependencies:
    """Find out whose results the task reads; answer `DependenciesMet` when they are there, or `DependencyFailed`."""

    task_id: str
    deal_id: str
    index: int
    count: int = 0
    """Tasks of the run that waits, ``index`` is the first; 0: a task of its own."""

    @property
    def key(self) -> str:
        return f"{self.task_id}/dependencies"


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


ChainInstruction = Initialize | Finalize | Claim | Reopen | OpenRun | SplitRun | FinalizeRun | RefundRest | PayAuditor
WorkerInstruction = (
    SendLease | SendAuthorisation | SendRevealNotice | RequestOpening | RequestUpload | SendAbort | SendDone
)
Instruction = ChainInstruction | WorkerInstruction | VerifyUpload | AwaitDependencies | BanWorker
