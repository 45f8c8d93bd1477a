"""How far a pool believes a worker: when it computes a task once more in silence, and who was right if two differ.

One contribution decides a task whose trust a single worker reaches. What keeps such results right is the pool's own
policy: every task of a worker that has not proved itself, and a random, unannounced share of those of one that has, is
leased to one worker more, that seals and is never authorised (decision 4). The share falls with every valid result in
a row, as BOINC's adaptive replication does, but never below ``audit_share``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fairgrid.errors import UsageError
from fairgrid.pool.core.standing import Standing

__all__ = ["TrustPolicy", "Verdict", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """What an operator decides about trust. Shares are of 1, times are seconds."""

    audit_share: float = 0.0
    """At least this share of a proven worker's tasks is computed once more in silence; 0: no audits at all."""
    proven_after: int = 10
    """A worker has proved itself after so many valid results in a row; before, every task of its is audited."""
    first_quarantine_s: float = 3_600.0
    """A worker whose result was disproved gets no work for so long; four times as long after each further time."""
    longest_quarantine_s: float = 2_592_000.0
    """No quarantine is longer."""
    max_arbiters: int = 3
    """If contributor and auditor differ, so many others are asked in turn, until two agree."""
    dispute_wait_s: float = 300.0
    """If no arbiter decides within this, the consensus on chain counts, and nobody is blamed."""
    audit_payment_nrlc: int = 100_000_000
    """What a worker is owed for audits is paid when it is so much, from the pool's account in the escrow; 0: never."""
    audit_pay_percent: int = 50
    """What an auditor that was right is owed, in percent of the task's price; the pool pays it from its share."""
    quota_window_s: float = 600.0
    """After a fault, a worker's leases are counted in windows of so many seconds."""
    quota_after_fault: int = 32
    """So many leases in one window after a first fault; half as many after each further one, twice as many after each
    valid result, unlimited again beyond this."""
    max_replicas_per_network: int = 0
    """At most so many replicas of one task in one network (IPv4 /24, IPv6 /48); 0: no limit. Not behind a proxy that
    hides addresses."""
    credibility_unit_nrlc: int = 1_000_000
    """What an unrelated requester must have paid for a worker to gain its first point of credibility."""
    min_credibility: float = 0.0
    """A worker with less credibility counts as a newcomer, however many valid results it has."""

    def __post_init__(self) -> None:
        if not 0 <= self.audit_share <= 1:
            raise UsageError(f"The pool policy's audit_share is {self.audit_share}; it is a share from 0 to 1.")
        if self.proven_after < 1 or self.max_arbiters < 1 or self.quota_after_fault < 1:
            raise UsageError("The pool policy's proven_after, max_arbiters and quota_after_fault must be at least 1.")
        if self.first_quarantine_s < 0 or self.longest_quarantine_s < self.first_quarantine_s:
            raise UsageError("The pool policy's longest_quarantine_s must not be below its first_quarantine_s.")
        if not 0 <= self.audit_pay_percent <= 100:
            raise UsageError("The pool policy's audit_pay_percent is a percentage from 0 to 100.")
        if self.quota_window_s <= 0 or self.credibility_unit_nrlc < 1:
            raise UsageError("The pool policy's quota_window_s and credibility_unit_nrlc must be more than 0.")

    @property
    def audits(self) -> bool:
        """Whether this pool audits at all."""
        return self.audit_share > 0

    def is_newcomer(self, standing: Standing) -> bool:
        """Whether the worker has still to prove itself."""
        if standing.valid_in_a_row < self.proven_after:
            return True
        return self.min_credibility > 0 and standing.credibility(self.credibility_unit_nrlc) < self.min_credibility

    def audit_probability(self, standing: Standing) -> float:
        """How likely a task of this worker is audited: 1 for a newcomer, then 1/n after n valid ones in a row."""
        if not self.audits:
            return 0.0
        if self.is_newcomer(standing):
            return 1.0
        return max(self.audit_share, 1.0 / standing.valid_in_a_row)

    def extra_replicas(self, standing: Standing, draw: float) -> int:
        """How many silent replicas a task of this worker gets; ``draw`` is uniform in [0, 1) and nobody's guess."""
        return 1 if draw < self.audit_probability(standing) else 0


class Verdict(StrEnum):
    """What openings say of a consensus."""

    UNDECIDED = "undecided"
    """Nobody else agrees with anybody yet: ask an arbiter."""
    UPHELD = "upheld"
    """As many as any agree with the consensus, the contributor counted."""
    DISPROVED = "disproved"
    """More agree with another result than with the consensus."""


def judge(consensus: str, others: Sequence[str], *, winners: int = 1) -> tuple[Verdict, str]:
    """Weigh the digests of auditors and arbiters against the consensus; gives the verdict and the digest that won.

    The consensus has the voices of its ``winners``. Two that agree beat one; a tie is undecided.
    """
    voices = Counter(others)
    voices[consensus] += winners
    ranked = voices.most_common()
    best, count = ranked[0]
    if len(ranked) == 1:
        return Verdict.UPHELD, consensus
    if count == ranked[1][1]:
        return Verdict.UNDECIDED, ""
    return (Verdict.UPHELD, consensus) if best == consensus else (Verdict.DISPROVED, best)
