"""What the scheduler tells its rim to do. Each has a ``key`` of task and step, so doing it twice does nothing more."""

from __future__ import annotations

from msgspec import Struct

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


class Initialize(Struct, frozen=True, gc=False):
    task_id: str
    deal_id: str
    index: int

    @property
    def key(self) -> str:
        return f"{self.task_id}/initialize"


class Finalize(Struct, frozen=True, gc=False):
    """``cid`` names the checked result; ``results_callback`` is 0x-hex, empty for a deal without callback."""

    task_id: str
    cid: str
    results_callback: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/finalize"


class Claim(Struct, frozen=True, gc=False):
    task_id: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/claim"


class Reopen(Struct, frozen=True, gc=False):
    """Take back a consensus that nobody revealed in time; ``round`` is the round that it ended."""

    task_id: str
    round: int

    @property
    def key(self) -> str:
        return f"{self.task_id}/reopen/{self.round}"


class OpenRun(Struct, frozen=True, gc=False):
    """Open the next ``count`` tasks of a deal as the run ``task_id``; the first of them is ``index``."""

    task_id: str
    deal_id: str
    index: int
    count: int

    @property
    def key(self) -> str:
        return f"{self.task_id}/openrun"


class SplitRun(Struct, frozen=True, gc=False):
    """Replace a run by two, of ``left`` tasks and of the rest."""

    task_id: str
    left: int

    @property
    def key(self) -> str:
        return f"{self.task_id}/splitrun"


class FinalizeRun(Struct, frozen=True, gc=False):
    """``cid`` names the checked manifest of the results, ``root`` is the root over the tasks' digests."""

    task_id: str
    root: str
    cid: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/finalizerun"


class RefundRest(Struct, frozen=True, gc=False):
    """Refund all tasks of the deal ``task_id`` that were never opened."""

    task_id: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/refundrest"


class PayAuditor(Struct, frozen=True, gc=False):
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


class SendLease(Struct, frozen=True, gc=False):
    task_id: str
    worker: str
    lease_id: str
    deal_id: str
    index: int
    round: int
    seal_window_s: float
    count: int = 0
    """Tasks of a run; 0 for a task."""
    unopened: bool = False
    """The chain does not know the run yet: it is to be settled in one transaction."""

    @property
    def key(self) -> str:
        return f"{self.task_id}/lease/{self.lease_id}"


class SendAuthorisation(Struct, frozen=True, gc=False):
    """``fast``: the result is here and checked, the worker may contribute and finalize in one transaction."""

    task_id: str
    worker: str
    lease_id: str
    fast: bool = False

    @property
    def key(self) -> str:
        return f"{self.task_id}/authorisation/{self.lease_id}"


class SendRevealNotice(Struct, frozen=True, gc=False):
    task_id: str
    worker: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/reveal_notice/{self.worker}"


class RequestOpening(Struct, frozen=True, gc=False):
    task_id: str
    worker: str
    lease_id: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/opening/{self.lease_id}"


class RequestUpload(Struct, frozen=True, gc=False):
    """``early``: before the contribution, with the seal's opening (`fairgrid.pool.core.fast_path`)."""

    task_id: str
    worker: str
    lease_id: str
    early: bool = False

    @property
    def key(self) -> str:
        return f"{self.task_id}/{'early_' if self.early else ''}upload/{self.lease_id}"


class SendAbort(Struct, frozen=True, gc=False):
    task_id: str
    worker: str
    lease_id: str
    reason: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/abort/{self.lease_id}"


class SendDone(Struct, frozen=True, gc=False):
    task_id: str
    worker: str

    @property
    def key(self) -> str:
        return f"{self.task_id}/done/{self.worker}"


# --- the rest -----------------------------------------------------------------------------------------------------


class VerifyUpload(Struct, frozen=True, gc=False):
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


class AwaitDependencies(Struct, frozen=True, gc=False):
    """Find out whose results the task reads; answer `DependenciesMet` when they are there, or `DependencyFailed`."""

    task_id: str
    deal_id: str
    index: int
    count: int = 0
    """Tasks of the run that waits, ``index`` is the first; 0: a task of its own."""

    @property
    def key(self) -> str:
        return f"{self.task_id}/dependencies"


class BanWorker(Struct, frozen=True, gc=False):
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
