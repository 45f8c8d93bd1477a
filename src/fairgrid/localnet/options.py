"""What the user of a local network may choose: its workers, its terms, how it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairgrid.errors import UsageError
from fairgrid.localnet.assets import Terms

__all__ = [
    "ANVIL",
    "DEFAULT_WORKERS",
    "MARKET",
    "POOL",
    "SERVICES",
    "STORAGE",
    "LocalNetworkOptions",
    "WorkerSpec",
    "check_names",
    "honest_workers",
]

ANVIL, STORAGE, MARKET, POOL = "anvil", "storage", "market", "pool"
SERVICES = (STORAGE, MARKET, POOL)
DEFAULT_WORKERS = 8
"""Eight honest owners reach trust 256, hence a confidence of 0.99 (decision 1)."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker of its own owner."""

    name: str
    misbehave: str | None = None
    """What ``fairgrid worker start --misbehave`` takes; None for an honest one."""
    slots: int = 1
    arguments: tuple[str, ...] = ()
    """What else ``fairgrid worker start`` is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalNetworkOptions:
    """How a local network behaves."""

    block_time: int = 1
    """Seconds between the chain's blocks; transactions are mined at once beside them."""
    terms: Terms = field(default_factory=Terms)
    pool_policy: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the pool's policy file; in lists, a worker's name stands for its address."""
    levels: tuple[str, ...] = ()
    """Isolation levels that the workers offer; empty: what their own policies say, ``wasm`` alone at first."""
    pool_database: str = ""
    """Where the pool's state lies, as ``fairgrid pool start --database`` takes it; empty: in its folder."""
    pool_processes: int = 1
    """So many processes of the pool; more than one need a PostgreSQL database. One leads, the others stand by."""
    ready_within_s: float = 90.0
    """How long a service may take to start."""
    detach: bool = False
    """True: the processes outlive this one. False: they end with it, however it ends."""

    @property
    def standing_by(self) -> tuple[str, ...]:
        """Names of the pool's further processes: ``pool-2`` and so on."""
        return tuple(f"{POOL}-{number}" for number in range(2, self.pool_processes + 1))


def honest_workers(count: int) -> tuple[WorkerSpec, ...]:
    """``worker-1`` to ``worker-<count>``."""
    return tuple(WorkerSpec(f"worker-{number}") for number in range(1, count + 1))


def check_names(workers: Sequence[WorkerSpec]) -> None:
    """Each worker's name is its process, its folder and its log.

    Raises:
        UsageError: two workers have the same name, or one has a name that is no plain file name.
    """
    names = [worker.name for worker in workers]
    if len(set(names)) != len(names) or not all(_is_plain(name) for name in names):
        raise UsageError(f"Workers need different names of letters, digits and -, not {', '.join(names)}.")


def _is_plain(name: str) -> bool:
    own = name == ANVIL or name.partition("-")[0] in SERVICES
    return bool(name) and name.replace("-", "").isalnum() and not own
