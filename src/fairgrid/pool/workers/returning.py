"""Owners who are away for a moment: a pool that was just restarted has all its workers again a few seconds later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairgrid.pool.core.worker_state import WorkerState
from fairgrid.protocol.trust import reachable_trust

__all__ = ["Absences", "Return"]

_AFTER_START_S = 30.0
"""Workers look for their pool every seven seconds at most (`worker.connection.link`)."""
_AFTER_LOSS_S = 60.0
"""A worker that was killed and started again is back by then."""


@dataclass(frozen=True, slots=True)
class Return:
    """Who may be back soon.

    Attributes:
        within_s: waiting longer is in vain (s); 0 when nobody is expected.
        reachable: the trust that they and those who are connected would reach; None when it cannot be known.
    """

    within_s: float
    reachable: int | None


class Absences:
    """Remembers since when this process serves, and which owners were lost a moment ago."""

    def __init__(self, since: float) -> None:
        """``since``: when the process began to serve (s)."""
        self._since = since
        self._lost: dict[str, tuple[float, int]] = {}

    def lost(self, owner: str, weight: int, now: float) -> None:
        """A worker of ``owner`` is gone, at ``now`` (s)."""
        self._lost[owner] = (now, weight)

    def expected(self, connected: Mapping[str, WorkerState], now: float) -> Return:
        """Who may be back, beside the owners that are ``connected`` now."""
        self._lost = {
            owner: (at, weight)
            for owner, (at, weight) in self._lost.items()
            if owner not in connected and at + _AFTER_LOSS_S > now
        }
        starting_s = self._since + _AFTER_START_S - now
        if starting_s > 0:
            return Return(starting_s, None)
        if not self._lost:
            return Return(0.0, None)
        weights = [worker.weight for worker in connected.values()]
        weights += [weight for _, weight in self._lost.values()]
        last = max(at for at, _ in self._lost.values())
        return Return(last + _AFTER_LOSS_S - now, reachable_trust(weights))
