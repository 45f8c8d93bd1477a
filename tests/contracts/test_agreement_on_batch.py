"""Plays of runs that several workers agree on, on contracts and model at once: they must agree on everything.

`test_stateful_batch` plays at random; here each play has a name, so that a mutant is killed by it.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import MAX_UINT256, ZERO32, ZERO_ADDRESS
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import ContributionStatus, TaskStatus
from tests.contracts.batch_play import LANE, BatchPlay
from tests.contracts.play import BAD, ESCROWED, GOOD, PRICE
from tests.protocol.actors import Actor

TIMEREF, STAKE, APP, DATASET = 300, 3_000, 103, 57
SOMEBODY = Actor("somebody").address
AGREED = {0: 0, 1: 0}


@pytest.fixture
def play() -> BatchPlay:
    """Everybody funded, no deal yet."""
    return BatchPlay()


# --- lanes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_lane", [False, True])
@pytest.mark.parametrize("pool_lane", [False, True])
@pytest.mark.parametrize("app_lane", [False, True])
def test_a_deal_is_in_the_batch_lane_only_if_request_and_pool_say_so(
    play: BatchPlay, request_lane: bool, pool_lane: bool, app_lane: bool
) -> None:
    changes: dict[str, Any] = {
        "app": LANE if app_lane else {},
        "workerpool": LANE if pool_lane else {},
        "request": {"volume": 3, **(LANE if request_lane else {})},
    }
    outcome = play.match(play.orders(changes))
    if not outcome.happened:
        assert not pool_lane
        return
    deal = outcome.value
    in_lane = request_lane and pool_lane
    assert play.model.view_lane(deal).in_batch_lane == in_lane
    stranger = play.people.stranger.address
    assert play.begin(deal, 1).happened == in_lane
    assert play.settle(deal, 1, play.people.workers[0]).happened is False
    assert play.initialize(stranger, deal, 2).happened != in_lane
    play.now = play.model.view_deal(deal).start_time + 10 * TIMEREF
    assert play.refund_rest(stranger, deal).happened == in_lane


def test_single_tasks_open_only_at_the_frontier_and_only_by_the_pool_until_all_is_late(play: BatchPlay) -> None:
    scheduler, stranger = play.people.scheduler.address, play.people.stranger.address
    deal = play.new_deal(volume=9)
    assert play.begin(deal, 3).happened
    for index in (0, 2, 4, 8, 9, MAX_UINT256):
        assert not play.initialize(scheduler, deal, index).happened
    assert not play.initialize(stranger, deal, 3).happened
    assert play.open(deal, 3).happened
    assert not play.open(deal, 3).happened
    play.check_lane(deal)
    assert play.model.view_run(str(play.begin(deal, 2).value)).first == 4
    play.now = play.model.view_deal(deal).start_time + 10 * TIMEREF - 1
    assert not play.initialize(stranger, deal, 6).happened
    play.now += 1
    assert not play.initialize(stranger, deal, 7).happened
    assert play.initialize_and_claim_array(stranger, [deal] * 2, [6, 7]).happened
    assert play.model.view_lane(deal).cursor == 8
    play.settle_everything()
    play.withdraw_everything()


def test_a_single_task_in_a_batch_lane_deal_is_settled_like_any_other(play: BatchPlay) -> None:
    deal = play.new_deal(volume=2)
    task = str(play.open(deal, 0).value)
    assert not play.finish_run(task).happened
    assert not play.split(task, 0).happened
    play.contribute_all(task, {0: BAD, 1: GOOD, 2: GOOD, 3: GOOD})
    assert play.frozen_of_worker(0) == STAKE
    play.reveal_all(task, (1, 2, 3))
    assert not play.finish_run(task).happened
    assert play.finish(task).happened
    assert not play.prove(task, 0).happened
    play.settle_everything()


def test_what_is_not_there_looks_alike(play: BatchPlay) -> None:
    play.check_run(ZERO32)
    play.check_lane(ZERO32)
    classic = play.match(play.orders({"request": {"volume": 4}})).value
    play.check_lane(classic)
    deal = play.new_deal()
    near = deal[:34] + ("0" if deal[34] != "0" else "1") + deal[35:]
    play.check_lane(near)
    assert not play.begin(near, 1).happened
    assert not play.settle(near, 1, play.people.workers[0]).happened
    task = play.open(deal, 0).value
    play.check_run(task)
    play.now += 10 * TIMEREF
    for unknown in (near, ZERO32, task):
        assert not play.refund_rest(SOMEBODY, unknown).happened


# --- openRun ----------------------------------------------------------------------------------------------------


def test_runs_open_at_the_frontier_one_after_the_other(play: BatchPlay) -> None:
    orders = play.orders({"app": {"volume": 2}, "workerpool": LANE, "request": {**LANE, "volume": 9, "trust": 1}})
    assert play.match(orders).happened
    deal = str(play.match((play.orders()[0], *orders[1:])).value)
    run = str(play.begin(deal, 3).value)
    assert (play.model.view_run(run).first, play.model.view_lane(deal).cursor) == (2, 5)
    assert run == runs.run_id(deal, 2, 3)
    assert play.begin(deal, 4).happened
    assert not play.begin(deal, 1).happened
    play.settle_everything()


def test_only_the_pools_owner_opens_runs_of_a_size_that_is_left_before_the_deadline(play: BatchPlay) -> None:
    deal = play.new_deal(volume=4)
    assert not play.begin(deal, 1, play.people.stranger).happened
    assert not play.begin(ZERO32, 1).happened
    for count in (0, 5, 2**20, 2**32, MAX_UINT256):
        assert not play.begin(deal, count).happened
    play.now = play.model.view_deal(deal).start_time + 7 * TIMEREF
    assert not play.begin(deal, 1).happened
    play.now -= 1
    assert play.begin(deal, 4).happened
    assert not play.begin(deal, 0).happened
    play.settle_everything()


def test_a_run_has_fewer_than_two_to_the_twentieth_tasks(play: BatchPlay) -> None:
    large = {"volume": 2**21}
    free: dict[str, Any] = {
        "app": {**large, "appprice": 0},
        "workerpool": {**LANE, **large, "workerpoolprice": 0},
        "request": {**LANE, **large},
    }
    deal = play.match_orders(SOMEBODY, play.orders(free)).value
    assert not play.open_run(play.people.scheduler.address, deal, 2**20).happened
    assert play.open_run(play.people.scheduler.address, deal, 2**20 - 1).happened
    assert play.open_run(play.people.scheduler.address, deal, 2**20 - 1).happened
    assert play.open_run(play.people.scheduler.address, deal, 2).happened
    assert not play.open_run(play.people.scheduler.address, deal, 1).happened


# --- contribute, reveal, reopen, claim on runs ----------------------------------------------------------------------


def test_a_contribution_to_a_run_locks_the_stake_of_all_its_tasks(play: BatchPlay) -> None:
    worker = play.people.workers[0]
    deal = play.new_deal(volume=5)
    run, other = str(play.begin(deal, 4).value), str(play.begin(deal, 1).value)
    assert play.withdraw(worker.address, ESCROWED - 4 * STAKE + 1).happened
    refused = play.contribution(worker, run, play.run_digest(run))
    assert refused.revert == "IexecEscrow: Transfer amount exceeds balance"
    assert play.contribution(worker, other, play.run_digest(other)).happened
    assert play.frozen_of_worker(0) == STAKE
    assert play.deposit(worker.address, STAKE + 1).happened
    assert play.contribution(worker, run, play.run_digest(run)).happened
    assert play.frozen_of_worker(0) == 5 * STAKE
    assert not play.contribution(worker, run, play.run_digest(run)).happened
    play.settle_everything()
    play.withdraw_everything()


def test_a_run_is_authorised_by_its_own_id(play: BatchPlay) -> None:
    worker = play.people.workers[0]
    deal = play.new_deal()
    run, other = str(play.begin(deal, 2).value), str(play.begin(deal, 3).value)
    digest = play.run_digest(run)
    hash_, seal = ids.result_hash(run, digest), ids.result_seal(worker.address, run, digest)
    for wrong in (other, ids.task_id(deal, 0)):
        authorisation = play.people.scheduler.authorise(worker.address, wrong)
        assert not play.contribute(worker.address, run, hash_, seal, ZERO_ADDRESS, "0x", authorisation).happened
    assert play.contribution(worker, run, digest).happened


def test_deadlines_of_a_run_hold_to_the_second(play: BatchPlay) -> None:
    first, second = play.people.workers[:2]
    deal = play.new_deal()
    run = str(play.begin(deal, 6).value)
    digest = play.run_digest(run)
    state = play.model.view_task(run)
    play.now = state.contribution_deadline
    assert not play.contribution(first, run, digest).happened
    assert not play.split(run, 3).happened
    play.now -= 1
    assert play.contribution(first, run, digest).happened
    assert play.contribution(second, run, digest).happened
    play.now = play.model.view_task(run).reveal_deadline
    assert not play.reveal(first.address, run, digest).happened
    play.now -= 1
    assert play.reveal(first.address, run, digest).happened
    assert not play.finish_run(run).happened
    play.now = state.final_deadline
    assert not play.finish_run(run).happened
    play.now -= 1
    assert not play.claim(SOMEBODY, run).happened
    assert play.finish_run(run).happened
    assert play.gains()["worker 1"] == -6 * STAKE
    play.settle_everything()


def test_a_claim_refunds_all_tasks_of_a_run_and_gives_all_stakes_back(play: BatchPlay) -> None:
    deal = play.new_deal(volume=7, with_dataset=True)
    run = str(play.begin(deal, 6).value)
    play.contribute_versions(run, {0: 1, 1: 0, 2: 0, 3: 0})
    play.now = play.model.view_task(run).reveal_deadline
    assert not play.reopen(SOMEBODY, run).happened
    assert play.reopen(play.people.scheduler.address, run).happened
    status = play.model.view_contribution(run, play.people.workers[1].address).status
    assert status == ContributionStatus.REJECTED
    play.now = play.model.view_task(run).final_deadline
    assert play.claim(SOMEBODY, run).happened
    assert not play.claim(SOMEBODY, run).happened
    assert play.model.frozen_of(KITTY_ADDRESS) == 6 * STAKE
    assert play.model.frozen_of(play.people.requester.address) == APP + DATASET + PRICE
    play.settle_everything()
    assert {name: gain for name, gain in play.gains().items() if gain} == {"scheduler": -7 * STAKE}


def test_classic_settlement_refuses_a_run(play: BatchPlay) -> None:
    deal = play.new_deal({"request": {"trust": 1}})
    run = str(play.begin(deal, 6).value)
    worker = play.people.workers[0]
    assert not play.contribute_alone(worker, run, play.run_digest(run)).happened
    play.contribute_versions(run, {0: 0})
    play.reveal_all(run, (0,), play.run_digest(run))
    assert not play.finish(run).happened
    assert play.finish_run(run).happened
    assert not play.finish_run(run).happened
    play.settle_everything()


# --- splitRun ---------------------------------------------------------------------------------------------------


def test_a_run_that_nobody_agrees_on_is_split_and_stakes_come_back(play: BatchPlay) -> None:
    deal = play.new_deal(volume=6)
    run = str(play.begin(deal, 5).value)
    play.contribute_versions(run, {0: 0, 1: 1})
    assert not play.split(run, 2, play.people.stranger).happened
    for left in (0, 5, 6, MAX_UINT256):
        assert not play.split(run, left).happened
    left_run, right_run = play.split(run, 2).value
    assert play.model.view_run(run).status == TaskStatus.SPLIT
    assert play.frozen_of_worker(0) == play.frozen_of_worker(1) == 0
    for late in (play.split(run, 2), play.claim(SOMEBODY, run), play.finish_run(run)):
        assert not late.happened
    assert not play.contribution(play.people.workers[2], run, play.run_digest(run)).happened
    play.contribute_versions(left_run, AGREED)
    play.contribute_versions(right_run, {0: 0, 1: 1, 2: 0, 3: 0})
    assert play.frozen_of_worker(0) == 5 * STAKE
    play.reveal_all(left_run, (0, 1), play.run_digest(left_run))
    play.reveal_all(right_run, (0, 2, 3), play.run_digest(right_run))
    assert play.finish_run(left_run).happened
    assert play.finish_run(right_run).happened
    assert play.gains()["worker 1"] == 2 * PRICE * 99 // 100 // 2 - 3 * STAKE
    play.settle_everything()
    play.withdraw_everything()


def test_who_did_not_reveal_is_slashed_when_its_run_is_split(play: BatchPlay) -> None:
    play.make_veterans((1, 2), 5)
    before = play.gains()
    deal = play.new_deal(volume=5)
    run = str(play.begin(deal, 5).value)
    play.contribute_versions(run, {0: 1, 1: 0, 2: 0, 3: 0})
    play.now = play.model.view_task(run).reveal_deadline
    assert not play.split(run, 4).happened
    assert play.reopen(play.people.scheduler.address, run).happened
    assert play.split(run, 4).happened
    gained = {name: gain - before[name] for name, gain in play.gains().items()}
    assert [gained[f"worker {index}"] for index in range(4)] == [0, -5 * STAKE, -5 * STAKE, -5 * STAKE]
    assert [play.model.view_score(worker.address) for worker in play.people.workers[:4]] == [0, 3, 3, 0]
    assert play.model.frozen_of(KITTY_ADDRESS) == 15 * STAKE
    play.check_locked_money_is_owed()
    play.settle_everything()
    play.withdraw_everything()


def test_a_run_is_split_if_nobody_came_or_some_disagree_but_not_while_all_agree(play: BatchPlay) -> None:
    deal = play.new_deal()
    empty, agreeing = str(play.begin(deal, 2).value), str(play.begin(deal, 3).value)
    play.contribute_versions(agreeing, {0: 0})
    assert not play.split(agreeing, 1).happened
    assert play.split(empty, 1).happened
    play.contribute_versions(agreeing, {1: 1})
    assert play.split(agreeing, 2).happened
    one = play.runs[2]
    assert play.model.view_run(one).count == 1
    assert not play.split(one, 0).happened
    assert not play.split(one, 1).happened
    play.settle_everything()


def test_a_reopened_run_that_all_agreed_on_is_split(play: BatchPlay) -> None:
    run = str(play.begin(play.new_deal(), 4).value)
    play.contribute_versions(run, AGREED)
    play.now = play.model.view_task(run).reveal_deadline
    assert play.reopen(play.people.scheduler.address, run).happened
    halves = play.split(run, 3).value
    play.contribute_versions(halves[0], AGREED)
    play.reveal_all(halves[0], (0, 1), play.run_digest(halves[0]))
    assert play.finish_run(halves[0]).happened
    play.settle_everything()


# --- finalizeRun ------------------------------------------------------------------------------------------------


def test_a_run_pays_everybody_for_all_its_tasks_to_the_last_nrlc(play: BatchPlay) -> None:
    deal = play.new_deal(volume=7, with_dataset=True)
    play.completed_run(deal, 7, {0: 1, 1: 0, 2: 0, 3: 0})
    gained = play.gains()
    pot = 7 * PRICE + 7 * STAKE
    share = pot * 99 // 100 // 3
    assert gained["requester"] == -7 * (APP + DATASET + PRICE)
    assert (gained["app owner"], gained["dataset owner"]) == (7 * APP, 7 * DATASET)
    assert [gained[f"worker {index}"] for index in range(4)] == [-7 * STAKE, share, share, share]
    assert gained["scheduler"] == pot - 3 * share
    assert [play.model.view_score(worker.address) for worker in play.people.workers[:4]] == [0, 1, 1, 1]
    assert sum(gained.values()) == 0
    play.settle_everything()
    play.withdraw_everything()


def test_free_runs_are_logged_as_the_protocol_says(play: BatchPlay) -> None:
    free = {"app": {"appprice": 0}, "dataset": {"datasetprice": 0}, "workerpool": {"workerpoolprice": 0}}
    play.completed_run(play.new_deal(free, with_dataset=True), 4, AGREED)
    assert set(play.gains().values()) == {0}


@pytest.mark.parametrize("price", [1, 3, 37, 99, 10_001])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_share_of_a_run_is_rounded_once_and_stakes_task_by_task(play: BatchPlay, price: int, count: int) -> None:
    deal = play.new_deal({"workerpool": {"workerpoolprice": price}, "request": {"trust": 1}})
    run = str(play.begin(deal, count).value)
    play.contribute_versions(run, {0: 0})
    assert play.frozen_of_worker(0) == price * 30 // 100 * count
    play.reveal_all(run, (0,), play.run_digest(run))
    assert play.finish_run(run).happened
    assert play.gains()["worker 0"] == price * count * 99 // 100
    assert play.model.view_score(play.people.workers[0].address) == 0
    assert play.model.frozen_of(play.people.scheduler.address) == price * 30 // 100 * (6 - count)


@pytest.mark.parametrize("price", [1, 3 * 10**9, 7 * 10**10])
def test_the_kitty_pays_its_part_once_for_a_run(play: BatchPlay, price: int) -> None:
    expensive = {"workerpool": {"workerpoolprice": price}, "request": {"workerpoolmaxprice": price}}
    task = play.new_task(expensive)
    play.now = play.model.view_task(task).final_deadline
    assert play.claim(SOMEBODY, task).happened
    kitty = price * 30 // 100
    deal = play.new_deal()
    for count in (3, 2):
        part = min(max(kitty // 10, 10**9), kitty)
        play.completed_run(deal, count, AGREED)
        kitty -= part
        assert play.model.frozen_of(KITTY_ADDRESS) == kitty
    assert play.settle(play.new_deal({"request": {"trust": 1}}), 2, play.people.workers[0]).happened
    assert play.model.frozen_of(KITTY_ADDRESS) == kitty - min(max(kitty // 10, 10**9), kitty)
    play.settle_everything()


def test_a_run_is_finalized_by_the_pools_owner_once_revealed_and_with_what_was_agreed_on(play: BatchPlay) -> None:
    run = str(play.begin(play.new_deal(), 4).value)
    assert not play.finish_run(run).happened
    play.contribute_versions(run, AGREED)
    assert not play.finish_run(run).happened
    digest = play.run_digest(run)
    play.reveal_all(run, (0,), digest)
    assert not play.finish_run(run).happened
    play.reveal_all(run, (1,), digest)
    assert not play.finish_run(run, caller=play.people.stranger).happened
    assert not play.finish_run(run, results=b"other").happened
    assert not play.finish_run(run, 1).happened
    assert not play.finish_run(ZERO32).happened
    assert play.finish_run(run).happened
    assert not play.finish_run(run).happened
    assert not play.claim(SOMEBODY, run).happened
    play.settle_everything()


def test_a_reopened_run_is_finalized_with_another_answer(play: BatchPlay) -> None:
    run = str(play.begin(play.new_deal(volume=4), 4).value)
    play.contribute_versions(run, {0: 1, 1: 0, 2: 0, 3: 0})
    play.now = play.model.view_task(run).reveal_deadline
    assert not play.finish_run(run).happened
    assert play.reopen(play.people.scheduler.address, run).happened
    play.contribute_versions(run, {4: 1})
    play.reveal_all(run, (0, 4), play.run_digest(run, 1))
    assert not play.finish_run(run, 0).happened
    assert play.finish_run(run, 1).happened
    gained = play.gains()
    assert [gained[f"worker {index}"] for index in (1, 2, 3)] == [-4 * STAKE] * 3
    assert gained["worker 0"] == gained["worker 4"] == (4 * PRICE + 12 * STAKE) * 99 // 100 // 2
    play.settle_everything()


def test_long_results_of_a_run_are_logged_in_full(play: BatchPlay) -> None:
    results = bytes(range(256)) * 8
    deal = play.new_deal({"request": {"trust": 1}})
    assert play.settle(deal, 2, play.people.workers[0], results=results).happened
    assert play.prove(play.runs[0], 1).happened
    play.settle_everything()
