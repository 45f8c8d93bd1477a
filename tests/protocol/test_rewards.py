from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.protocol.hexes import checksum, keccak, to_hex
from fairgrid.protocol.rewards import (
    KITTY_ADDRESS,
    cut_score,
    distribute,
    distribute_fast,
    kitty_part,
    pool_stake,
    task_price,
    worker_stake,
)

RLC = 10**9


def test_the_kittys_address_follows_from_its_name() -> None:
    number = int.from_bytes(keccak(b"iExecKitty")[:20], "big") - 1
    assert checksum(to_hex(number.to_bytes(20, "big"))) == KITTY_ADDRESS


@pytest.mark.parametrize(("price", "stake"), [(0, 0), (3, 0), (4, 1), (10, 3), (1000, 300), (1003, 300)])
def test_the_pools_stake_is_thirty_percent_rounded_down(price: int, stake: int) -> None:
    assert pool_stake(price) == stake


@pytest.mark.parametrize(("price", "ratio", "stake"), [(1000, 30, 300), (999, 30, 299), (1000, 250, 2500), (7, 0, 0)])
def test_a_workers_stake_follows_the_pools_policy(price: int, ratio: int, stake: int) -> None:
    assert worker_stake(price, ratio) == stake


@pytest.mark.parametrize(
    ("kitty", "part"),
    [(0, 0), (5, 5), (RLC, RLC), (RLC + 1, RLC), (10 * RLC, RLC), (10 * RLC + 10, RLC + 1), (100 * RLC, 10 * RLC)],
)
def test_the_kitty_gives_a_tenth_but_at_least_one_rlc_and_at_most_all(kitty: int, part: int) -> None:
    assert kitty_part(kitty) == part


@pytest.mark.parametrize(("score", "cut"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (30, 20)])
def test_a_fault_takes_a_third_of_the_score(score: int, cut: int) -> None:
    assert cut_score(score) == cut


def test_a_price_is_the_sum_of_three() -> None:
    assert task_price(1, 20, 300) == 321


def test_honest_workers_share_by_weight_and_the_scheduler_takes_rest_and_rounding() -> None:
    split = distribute(workerpool_price=1000, stake=302, scheduler_reward_ratio=1, proved_weights=[1, None, 2])
    assert split.pot == 1302
    assert split.workers == (429, 0, 858)
    assert split.scheduler == 15


def test_one_worker_and_a_greedy_scheduler() -> None:
    assert distribute(workerpool_price=7, stake=2, scheduler_reward_ratio=100, proved_weights=[1]).workers == (0,)
    assert distribute_fast(workerpool_price=999, scheduler_reward_ratio=1).workers == (989,)


@given(
    price=st.integers(0, 10**18),
    stake=st.integers(0, 10**18),
    ratio=st.integers(0, 100),
    weights=st.lists(st.none() | st.integers(1, 60), min_size=1, max_size=20).filter(
        lambda weights: any(weight is not None for weight in weights)
    ),
)
def test_every_nrlc_of_the_pot_is_paid_once(price: int, stake: int, ratio: int, weights: list[int | None]) -> None:
    split = distribute(workerpool_price=price, stake=stake, scheduler_reward_ratio=ratio, proved_weights=weights)
    assert split.pot == price + stake * weights.count(None)
    assert sum(split.workers) + split.scheduler == split.pot
    assert split.scheduler >= split.pot * ratio // 100
    assert all(paid >= 0 for paid in split.workers)
    assert all(paid == 0 for paid, weight in zip(split.workers, weights, strict=True) if weight is None)


@given(price=st.integers(0, 10**18), ratio=st.integers(0, 100))
def test_the_fast_split_is_the_slow_one_of_one_worker(price: int, ratio: int) -> None:
    slow = distribute(workerpool_price=price, stake=0, scheduler_reward_ratio=ratio, proved_weights=[1])
    assert distribute_fast(workerpool_price=price, scheduler_reward_ratio=ratio) == slow
