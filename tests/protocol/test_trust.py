from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import UsageError
from fairgrid.protocol.consensus import ConsensusState
from fairgrid.protocol.trust import (
    confidence_from_trust,
    consensus_reached,
    log2_weight,
    needs_more_replicas,
    reachable_trust,
    replicas_to_request,
    trust_for_workers,
    trust_from_confidence,
    worker_weight,
)

WEIGHTS = st.lists(st.integers(2, 40), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("confidence", "trust"),
    [("0", 1), ("0.5", 2), ("0.9", 10), ("0.99", 100), ("0.999", 1000), ("0.91", 12), ("0.3", 2), ("0.0001", 2)],
)
def test_confidence_becomes_the_smallest_trust_that_gives_it(confidence: str, trust: int) -> None:
    assert trust_from_confidence(confidence) == trust
    assert trust_from_confidence(Decimal(confidence)) == trust


@given(trust=st.integers(1, 10**13))
def test_trust_and_confidence_are_inverse(trust: int) -> None:
    assert trust_from_confidence(confidence_from_trust(trust)) == trust


def test_trust_zero_is_no_confidence() -> None:
    assert confidence_from_trust(0) == confidence_from_trust(1) == 0


@given(numerator=st.integers(0, 10**6 - 1))
def test_the_trust_is_enough_and_one_less_is_not(numerator: int) -> None:
    confidence = Decimal(numerator) / 10**6
    trust = trust_from_confidence(confidence)
    assert 1 - Decimal(1) / trust >= confidence - Decimal("1e-20")
    if trust > 1:
        assert 1 - Decimal(1) / (trust - 1) < confidence


@pytest.mark.parametrize("confidence", ["1", "-0.1", "2", "nan", "inf", "high", "", "1e-1000000", "0." + "9" * 101])
def test_an_impossible_confidence_is_refused(confidence: str) -> None:
    with pytest.raises(UsageError):
        trust_from_confidence(confidence)


def test_a_float_is_refused_because_it_gives_eleven_for_nine_tenths() -> None:
    with pytest.raises(UsageError, match="float"):
        trust_from_confidence(0.9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("score", "weight"), [(0, 2), (8, 2), (9, 2), (11, 2), (12, 3), (14, 3), (15, 4), (17, 4), (18, 5), (300, 99)]
)
def test_weight_grows_every_three_points_from_twelve_on(score: int, weight: int) -> None:
    assert worker_weight(score) == weight


@pytest.mark.parametrize(("weight", "logarithm"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (255, 7), (256, 8)])
def test_reward_weight_is_the_floor_of_the_logarithm(weight: int, logarithm: int) -> None:
    assert log2_weight(weight) == logarithm


@pytest.mark.parametrize(("workers", "trust"), [(1, 2), (2, 4), (3, 8), (5, 32), (10, 1024)])
def test_fresh_workers_reach_two_to_their_number(workers: int, trust: int) -> None:
    assert reachable_trust([2] * workers) == trust
    assert consensus_reached(2**workers, 1 + 2**workers, trust)
    assert not consensus_reached(2**workers, 1 + 2**workers, trust + 1)


def test_nobody_reaches_nothing() -> None:
    assert reachable_trust([]) == 0


@pytest.mark.parametrize("honest", [1, 2, 3, 4, 5, 6])
def test_one_dissenter_lowers_what_is_reached_to_a_third(honest: int) -> None:
    group, total = 2**honest, 1 + 2**honest + 2
    reached = [trust for trust in range(1, 100) if consensus_reached(group, total, trust)]
    assert all(3 * trust < 2**honest + 3 for trust in reached)
    assert 3 * (max(reached) + 1) >= 2**honest + 3


@given(weights=WEIGHTS)
def test_reachable_trust_is_exactly_what_agreement_reaches(weights: list[int]) -> None:
    state = ConsensusState()
    for weight in weights:
        state = state.add("0x01", weight)
    assert state.reached("0x01", reachable_trust(weights))
    assert not state.reached("0x01", reachable_trust(weights) + 1)


@given(weights=WEIGHTS, data=st.data())
def test_trust_for_workers_needs_that_many_whoever_they_are(weights: list[int], data: st.DataObject) -> None:
    workers = data.draw(st.integers(1, len(weights)))
    trust = trust_for_workers(weights, workers)
    strongest = sorted(weights, reverse=True)
    assert reachable_trust(strongest[: workers - 1]) < trust
    assert trust <= max(reachable_trust(strongest[:workers]), 1)


def test_more_workers_than_the_pool_has_is_a_trust_that_it_cannot_reach() -> None:
    assert trust_for_workers([2, 3], 3) == 7 > reachable_trust([2, 3])
    assert trust_for_workers([2, 3], 5) > reachable_trust([2, 3])
    assert trust_for_workers([], 2) == 3


def test_fewer_than_one_worker_is_refused() -> None:
    with pytest.raises(UsageError):
        trust_for_workers([2], 0)


def test_trust_one_needs_one_worker_and_no_more() -> None:
    assert needs_more_replicas({}, 0, 1)
    assert replicas_to_request({}, [], [2, 2, 2], 1) == 1
    assert replicas_to_request({}, [2], [2, 2, 2], 1) == 0
    assert replicas_to_request({"a": 2}, [], [2, 2, 2], 0) == 0


@pytest.mark.parametrize(("trust", "replicas"), [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (100, 6)])
def test_as_many_fresh_workers_as_agreement_needs(trust: int, replicas: int) -> None:
    assert replicas_to_request({}, [], [2] * 6, trust) == replicas


def test_pending_workers_count_and_dissent_asks_for_more() -> None:
    assert replicas_to_request({"a": 4}, [2], [2] * 6, 8) == 0
    assert replicas_to_request({"a": 4}, [], [2] * 6, 8) == 1
    assert replicas_to_request({"a": 4, "liar": 2}, [], [2] * 6, 8) == 3
    assert replicas_to_request({"a": 4, "liar": 2}, [], [30], 8) == 1


@given(
    groups=st.dictionaries(st.text(max_size=2), st.integers(2, 64), max_size=3),
    pending=st.lists(st.integers(2, 9), max_size=4),
    candidates=st.lists(st.integers(2, 9), max_size=6),
    trust=st.integers(0, 500),
)
def test_what_is_requested_suffices_and_one_less_does_not(
    groups: dict[str, int], pending: list[int], candidates: list[int], trust: int
) -> None:
    count = replicas_to_request(groups, pending, candidates, trust)
    enough = not needs_more_replicas(groups, reachable_trust(pending + candidates[:count]), trust)
    assert enough or count == len(candidates)
    if count:
        assert needs_more_replicas(groups, reachable_trust(pending + candidates[: count - 1]), trust)
