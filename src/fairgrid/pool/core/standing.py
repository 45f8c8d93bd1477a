"""What a pool knows of a worker from its own experience, beside the chain's score (decision 8).

The chain's score can be farmed with tasks that cost nothing. Credibility cannot be had so cheaply: it counts only what
requesters paid that have nothing to do with the worker, and each of them less and less. Who pays itself through a
second key still loses the pool's share of every price; that is the cost of cheating, and it is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

__all__ = ["MAX_PAYERS", "Standing"]

MAX_PAYERS = 32
"""So many requesters are remembered for a worker: those that paid most."""


class Standing(Struct, frozen=True, gc=False, omit_defaults=True):
    """One worker's record with this pool; times are local seconds, 0 means never."""

    worker: str
    owner: str
    valid_in_a_row: int = 0
    """Valid results since the last that was disproved."""
    valid: int = 0
    disproved: int = 0
    faults: int = 0
    """Leases that it lost, forgot or gave back."""
    quarantines: int = 0
    quarantined_until: float = 0.0
    quota: int = 0
    """Leases in one window; 0: unlimited."""
    quota_used: int = 0
    quota_since: float = 0.0
    paid: dict[str, int] = field(default_factory=dict)
    """What each unrelated requester paid (nRLC) for tasks that the worker computed rightly."""
    owed_nrlc: int = 0
    """What the pool owes it for audits."""
    payments: int = 0
    """How often the pool paid it for audits."""
    paid_nrlc: int = 0
    """What these payments were together."""

    def credibility(self, unit_nrlc: int) -> float:
        """Points: for each requester log2(1 + paid / unit), so that one big payer does not stand for many."""
        return sum(math.log2(1 + value / unit_nrlc) for value in self.paid.values())

    def is_quarantined(self, now: float) -> bool:
        return now < self.quarantined_until

    def quota_left(self, now: float, window_s: float) -> int | None:
        """Leases that it may still get in this window; None: as many as it wants."""
        if not self.quota:
            return None
        used = self.quota_used if now < self.quota_since + window_s else 0
        return max(self.quota - used, 0)

    # --- what happens -------------------------------------------------------------------------------------------------

    def after_lease(self, now: float, window_s: float) -> Standing:
        if not self.quota:
            return self
        if now >= self.quota_since + window_s:
            return replace(self, quota_used=1, quota_since=now)
        return replace(self, quota_used=self.quota_used + 1)

    def after_valid(self, *, quota_after_fault: int, requester: str = "", price_nrlc: int = 0) -> Standing:
        """A result of its was right: agreed on chain, or as an audit."""
        quota = 0 if self.quota * 2 > quota_after_fault else self.quota * 2
        paid = self.paid
        if price_nrlc > 0 and requester and requester not in (self.worker, self.owner):
            paid = _added(paid, requester, price_nrlc)
        return replace(self, valid=self.valid + 1, valid_in_a_row=self.valid_in_a_row + 1, quota=quota, paid=paid)

    def after_disproved(self, now: float, *, first_s: float, longest_s: float) -> Standing:
        """A result of its was wrong: quarantine, and it has to prove itself anew."""
        length = min(first_s * 4.0 ** min(self.quarantines, 30), longest_s)
        return replace(
            self,
            disproved=self.disproved + 1,
            valid_in_a_row=0,
            quarantines=self.quarantines + 1,
            quarantined_until=max(self.quarantined_until, now + length),
        )

    def after_fault(self, now: float, *, quota_after_fault: int) -> Standing:
        """A lease came to nothing through this worker."""
        quota = max(self.quota // 2, 1) if self.quota else quota_after_fault
        since = self.quota_since if self.quota else now
        return replace(self, faults=self.faults + 1, quota=quota, quota_since=since)

    def after_payment(self) -> Standing:
        """All that it is owed is on its way to it."""
        return replace(self, owed_nrlc=0, payments=self.payments + 1, paid_nrlc=self.paid_nrlc + self.owed_nrlc)

    def owed(self, nrlc: int) -> Standing:
        """The pool owes it so much more."""
        return replace(self, owed_nrlc=max(self.owed_nrlc + nrlc, 0))


def _added(paid: Mapping[str, int], requester: str, value: int) -> dict[str, int]:
    grown = dict(paid)
    grown[requester] = grown.get(requester, 0) + value
    if len(grown) > MAX_PAYERS:
        del grown[min(grown, key=lambda name: (grown[name], name))]
    return grown
