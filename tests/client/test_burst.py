"""Which tasks go elsewhere: never more than the own pool cannot begin, and never above a cap."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.client.burst import (
    BurstOffer,
    BurstRules,
    check_caps,
    load_burst_rules,
    one_at_a_time,
    plan_burst,
    spent_on_burst,
)
from fairgrid.client.journal import DealRecord
from fairgrid.errors import FundsError, UsageError
from fairgrid.pool.client import PoolRoom
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.orders import WorkerpoolOrder

RULES = BurstRules(max_price_nrlc=100, daily_cap_nrlc=1_000)


def pool(number: int) -> str:
    return checksum(f"0x{number:040x}")


def offer(number: int, price: int, left: int = 100) -> BurstOffer:
    return BurstOffer(WorkerpoolOrder(pool(number), price, left, trust=1), price, left)


def room(free: int, oldest_wait_s: float = 60.0) -> PoolRoom:
    return PoolRoom(admitted=True, reason="", room=free, waiting=0, oldest_wait_s=oldest_wait_s)


def test_nothing_is_bought_while_the_own_pool_has_room() -> None:
    plan = plan_burst(10, room(10), [offer(1, 1)], RULES, spent_nrlc=0)
    assert (plan.home, plan.away) == (10, ())


def test_what_does_not_begin_at_home_goes_to_the_cheapest_first() -> None:
    dear, cheap = offer(1, 90), offer(2, 40, left=3)
    plan = plan_burst(10, room(4), [dear, cheap], RULES, spent_nrlc=0)
    assert plan.home == 4 and plan.away == ((cheap, 3), (dear, 3))
    assert plan.price_away == 3 * 40 + 3 * 90


def test_a_young_queue_is_waited_for() -> None:
    rules = BurstRules(max_price_nrlc=100, daily_cap_nrlc=1_000, min_queue_age_s=30)
    assert not plan_burst(10, room(0, 29), [offer(1, 1)], rules, spent_nrlc=0).away
    assert plan_burst(10, room(0, 30), [offer(1, 1)], rules, spent_nrlc=0).away


def test_what_the_caps_or_the_market_do_not_allow_waits_at_home() -> None:
    plan = plan_burst(10, room(2), [offer(1, 100, left=4), offer(2, 101)], RULES, spent_nrlc=750)
    assert plan.home == 8 and [tasks for _, tasks in plan.away] == [2]
    assert "6 wait" in plan.why


def test_only_pools_of_the_list_are_bought_from() -> None:
    rules = BurstRules(max_price_nrlc=100, daily_cap_nrlc=1_000, pools=(pool(2),))
    plan = plan_burst(3, room(0), [offer(1, 1), offer(2, 50)], rules, spent_nrlc=0)
    assert [one.order.workerpool for one, _ in plan.away] == [pool(2)]


@given(
    tasks=st.integers(1, 500),
    free=st.integers(0, 500),
    offers=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), max_size=6),
    most=st.integers(1, 300),
    cap=st.integers(1, 20_000),
    spent=st.integers(0, 30_000),
)
def test_no_plan_passes_a_cap_or_loses_a_task(
    tasks: int, free: int, offers: list[tuple[int, int]], most: int, cap: int, spent: int
) -> None:
    rules = BurstRules(max_price_nrlc=most, daily_cap_nrlc=cap)
    market = [offer(number, price, left) for number, (price, left) in enumerate(offers, 1)]
    plan = plan_burst(tasks, room(free), market, rules, spent_nrlc=spent)
    assert plan.home + sum(share for _, share in plan.away) == tasks
    assert plan.home >= min(free, tasks)
    assert all(one.price <= most and 0 < share <= one.left for one, share in plan.away)
    assert plan.price_away == 0 or spent + plan.price_away <= cap
    for one, share in plan.away:
        check_caps(rules, price=one.price, tasks=share, spent_nrlc=0)


def test_the_last_look_refuses_what_passes_a_cap() -> None:
    check_caps(RULES, price=100, tasks=10, spent_nrlc=0)
    with pytest.raises(FundsError, match="max_price_nrlc = 100"):
        check_caps(RULES, price=101, tasks=1, spent_nrlc=0)
    with pytest.raises(FundsError, match="950 of the day's 1000"):
        check_caps(RULES, price=10, tasks=6, spent_nrlc=950)


def record(price: int, at: float, *, burst: bool) -> DealRecord:
    return DealRecord("0x", ("0x",), "", "", 1, price, "0x", "0x", started_at=at, burst=burst)


def test_the_day_counts_what_was_signed_elsewhere_in_24_hours() -> None:
    day = 86_400.0
    records = [record(1, 0, burst=True), record(10, day, burst=True), record(100, day, burst=False)]
    assert spent_on_burst(records, now=day + 0.5) == 10


def test_two_processes_never_buy_at_once(tmp_path: Path) -> None:
    with one_at_a_time(tmp_path):
        with pytest.raises(UsageError, match="buying right now"):
            with one_at_a_time(tmp_path):
                pass
    with one_at_a_time(tmp_path):
        pass


def test_rules_are_read_and_nothing_is_allowed_by_accident(tmp_path: Path) -> None:
    file = tmp_path / "burst.toml"
    file.write_text(f'[burst]\nmax_price_nrlc = 5\ndaily_cap_nrlc = 50\nmin_queue_age_s = 2.5\npools = ["{pool(7)}"]\n')
    assert load_burst_rules(file) == BurstRules(
        max_price_nrlc=5, daily_cap_nrlc=50, min_queue_age_s=2.5, pools=(pool(7),)
    )
    for text, why in (
        ("", "one table"),
        ("[burst]\n", "must set max_price_nrlc and daily_cap_nrlc"),
        ("[burst]\nmax_price_nrlc = 1\n", "must set"),
        ("[burst]\nmax_price_nrlc = 1.5\ndaily_cap_nrlc = 1\n", "whole number"),
        ("[burst]\nmax_price_nrlc = -1\ndaily_cap_nrlc = 1\n", "0 or more"),
        ("[burst]\nmax_price_nrlc = true\ndaily_cap_nrlc = 1\n", "whole number"),
        ("[burst]\nmin_queue_age_s = nan\n", "0 or more"),
        ("[burst]\nprice = 1\n", "unknown key 'price'"),
        ('[burst]\npools = ["0x12"]\n', "no address"),
        ("[burst\n", "it is TOML"),
        ("x = 1\n[burst]\n", "one table"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=why):
            load_burst_rules(file)
    with pytest.raises(UsageError, match="no burst rules"):
        load_burst_rules(tmp_path / "none.toml")
