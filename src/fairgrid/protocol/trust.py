"""Trust arithmetic (decisions 1 and 48, `spec/poco.md` §14).

A deal's trust is an integer t; it reads as the confidence 1 - 1/t. A worker's contribution weighs
``max(score // 3, 3) - 1``; agreeing weights multiply, and a result wins as soon as ``group · t > total · (t - 1)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import MAX_UINT256

__all__ = [
    "FRESH_WEIGHT",
    "SCORE_DIVISOR",
    "confidence_from_trust",
    "consensus_reached",
    "exact_weight",
    "log2_weight",
    "needs_more_replicas",
    "reachable_trust",
    "replicas_to_request",
    "trust_for_workers",
    "trust_from_confidence",
    "worker_weight",
]

SCORE_DIVISOR: Final = 3
FRESH_WEIGHT: Final = 2
"""The weight of a worker whose score is below 12."""


def trust_from_confidence(confidence: Decimal | str | int) -> int:
    """The smallest trust t with 1 - 1/t ≥ ``confidence``: ceil(1 / (1 - confidence)), computed exactly.

    Floats are refused: 1 / (1 - 0.9) is a little over 10 in binary, and would give 11.

    Raises:
        UsageError: it is not a decimal number with 0 ≤ confidence < 1, or the chain has no trust that high.
    """
    if isinstance(confidence, float):
        raise UsageError(f"Give the confidence as text or Decimal, not as the float {confidence!r}.")
    try:
        exact = Decimal(confidence)
    except (InvalidOperation, ValueError, TypeError):
        raise UsageError(f"{confidence!r} is not a number: give a confidence such as 0.99.") from None
    if not exact.is_finite() or not 0 <= exact < 1:
        raise UsageError(f"A confidence is at least 0 and below 1, not {confidence}: give one such as 0.99.")
    if exact.adjusted() < -100 or -exact.as_tuple().exponent > 100:  # type: ignore[operator]
        # an exponent of a million would make the exact fraction fill the memory
        raise UsageError(f"The confidence {confidence} has too many digits: give one such as 0.99.")
    trust: int = math.ceil(1 / (1 - Fraction(exact)))
    if trust > MAX_UINT256:
        raise UsageError(f"No deal can carry the confidence {confidence}: ask for less, such as 0.99.")
    return trust


def confidence_from_trust(trust: int) -> Decimal:
    """1 - 1/t, rounded down to 28 significant digits; trust 0 counts as 1 (confidence 0).

    `trust_from_confidence` gives the trust back, as long as it is below 10**13.
    """
    doubt = Context(prec=28, rounding=ROUND_CEILING).divide(Decimal(1), Decimal(max(trust, 1)))
    return Context(prec=28, rounding=ROUND_FLOOR).subtract(Decimal(1), doubt)


def worker_weight(score: int) -> int:
    """What a worker's contribution weighs: 2 below score 12, then 1 more every 3 points."""
    return max(score // SCORE_DIVISOR, 3) - 1


def log2_weight(weight: int) -> int:
    """floor(log2(weight)): the share of a contribution of that weight in the workers' reward. ``weight`` ≥ 1."""
    return weight.bit_length() - 1


def exact_weight(score: int, log2: int) -> int:
    """What a contribution weighed, of a worker that has ``score`` now, or had it then.

    The hub keeps only ``log2`` of a contribution's weight, and the score may have changed since: of the weights with
    that logarithm it is the nearest to the score's.
    """
    return min(max(worker_weight(score), 1 << log2), (2 << log2) - 1)


def consensus_reached(group: int, total: int, trust: int) -> bool:
    """True if a result whose agreeing weights multiply to ``group`` wins; ``total`` is 1 plus the sum of all groups."""
    required = max(trust, 1)
    return group * required > total * (required - 1)


def reachable_trust(weights: Sequence[int]) -> int:
    """The highest trust that workers of these weights reach if all agree: their product; 0 without workers."""
    return math.prod(weights) if weights else 0


def trust_for_workers(weights: Sequence[int], workers: int) -> int:
    """The lowest trust that no ``workers - 1`` of the workers of these weights can reach: so ``workers`` must agree.

    1 plus the product of the ``workers - 1`` highest weights (decision 48); 1 for one worker. Workers that are not
    there count as fresh, so that the trust is then above `reachable_trust`.

    Raises:
        UsageError: ``workers`` is below 1.
    """
    if workers < 1:
        raise UsageError(f"At least one worker must compute a task, not {workers}.")
    if workers == 1:
        return 1
    highest = sorted(weights, reverse=True)[: workers - 1]
    missing: int = FRESH_WEIGHT ** (workers - 1 - len(highest))
    return 1 + math.prod(highest) * missing


def needs_more_replicas(groups: Mapping[str, int], pending: int, trust: int) -> bool:
    """True while the best result could not win even if all pending workers agree with it (`task-runtime.md` §1).

    ``groups`` are the contributed results with their weights (products), ``pending`` the product of the weights of
    workers that are still expected, 0 when there is none. Workers that failed or are late must not be counted.
    """
    contributed = sorted((weight for weight in groups.values() if weight > 0), reverse=True)
    best = contributed[0] if contributed else 0
    expected = (best or 1) * (pending or 1) if best or pending else 0
    return not consensus_reached(expected, 1 + expected + sum(contributed[1:]), trust)


def replicas_to_request(
    groups: Mapping[str, int], pending: Sequence[int], candidates: Sequence[int], trust: int
) -> int:
    """How many of ``candidates`` (weights, in the order in which they would be asked) to ask now.

    The smallest number with which the task could finish; all of them if not even all suffice.
    """
    expected = reachable_trust(pending)
    for count, weight in enumerate(candidates):
        if not needs_more_replicas(groups, expected, trust):
            return count
        expected = max(expected, 1) * weight
    return len(candidates)
