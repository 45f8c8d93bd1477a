"""Trust policy: who is audited how often, who is right when two differ, and what a worker's record does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import UsageError
from fairgrid.pool.core.credibility import Standings
from fairgrid.pool.core.standing import MAX_PAYERS, Standing
from fairgrid.pool.core.trust_policy import TrustPolicy, Verdict, judge
from fairgrid.seams.addresses import network_of_ip

POLICY = TrustPolicy(audit_share=0.05, proven_after=10)


def after(count: int, policy: TrustPolicy = POLICY) -> Standing:
    standings = Standings(policy)
    for _ in range(count):
        standings.valid("w", "o")
    return standings.of("w", "o")


@pytest.mark.parametrize(
    ("valid", "probability"), [(0, 1.0), (9, 1.0), (10, 0.1), (15, 1 / 15), (20, 0.05), (1_000, 0.05)]
)
def test_audits_fall_as_one_over_n_and_never_below_the_share(valid: int, probability: float) -> None:
    assert POLICY.audit_probability(after(valid)) == pytest.approx(probability)


def test_without_an_audit_share_nobody_is_audited() -> None:
    policy = TrustPolicy()
    assert policy.audit_probability(after(0, policy)) == 0
    assert policy.extra_replicas(after(0, policy), 0.0) == 0


def test_the_draw_decides_and_a_newcomer_has_no_luck() -> None:
    assert POLICY.extra_replicas(after(0), 0.999) == 1
    assert POLICY.extra_replicas(after(100), 0.0499) == 1
    assert POLICY.extra_replicas(after(100), 0.0501) == 0


def test_one_disproved_result_takes_all_trust_back_and_each_further_one_costs_four_times_as_long() -> None:
    standings = Standings(POLICY)
    for _ in range(50):
        standings.valid("w", "o")
    standings.disproved("w", "o", 100.0)
    assert standings.is_newcomer("w", "o")
    assert not standings.may_lease("w", "o", 100.0 + 3_599)
    assert standings.may_lease("w", "o", 100.0 + 3_600)
    standings.disproved("w", "o", 10_000.0)
    assert not standings.may_lease("w", "o", 10_000.0 + 4 * 3_600 - 1)
    assert standings.may_lease("w", "o", 10_000.0 + 4 * 3_600)
    for _ in range(100):
        standings.disproved("w", "o", 20_000.0)
    assert standings.may_lease("w", "o", 20_000.0 + POLICY.longest_quarantine_s)


def test_quota_falls_with_faults_and_recovers_with_valid_results() -> None:
    standings = Standings(TrustPolicy(quota_after_fault=4, quota_window_s=60))

    def leases(now: float) -> int:
        for count in itertools.count():
            if count == 100 or not standings.may_lease("w", "o", now):
                return count
            standings.leased("w", "o", now)
        raise AssertionError

    assert leases(0.0) == 100
    standings.fault("w", "o", 0.0)
    assert leases(0.0) == 4
    assert leases(59.0) == 0
    assert leases(60.0) == 4
    standings.fault("w", "o", 60.0)
    standings.fault("w", "o", 60.0)
    standings.fault("w", "o", 60.0)
    assert leases(120.0) == 1
    standings.valid("w", "o")
    assert leases(200.0) == 2
    standings.valid("w", "o")
    assert leases(300.0) == 4
    standings.valid("w", "o")
    assert leases(400.0) == 100


def test_credibility_counts_what_unrelated_requesters_paid_and_one_of_them_less_and_less() -> None:
    unit = POLICY.credibility_unit_nrlc
    standings = Standings(POLICY)
    for _ in range(1_000):
        standings.valid("w", "o", requester="friend", price_nrlc=0)
        standings.valid("w", "o", requester="o", price_nrlc=unit)
        standings.valid("w", "o", requester="w", price_nrlc=unit)
    assert standings.of("w", "o").credibility(unit) == 0
    standings.valid("w", "o", requester="a", price_nrlc=7 * unit)
    assert standings.of("w", "o").credibility(unit) == 3
    standings.valid("w", "o", requester="a", price_nrlc=8 * unit)
    assert standings.of("w", "o").credibility(unit) == 4
    standings.valid("w", "o", requester="b", price_nrlc=15 * unit)
    assert standings.of("w", "o").credibility(unit) == 8


def test_the_pool_may_ask_newcomers_for_credibility_too() -> None:
    policy = TrustPolicy(audit_share=0.05, min_credibility=1.0)
    standings = Standings(policy)
    for _ in range(50):
        standings.valid("w", "o", requester="a", price_nrlc=0)
    assert standings.is_newcomer("w", "o")
    standings.valid("w", "o", requester="a", price_nrlc=policy.credibility_unit_nrlc)
    assert not standings.is_newcomer("w", "o")


def test_payers_are_bounded_and_the_smallest_goes() -> None:
    standings = Standings(POLICY)
    for number in range(MAX_PAYERS + 10):
        standings.valid("w", "o", requester=f"r{number}", price_nrlc=100 + number)
    paid = standings.of("w", "o").paid
    assert len(paid) == MAX_PAYERS and "r0" not in paid and f"r{MAX_PAYERS + 9}" in paid


def test_what_changed_is_told_once_and_restored_as_it_was() -> None:
    standings = Standings(POLICY)
    standings.audited("w", "o", price_nrlc=101)
    (changed,) = standings.take_changed()
    assert (changed.owed_nrlc, changed.valid) == (50, 1)
    assert standings.take_changed() == ()
    other = Standings(POLICY)
    other.restore([changed])
    assert other.of("w", "o") == changed
    other.disproved("w", "o", 5.0)
    other.release("w", "o")
    assert other.may_lease("w", "o", 5.0) and other.is_newcomer("w", "o")


@pytest.mark.parametrize(
    ("others", "winners", "expected"),
    [
        (["x"], 1, (Verdict.UPHELD, "x")),
        (["y"], 1, (Verdict.UNDECIDED, "")),
        (["y", "x"], 1, (Verdict.UPHELD, "x")),
        (["y", "y"], 1, (Verdict.DISPROVED, "y")),
        (["y", "z"], 1, (Verdict.UNDECIDED, "")),
        (["y", "z", "z"], 1, (Verdict.DISPROVED, "z")),
        (["y"], 3, (Verdict.UPHELD, "x")),
        ([], 1, (Verdict.UPHELD, "x")),
    ],
)
def test_two_that_agree_beat_one(others: list[str], winners: int, expected: tuple[Verdict, str]) -> None:
    assert judge("x", others, winners=winners) == expected


@given(st.lists(st.sampled_from("xyz"), max_size=7))
def test_a_verdict_is_the_majoritys_in_whatever_order_openings_come(others: list[str]) -> None:
    verdicts = {judge("x", order) for order in itertools.islice(itertools.permutations(others), 50)}
    assert len(verdicts) == 1
    verdict, winner = verdicts.pop()
    voices = ["x", *others]
    if verdict is not Verdict.UNDECIDED:
        assert all(voices.count(winner) > voices.count(other) for other in set(voices) - {winner})
    assert (verdict is Verdict.UPHELD) == (winner == "x")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2::5", "2001:db8:1::/48"),
        ("pool.example", ""),
        ("", ""),
    ],
)
def test_networks_are_24_bits_of_version_4_and_48_of_version_6(address: str, network: str) -> None:
    assert network_of_ip(address, ipv6_bits=48) == network


@pytest.mark.parametrize(
    "fields",
    [
        {"audit_share": 1.1},
        {"audit_share": -0.1},
        {"proven_after": 0},
        {"longest_quarantine_s": 1.0},
        {"audit_pay_percent": 101},
        {"quota_window_s": 0.0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="pool policy's"):
        TrustPolicy(**fields)  # type: ignore[arg-type]
