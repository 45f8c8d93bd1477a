"""How full a pool is, for requesters who would rather go elsewhere than wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairgrid.pool.observability.numbers import PoolNumbers
from fairgrid.protocol.trust import reachable_trust

__all__ = ["replicas_for", "room_document", "room_for"]


def replicas_for(trust: int, weights: Sequence[int]) -> int:
    """So many of the connected owners, the lightest first, must agree for ``trust``; all of them if they do not do."""
    lightest = sorted(weights)
    for count in range(1, len(lightest) + 1):
        if reachable_trust(lightest[:count]) >= trust:
            return count
    return max(len(lightest), 1)


def room_for(numbers: PoolNumbers, *, trust: int, weights: Sequence[int]) -> int:
    """How many more tasks of this trust would begin at once: slots that are free when all who wait have theirs."""
    each = replicas_for(trust, weights)
    return max(numbers.free_slots // each - numbers.waiting_tasks - numbers.unbegun_tasks, 0)


def room_document(numbers: PoolNumbers, *, trust: int, weights: Sequence[int], refusal: str) -> dict[str, Any]:
    """What `GET /room` answers; ``refusal`` says why the requester is not admitted."""
    return {
        "admitted": not refusal,
        "reason": refusal,
        "room": room_for(numbers, trust=trust, weights=weights),
        "waiting": numbers.waiting_tasks + numbers.unbegun_tasks,
        "oldestWaitS": round(numbers.oldest_wait_s, 3),
    }
