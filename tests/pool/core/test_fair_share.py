"""Fair share: shares follow weights, and nobody starves."""

from __future__ import annotations

import heapq
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.pool.core.fair_share import FairShare, weight_of_price


def serve(arrivals: list[tuple[str, float, float, int]], count: int) -> list[tuple[str, int]]:
    """All arrive at once; who is served in which order, with the priority."""
    share = FairShare()
    heap: list[tuple[float, int, str, int]] = []
    for number, (name, cost, weight, priority) in enumerate(arrivals):
        heapq.heappush(heap, (share.arrive(name, cost=cost, weight=weight, priority=priority), number, name, priority))
    served: list[tuple[str, int]] = []
    while heap and len(served) < count:
        tag, _, name, priority = heapq.heappop(heap)
        share.served(tag)
        served.append((name, priority))
    return served


def test_one_of_a_thousand_tasks_does_not_delay_the_requester_of_one() -> None:
    order = serve([*[("bulk", 60.0, 1.0, 0)] * 1_000, ("single", 60.0, 1.0, 0)], 3)
    assert ("single", 0) in order


def test_two_requesters_alternate_however_many_tasks_each_has() -> None:
    order = serve([*[("bulk", 60.0, 1.0, 0)] * 500, *[("other", 60.0, 1.0, 0)] * 50], 100)
    assert 48 <= Counter(name for name, _ in order)["other"] <= 50


@pytest.mark.parametrize("ratio", [2, 5, 10])
def test_the_share_follows_the_weight(ratio: int) -> None:
    arrivals = [*[("light", 1.0, 1.0, 0)] * 1_000, *[("heavy", 1.0, float(ratio), 0)] * 1_000]
    counts = Counter(name for name, _ in serve(arrivals, 11 * 50))
    assert counts["heavy"] / counts["light"] == pytest.approx(ratio, rel=0.1)


def test_long_tasks_count_more_than_short_ones() -> None:
    arrivals = [*[("long", 10.0, 1.0, 0)] * 200, *[("short", 1.0, 1.0, 0)] * 200]
    counts = Counter(name for name, _ in serve(arrivals, 110))
    assert counts["short"] == pytest.approx(10 * counts["long"], rel=0.1)


def test_a_priority_passes_the_requesters_own_waiting_tasks_and_little_of_others() -> None:
    bulk, others = [("a", 1.0, 1.0, 0)] * 100, [("b", 1.0, 1.0, 0)] * 100
    order = serve([*bulk, *others, ("a", 1.0, 1.0, 9)], 3)
    assert ("a", 9) in order
    everything = [("a", 1.0, 1.0, priority) for priority in range(10) for _ in range(200)]
    counts = Counter(name for name, _ in serve([*everything, *[("b", 1.0, 1.0, 0)] * 200], 280))
    assert counts["a"] / counts["b"] <= 1.9
    later = FairShare()
    later.arrive("a", cost=1.0, priority=9)
    assert later.arrive("a", cost=1.0) >= 28.0, "it is paid for with the requester's own later tasks"


def test_who_was_away_earns_no_credit() -> None:
    share = FairShare()
    for _ in range(100):
        share.served(share.arrive("busy", cost=1.0))
    back, busy = share.arrive("back", cost=1.0), share.arrive("busy", cost=1.0)
    assert busy - back <= 1.0, "at most the one task that is its turn"


def test_a_waiting_task_is_passed_by_an_endless_row_of_new_names_only_for_so_long() -> None:
    share = FairShare()
    waiting = max(share.arrive("waits", cost=1.0) for _ in range(3))
    for number in range(400_000):
        tag = share.arrive(f"new name {number}", cost=1.0)
        if tag > waiting:
            return
        share.served(tag)
    raise AssertionError("it starves")


def test_memory_is_bounded_whoever_comes() -> None:
    share = FairShare(max_requesters=100)
    for number in range(5_000):
        share.arrive(f"name {number}", cost=1.0)
    assert len(share._ends) <= 101


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.floats(0.5, 50), st.floats(1, 31), st.integers(0, 9)),
        min_size=1,
        max_size=120,
    )
)
def test_every_task_is_served_and_no_first_task_queues_behind_those_of_others(
    arrivals: list[tuple[str, float, float, int]],
) -> None:
    order = serve(arrivals, len(arrivals))
    assert len(order) == len(arrivals)
    assert Counter(order) == Counter((name, priority) for name, _, _, priority in arrivals)
    # Whoever's first task comes last waits for what the others got in the time of one round of the slowest.
    share = FairShare()
    tags = [(share.arrive(name, cost=cost, weight=weight, priority=p), name) for name, cost, weight, p in arrivals]
    first: dict[str, float] = {}
    for tag, name in tags:
        first[name] = min(first.get(name, tag), tag)
    creep = sum(28 * cost for _, cost, _, _ in arrivals) / 100_000
    assert max(first.values()) <= creep, "every requester's first task starts at now, whatever others queued before"


@pytest.mark.parametrize(("price", "weight"), [(0, 1), (1, 2), (3, 3), (2**30 - 1, 31)])
def test_weight_grows_with_the_logarithm_of_the_price(price: int, weight: float) -> None:
    assert weight_of_price(price) == weight
