"""Which pool this is: the hub on its chain, and the workerpool there."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PoolIdentity"]


@dataclass(frozen=True, slots=True)
class PoolIdentity:
    """Which hub on which chain, and which workerpool of it, this scheduler serves."""

    chain_id: int
    hub: str
    workerpool: str
