from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from fairgrid.protocol.consensus import ConsensusState

CONTRIBUTIONS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(2, 20)), max_size=12)


@given(contributions=CONTRIBUTIONS)
def test_groups_are_products_and_the_total_is_one_more_than_their_sum(contributions: list[tuple[str, int]]) -> None:
    state = ConsensusState()
    for value, weight in contributions:
        state = state.add(value, weight)
    products = {
        value: math.prod(weight for other, weight in contributions if other == value) for value, _ in contributions
    }
    assert dict(state.groups) == products
    assert state.total == 1 + sum(products.values())


@given(contributions=CONTRIBUTIONS)
def test_a_reopened_result_counts_no_more(contributions: list[tuple[str, int]]) -> None:
    state = ConsensusState()
    for value, weight in [*contributions, ("a", 2)]:
        state = state.add(value, weight)
    without = state.without("a")
    assert without.group("a") == 0
    assert without.total == 1 + state.group("b") + state.group("c")
    assert without.add("a", 3).group("a") == 3


def test_adding_gives_a_new_state_and_keeps_the_old() -> None:
    before = ConsensusState().add("a", 2)
    after = before.add("a", 2)
    assert (before.group("a"), after.group("a")) == (2, 4)
    assert before.group("never") == 0


def test_a_first_contribution_wins_at_trust_one_and_two_but_not_three() -> None:
    state = ConsensusState().add("a", 2)
    assert [state.reached("a", trust) for trust in (0, 1, 2, 3)] == [True, True, True, False]


def test_what_nobody_contributed_is_never_reached() -> None:
    assert not ConsensusState().reached("a", 2)
