"""Fair share between requesters: start-time fair queueing, weighted by what a requester pays.

Every task that arrives gets a tag: when it would start if each requester had its own share of the pool. The smallest
tag is served first. A requester's tags are spaced by cost / weight; one that was away begins at the virtual time of
now, so that absence earns no credit to shut others out with.

Nobody starves: the virtual time follows the tags that are served and also creeps on with every arrival, so that even
an endless row of new names, each beginning at now, passes every tag that waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

__all__ = ["PRIORITIES", "FairShare", "weight_of_price"]

PRIORITIES: Final = 10
"""A requester's own tasks have priorities 0 to 9."""
_CREEP: Final = 1 / 100_000


def weight_of_price(price_nrlc: int) -> float:
    """How much a task's price weighs: 1 for a free one, and 1 more for every doubling; 31 for a billion nRLC.

    Logarithmic on purpose: who pays more is served more, and nobody can buy the whole pool.
    """
    return 1.0 + math.log2(1 + max(price_nrlc, 0))


@dataclass(slots=True)
class FairShare:
    """Tags in the order of arrival. Deterministic; it remembers at most ``max_requesters`` that are ahead of now."""

    max_requesters: int = 10_000
    _ends: dict[str, list[float]] = field(default_factory=dict)
    _now: float = 0.0

    def arrive(self, requester: str, *, cost: float, weight: float = 1.0, priority: int = 0) -> float:
        """The tag of a task of ``requester``; ``cost`` is its expected work in seconds of one machine.

        ``priority`` is among the requester's own tasks: one queues behind those of the same or a higher priority only,
        pushes later ones of a lower back, and uses up 1 + 3 × priority times its share. What waits already cannot be
        pushed back, so a burst at every priority at once gets at most 1.8 times the share, for a while.
        """
        level = min(max(priority, 0), PRIORITIES - 1)
        ends = self._ends.setdefault(requester, [self._now] * PRIORITIES)
        tag = max(ends[level], self._now)
        step = (1 + 3 * level) * max(cost, 1e-9) / max(weight, 1e-9)
        for lower in range(level + 1):
            ends[lower] = max(ends[lower], self._now) + step
        self._now += step * _CREEP
        if len(self._ends) > self.max_requesters:
            self._forget()
        return tag

    def served(self, tag: float) -> None:
        """The task with this tag begins."""
        self._now = max(self._now, tag)

    def _forget(self) -> None:
        """Forget those whose time has come (newcomers stand where they do), then those that are least ahead."""
        self._ends = {name: ends for name, ends in self._ends.items() if ends[0] > self._now}
        if len(self._ends) > self.max_requesters:
            kept = sorted(self._ends, key=lambda name: -self._ends[name][0])[: self.max_requesters // 2]
            self._ends = {name: self._ends[name] for name in kept}
