"""What the scheduler remembers of workers: of those that are connected, and of those that are banned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairgrid.protocol.machine import Machine

if TYPE_CHECKING:
    from fairgrid.pool.core.events import Held

__all__ = ["Ban", "WorkerState"]


@dataclass(slots=True)
class WorkerState:
    """A connected worker. ``stake`` is its free deposit on chain in nRLC."""

    worker: str
    owner: str
    slots: int
    score: int
    weight: int
    stake: int
    runtimes: tuple[str, ...] = ()
    free_slots: int = 0
    ready: bool = False
    leases_given: int = 0
    machine: Machine | None = None
    """What it claims to offer; None when it claims nothing."""
    claimed_labels: tuple[str, ...] = ()
    """Those labels of its machine that its owner chose; the operator chose the others."""
    network: str = ""
    """The network that it came from (a /24 of IPv4, a /48 of IPv6); empty when it is not known."""
    fast: bool = False
    """It can contribute and finalize in one transaction."""
    settles: bool = False
    """It can compute a run before it is opened, and settle it in one transaction."""
    opens_keys: bool = False
    """It can ask for the keys of private jobs."""
    unjudged: tuple[tuple[Held, bool], ...] = ()
    """Leases that it holds and the pool does not know, and whether their tasks are over by the store: judged when the
    chain's past is read."""
    cached: frozenset[str] = frozenset()
    """The ends of the CIDs of files that it says that it has (`protocol.cid.tail_of`); a hint, never proved."""


@dataclass(frozen=True, slots=True)
class Ban:
    """Why a worker, and its owner, get no more work here. ``evidence`` is JSON text."""

    worker: str
    owner: str
    task_id: str
    reason: str
    evidence: str
    at: float
