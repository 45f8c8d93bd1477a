"""Where tasks are computed: the seam under an executor, with the grid behind it, or this machine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fairgrid.errors import ServiceError
from fairgrid.protocol.certificate import Certificate

__all__ = ["AppProgram", "Backend", "DealJob", "DealVoid", "SignedDeal", "TaskEnding", "TaskJob", "Terms"]


@dataclass(frozen=True, slots=True)
class AppProgram:
    """A published app as it lies on this machine: what a deal of its tasks needs besides their own files."""

    address: str
    program: Path
    inputs: tuple[Path, ...]
    """Files that every task of it has."""
    runtime: str
    memory_bytes: int
    reach: tuple[str, ...] = ()
    """Hosts that every task of it connects to."""


@dataclass(frozen=True, slots=True)
class TaskJob:
    """One task: the script's arguments, and files that only some tasks need."""

    arguments: tuple[str, ...]
    inputs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class DealJob:
    """All tasks of a deal. ``job_name`` is unique in its run: by it a deal is found again after a crash."""

    job_name: str
    script: Path
    inputs: tuple[Path, ...]
    tasks: tuple[TaskJob, ...]
    app: AppProgram | None = None
    """The published app whose tasks these are, with ``script`` and ``inputs`` as its own; None for Python calls."""


@dataclass(frozen=True, slots=True)
class SignedDeal:
    """A deal that is signed and noted: from here on it is paid for once, whatever happens."""

    job_name: str
    deal_id: str
    tasks: int
    price: int
    """Of all its tasks together (nRLC)."""


@dataclass(frozen=True, slots=True)
class TaskEnding:
    """How a task ended: with files in ``folder``, with an agreed ``error``, with its money back, or with a ``failure``.

    A failure is a result that could not be believed: it is paid for, and nothing of it is used.
    """

    index: int
    folder: Path | None = None
    error: dict[str, Any] | None = None
    refunded: bool = False
    failure: Exception | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What one task costs now, and how it is verified. Amounts are nRLC."""

    price: int
    trust: int
    runtime: str
    escrow: int = 0
    """What the account has in escrow, free to spend."""
    workers: int = 1
    """Connected now."""
    workers_per_task: int = 1
    """So many of them must agree, at their weights of now."""
    batch: bool = False
    """Tasks are settled in runs."""
    on_chain: bool = False
    """Results are agreed on by others, and settled."""
    audit_share: float = 0.0
    """The least share of tasks that the pool says to compute once more in silence."""


class DealVoid(ServiceError):
    """A signed deal never came to be, and never will: nothing was locked."""


class Backend(Protocol):
    """Computes deals. Used from one event loop."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Leave; deals go on."""
        ...

    async def app(self, address: str) -> AppProgram:
        """The published app at this address, its files on this machine.

        Raises:
            FairgridError: there is none, it cannot be used, or something does not answer.
        """
        ...

    async def price(self, app: str = "") -> int:
        """What one task costs now (nRLC), of Python calls or of the ``app`` at an address.

        It refuses what can never work, such as a trust out of reach.
        """
        ...

    async def terms(self, tasks: int, app: str = "") -> Terms:
        """What each of so many tasks costs and is worth now; refuses as `price` does."""
        ...

    async def certificate(self, deal_id: str, index: int) -> Certificate:
        """The certificate of a settled task; ``index`` counts from the deal's first task.

        Raises:
            UsageError: there is none, or nobody here can make one.
        """
        ...

    async def deadline(self, deal_id: str) -> float | None:
        """When what has no result in a signed deal can be taken back (seconds since 1970); None: nothing is locked.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        ...

    async def sign(self, job: DealJob, *, most: int) -> SignedDeal:
        """Sign a deal that costs at most ``most`` nRLC, and note it.

        Raises:
            BudgetExceeded: it costs more; nothing was signed.
            DealVoid: another transaction of the account came between; nothing was signed.
            ServiceUnavailable: something does not answer; nothing was signed.
        """
        ...

    async def find(self, job: DealJob) -> SignedDeal | None:
        """The deal that was signed for a job last, if there was one."""
        ...

    async def match(self, deal: SignedDeal) -> None:
        """Send it until it is mined; sending the same deal twice is harmless.

        Raises:
            DealVoid: it cannot be mined any more; it may be signed anew.
            ServiceUnavailable: the chain does not answer.
        """
        ...

    def endings(self, deal: SignedDeal, out: Path) -> AsyncGenerator[TaskEnding, None]:
        """Every task's end, each once, as they come; files are verified and lie under ``out``."""
        ...
