"""What an agent stands on: the work on this computer, its options, and whom its owner listens to."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from fairgrid.protocol.views import Deal, Task
from fairgrid.worker.computing.misbehave import Misbehaviour
from fairgrid.worker.core import events as ev
from fairgrid.worker.core.held import HeldTask
from fairgrid.worker.core.machine import KEEP_BLOCKS

__all__ = ["AgentOptions", "Announcer", "TaskWork"]


class TaskWork(Protocol):
    """The parts of a task that run on this computer. Each raises a `FairgridError` when it cannot be done here."""

    async def check_app(self, deal: Deal) -> str | None:
        """Why the deal's app is not run here; None when it is."""
        ...

    async def download(self, held: HeldTask, deal: Deal, tell: Callable[[str], None]) -> None:
        """Fetch manifest and inputs, and make what this machine needs of a program that is new to it; ``tell`` hears,
        in words for the owner, what takes long."""
        ...

    async def compute(self, held: HeldTask, deal: Deal, task: Task) -> ev.Computed:
        """Run the job; its result folder is on disk afterwards."""
        ...

    async def upload(self, held: HeldTask) -> str:
        """Archive the result, upload it; gives the CID."""
        ...

    async def check_run(self, held: HeldTask, deal: Deal, task: Task) -> str | None:
        """Why a run does not fit its deadline on this computer, as far as is known; None when it may."""
        ...

    def suspend(self) -> bool:
        """Let running jobs stand still; False where a sandbox cannot."""
        ...

    def resume(self) -> None:
        """Let them go on."""
        ...

    async def discard(self, held: HeldTask, outcome: str) -> None:
        """Remove the folder of a task that ended so."""
        ...

    async def sweep(self, held: Collection[HeldTask]) -> None:
        """Remove the folders of all tasks that are not ``held``: what a crash left behind."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """How an agent behaves; times in seconds."""

    slots: int = 1
    confirmations: int = 0
    """Blocks on top of a fact of the chain before anything is published because of it (decision 30)."""
    poll_s: float = 1.0
    """How often held tasks are read from the chain."""
    calm_looks: int = 5
    """So many times less often those are read of which only the pool can say what comes next, or this machine."""
    settled_poll_s: float = 30.0
    """How often those are read whose task is over."""
    receipt_poll_s: float = 0.3
    replace_after_s: float = 60.0
    """A transaction that is not mined for so long is replaced by one that offers more for gas."""
    keep_s: int = 86_400
    """How long a finished result is kept when the pool never says that it is done (chain time)."""
    retry_for_s: float = 60.0
    """How long a lease waits for a chain or storage that does not answer before it is handed back."""
    stop_s: float = 4.0
    keep_blocks: int = KEEP_BLOCKS
    """How long the record and result of a task that is over are kept, in blocks: a reorganisation may take its end
    back. 0: not at all."""
    tasks: int | None = None
    """End once so many tasks were sealed and what hangs on them is finished; None: go on. A run counts as all of its
    tasks and is taken whole; what is handed back does not count."""
    misbehaviour: Misbehaviour | None = None
    benchmark: bool = False
    """Measure the machine before the first enrolment, and tell the pool."""
    sponsor: bool = False
    """Ask the pool for coins and a stake to begin with."""


class Announcer(Protocol):
    """Whom the owner of the machine listens to."""

    def ready(self, url: str) -> None:
        """Enrolled at this pool."""

    def waiting(self, reason: str) -> None:
        """Not enrolled, and why; said once per reason."""
