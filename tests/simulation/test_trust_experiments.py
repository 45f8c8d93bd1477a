"""Experiments with the shipped trust policy: the targets of decision 10, the peers, and the published formulas."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fairgrid.errors import UsageError
from fairgrid.pool.core.trust_policy import TrustPolicy
from fairgrid.simulation import sarmenta
from fairgrid.simulation.experiment import TARGETS, Experiment, Measured, run, ways_for
from fairgrid.simulation.population import RIGHT, Adversaries, Behaviour, Population

POLICY = TrustPolicy(audit_share=0.05)
SMALL = Experiment(workers=100, tasks=6_000, volatility=0.001)


def measured(experiment: Experiment, way: str, policy: TrustPolicy = POLICY) -> Measured:
    (chosen,) = [candidate for candidate in ways_for(policy) if candidate.name == way]
    return run(experiment, chosen, policy)


# --- targets of decision 10 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", list(Behaviour))
@pytest.mark.parametrize("established", [True, False])
def test_audits_stay_below_the_promised_overhead_with_five_percent_independent_adversaries(
    established: bool, behaviour: Behaviour
) -> None:
    cell = replace(SMALL, established=established, adversaries=Adversaries(share=0.05, behaviour=behaviour))
    got = measured(cell, "audits")
    assert got.overhead <= TARGETS["established" if established else "fresh"]
    assert got.wrong_rate <= 0.02


def test_liars_from_the_start_get_no_wrong_result_through_and_are_caught() -> None:
    cell = replace(SMALL, adversaries=Adversaries(share=0.2))
    assert measured(cell, "audits").wrong == 0
    without = measured(cell, "audits", TrustPolicy())
    assert without.wrong_rate == pytest.approx(0.2, abs=0.02), "without audits every lie goes through"
    assert without.overhead == 1.0


def test_colluders_break_replication_and_boincs_rule_more_than_audits() -> None:
    cell = replace(SMALL, adversaries=Adversaries(share=0.33, colluding=True))
    audits, adaptive, two = (measured(cell, way) for way in ("audits", "adaptive", "2 agree"))
    assert audits.wrong_rate < 0.1 * min(adaptive.wrong_rate, two.wrong_rate)
    assert audits.overhead < min(adaptive.overhead, two.overhead)


def test_a_higher_audit_share_lets_fewer_lies_of_sleepers_through_and_costs_more() -> None:
    cell = replace(SMALL, adversaries=Adversaries(share=0.1, behaviour=Behaviour.SLEEPER))
    rare = measured(cell, "audits", TrustPolicy(audit_share=0.02))
    often = measured(cell, "audits", TrustPolicy(audit_share=0.2))
    assert often.wrong < rare.wrong
    assert often.overhead > rare.overhead


def test_who_comes_back_under_new_names_costs_more_and_gets_little_through() -> None:
    cell = replace(SMALL, adversaries=Adversaries(share=0.05))
    back = replace(cell, adversaries=Adversaries(share=0.05, rejoins=True))
    stays, rejoins = measured(cell, "audits"), measured(back, "audits")
    assert rejoins.overhead > stays.overhead + 0.02
    assert rejoins.wrong_rate < 0.005


def test_replication_lets_through_what_the_formula_says() -> None:
    cell = replace(SMALL, tasks=20_000, adversaries=Adversaries(share=0.2, colluding=True))
    got = measured(cell, "2 agree")
    assert got.wrong_rate == pytest.approx(sarmenta.majority_error(0.2, 2), rel=0.1)


def test_without_adversaries_nothing_is_wrong_or_refused() -> None:
    cell = replace(SMALL, adversaries=Adversaries(share=0.0))
    for way in ways_for(POLICY):
        got = run(cell, way, POLICY)
        assert (got.wrong, got.refused) == (0, 0)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    cell = replace(SMALL, tasks=2_000, adversaries=Adversaries(share=0.2, behaviour=Behaviour.SLEEPER))
    assert measured(cell, "audits") == measured(cell, "audits")
    assert measured(cell, "audits") != measured(replace(cell, seed=2), "audits")


def test_a_zero_is_told_with_what_it_can_promise() -> None:
    nothing = Measured("audits", tasks=10_000, wrong=0, refused=0, executions=10_500)
    assert nothing.wrong_rate == 0 < nothing.wrong_at_most < 5e-4
    assert Measured("audits", 10, 0, 10, 20).wrong_rate == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"workers": 3},
        {"tasks": 0},
        {"volatility": 1.5},
        {"adversaries": Adversaries(share=1.0)},
        {"adversaries": Adversaries(lie_rate=-1)},
    ],
)
def test_experiments_that_make_no_sense_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Experiment(**fields)  # type: ignore[arg-type]


# --- people ---------------------------------------------------------------------------------------------------------


def people(adversaries: Adversaries) -> Population:
    return Population(size=20, adversaries=adversaries, volatility=0.0, sleep_for=3, random=random.Random(1))


def test_colluders_tell_one_lie_and_loners_each_their_own() -> None:
    together, alone = people(Adversaries(share=0.5, colluding=True)), people(Adversaries(share=0.5))
    for population, kinds in ((together, 1), (alone, 10)):
        lies = {population.result_of(member, 7) for member in population.members if member.bad}
        assert len(lies) == kinds and RIGHT not in lies
        assert all(population.result_of(member, 7) == RIGHT for member in population.members if not member.bad)


def test_sleepers_are_honest_until_they_are_believed() -> None:
    population = people(Adversaries(share=0.5, behaviour=Behaviour.SLEEPER))
    (sleeper, *_) = [member for member in population.members if member.bad]
    said = [population.result_of(sleeper, number) == RIGHT for number in range(5)]
    assert said == [True, True, True, False, False]


# --- the paper --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("f", "m"), [(0.05, 2), (0.2, 2), (0.2, 3), (0.33, 3)])
def test_majority_voting_has_the_papers_error_and_stays_below_its_bound(f: float, m: int) -> None:
    error, executions = sarmenta.majority_trial(f, m, 60_000, 1)
    assert error == pytest.approx(sarmenta.majority_error(f, m), rel=0.1)
    assert error <= sarmenta.majority_bound(f, m)
    assert m <= executions <= sarmenta.voting_redundancy(f, m)


@pytest.mark.parametrize("s", [0.01, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("f", [0.05, 0.2, 0.5])
def test_spot_checks_keep_every_lie_rate_below_the_papers_bound(f: float, s: float) -> None:
    exact = sarmenta.spot_check_error(f, 0.1, 200, s)
    assert exact <= sarmenta.spot_check_bound(f, 0.1, 200)
    trial = sarmenta.spot_check_trial(f, 0.1, 200, s, 20_000, 1)
    assert trial == pytest.approx(exact, rel=0.15, abs=2e-4)


def test_coming_back_under_new_names_helps_a_saboteur_and_stays_below_its_bound() -> None:
    blacklisted = sarmenta.spot_check_trial(0.2, 0.1, 100, 0.1, 20_000, 1)
    rejoining = sarmenta.spot_check_trial(0.2, 0.1, 100, 0.1, 20_000, 1, rejoins=True)
    assert blacklisted < rejoining <= sarmenta.spot_check_no_blacklist_bound(0.2, 0.1, 100)


def test_agreeing_results_are_believed_more_and_contradicted_ones_less() -> None:
    (alone,) = sarmenta.credibility_of_group([[0.8]])
    assert alone == pytest.approx(0.8)
    (pair,) = sarmenta.credibility_of_group([[0.8, 0.8]])
    assert pair == pytest.approx(0.64 / (0.64 + 0.04))
    first, second = sarmenta.credibility_of_group([[0.8, 0.8], [0.8]])
    assert pair > first > second and first + second < 1


@pytest.mark.parametrize("s", [0.05, 0.2, 1.0])
def test_credibility_based_voting_keeps_the_error_that_was_asked_for_at_every_lie_rate(s: float) -> None:
    loose = sarmenta.credibility_trial(f=0.2, q=0.1, s=s, accept=0.99, workers=200, tasks=4_000, seed=1)
    strict = sarmenta.credibility_trial(f=0.2, q=0.1, s=s, accept=0.999, workers=200, tasks=4_000, seed=1)
    assert loose.error <= 0.01 and strict.error <= 0.001 * 1.5
    assert 1 < loose.slowdown < strict.slowdown < sarmenta.voting_redundancy(0.2, 4)
