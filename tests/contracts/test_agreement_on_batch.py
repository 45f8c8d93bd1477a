"""Plays of runs, of one-transaction tasks and of arrays, on contracts and model at once: they must agree on everything.

`test_stateful_batch` plays at random; here each play has a name, so that a mutant is killed by it.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import MAX_UINT256, ZERO32, ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import ContributionStatus, TaskStatus
from tests.contracts.batch_play import LANE, RESULTS, BatchPlay, answer
from tests.contracts.play import BAD, ESCROWED, GOOD, PRICE
from tests.protocol.actors import Actor

TIMEREF, STAKE, APP, DATASET = 300, 3_000, 103, 57
SOMEBODY = Actor("somebody").address
TEE = f"0x{1:064x}"
TEE_LANE = f"0x{(1 << 16) | 1:064x}"
AGREED = {0: 0, 1: 0}


@pytest.fixture
def play() -> BatchPlay:
    """Everybody funded, no deal yet."""
    return BatchPlay()


def stakes(play: BatchPlay) -> dict[str, int]:
    """Free money gained or lost since the start, by name."""
    return {actor.name: play.model.balance_of(actor.address) - ESCROWED for actor in play.people.all}


def frozen(play: BatchPlay, worker: int) -> int:
    return play.model.frozen_of(play.people.workers[worker].address)


# --- lanes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_lane", [False, True])
@pytest.mark.parametrize("pool_lane", [False, True])
@pytest.mark.parametrize("app_lane", [False, True])
def test_a_deal_is_in_the_batch_lane_only_if_request_and_pool_say_so(
    play: BatchPlay, request_lane: bool, pool_lane: bool, app_lane: bool
) -> None:
    changes = {
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
    assert frozen(play, 0) == STAKE
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
    free = {
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
    assert frozen(play, 0) == STAKE
    assert play.deposit(worker.address, STAKE + 1).happened
    assert play.contribution(worker, run, play.run_digest(run)).happened
    assert frozen(play, 0) == 5 * STAKE
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
    assert stakes(play)["worker 1"] == -6 * STAKE
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
    assert {name: gain for name, gain in stakes(play).items() if gain} == {"scheduler": -7 * STAKE}


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
    assert frozen(play, 0) == frozen(play, 1) == 0
    for late in (play.split(run, 2), play.claim(SOMEBODY, run), play.finish_run(run)):
        assert not late.happened
    assert not play.contribution(play.people.workers[2], run, play.run_digest(run)).happened
    play.contribute_versions(left_run, AGREED)
    play.contribute_versions(right_run, {0: 0, 1: 1, 2: 0, 3: 0})
    assert frozen(play, 0) == 5 * STAKE
    play.reveal_all(left_run, (0, 1), play.run_digest(left_run))
    play.reveal_all(right_run, (0, 2, 3), play.run_digest(right_run))
    assert play.finish_run(left_run).happened
    assert play.finish_run(right_run).happened
    assert stakes(play)["worker 1"] == 2 * PRICE * 99 // 100 // 2 - 3 * STAKE
    play.settle_everything()
    play.withdraw_everything()


def test_who_did_not_reveal_is_slashed_when_its_run_is_split(play: BatchPlay) -> None:
    play.make_veterans((1, 2), 5)
    before = stakes(play)
    deal = play.new_deal(volume=5)
    run = str(play.begin(deal, 5).value)
    play.contribute_versions(run, {0: 1, 1: 0, 2: 0, 3: 0})
    play.now = play.model.view_task(run).reveal_deadline
    assert not play.split(run, 4).happened
    assert play.reopen(play.people.scheduler.address, run).happened
    assert play.split(run, 4).happened
    gained = {name: gain - before[name] for name, gain in stakes(play).items()}
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
    gained = stakes(play)
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
    assert set(stakes(play).values()) == {0}


@pytest.mark.parametrize("price", [1, 3, 37, 99, 10_001])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_share_of_a_run_is_rounded_once_and_stakes_task_by_task(play: BatchPlay, price: int, count: int) -> None:
    deal = play.new_deal({"workerpool": {"workerpoolprice": price}, "request": {"trust": 1}})
    run = str(play.begin(deal, count).value)
    play.contribute_versions(run, {0: 0})
    assert frozen(play, 0) == price * 30 // 100 * count
    play.reveal_all(run, (0,), play.run_digest(run))
    assert play.finish_run(run).happened
    assert stakes(play)["worker 0"] == price * count * 99 // 100
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
    gained = stakes(play)
    assert [gained[f"worker {index}"] for index in (1, 2, 3)] == [-4 * STAKE] * 3
    assert gained["worker 0"] == gained["worker 4"] == (4 * PRICE + 12 * STAKE) * 99 // 100 // 2
    play.settle_everything()


def test_long_results_of_a_run_are_logged_in_full(play: BatchPlay) -> None:
    results = bytes(range(256)) * 8
    deal = play.new_deal({"request": {"trust": 1}})
    assert play.settle(deal, 2, play.people.workers[0], results=results).happened
    assert play.prove(play.runs[0], 1).happened
    play.settle_everything()


# --- settleRun --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", [0, 1, 37, 10_001])
def test_one_worker_settles_a_run_without_stake_or_score(play: BatchPlay, price: int) -> None:
    terms = {"workerpool": {"workerpoolprice": price}, "request": {"trust": 1}}
    deal = play.new_deal(terms, volume=7, with_dataset=True)
    play.now += 11
    assert play.settle(deal, 7, play.people.workers[0]).happened
    gained = stakes(play)
    share = price * 7 * 99 // 100
    assert gained["worker 0"] == share
    assert gained["scheduler"] == 7 * price - share
    assert gained["requester"] == -7 * (APP + DATASET + price)
    assert all(play.model.frozen_of(actor.address) == 0 for actor in play.people.all)
    assert play.model.view_score(play.people.workers[0].address) == 0
    play.settle_everything()
    play.withdraw_everything()


def test_a_run_is_settled_alone_only_at_trust_one_in_time_and_in_a_size_that_is_left(play: BatchPlay) -> None:
    worker, other = play.people.workers[:2]
    assert not play.settle(play.new_deal({"request": {"trust": 2}}), 1, worker).happened
    assert play.settle(play.new_deal({"request": {"trust": 0}}), 1, worker).happened
    deal = play.new_deal({"request": {"trust": 1}}, volume=6)
    for count in (0, 7, 2**20, MAX_UINT256):
        assert not play.settle(deal, count, worker).happened
    play.now = play.model.view_deal(deal).start_time + 7 * TIMEREF
    assert not play.settle(deal, 1, worker).happened
    play.now -= 1
    assert play.settle(deal, 4, worker).happened
    assert play.settle(deal, 2, other).happened
    assert not play.settle(deal, 1, worker).happened
    play.settle_everything()


def test_a_settled_run_needs_the_schedulers_word_and_an_enclave_where_asked_for(play: BatchPlay) -> None:
    people = play.people
    worker, enclave, broker = people.workers[0], Actor("enclave"), Actor("broker")
    deal = play.new_deal({"app": {"tag": TEE}, "workerpool": {"tag": TEE_LANE}, "request": {"trust": 1}})
    assert not play.settle(deal, 2, worker).happened
    assert not play.settle(deal, 2, worker, enclave=enclave, authority=people.stranger).happened
    assert play.settle(deal, 2, worker, enclave=enclave).happened
    assert play.set_tee_broker(people.admin.address, broker.address).happened
    assert not play.settle(deal, 2, worker, enclave=enclave).happened
    assert play.settle(deal, 2, worker, enclave=enclave, authority=broker).happened
    first = play.model.view_lane(deal).cursor
    run, root = runs.run_id(deal, first, 1), runs.tasks_root(play.digests_at(first, 1))
    good = play.signs(worker, run, runs.run_digest(root, RESULTS), broker, enclave)
    call: tuple[Any, ...] = (worker.address, deal, 1, root, RESULTS)
    assert play.settle_run(*call, good[0], good[1], "0x").revert == "invalid-signature-format"
    assert play.settle_run(*call, good[0], "0x", good[2]).revert == "invalid-signature-format"
    assert not play.settle_run(*call, good[0], enclave.sign_message(keccak(b"forged")), good[2]).happened
    assert not play.settle_run(*call[:-1], b"other", *good).happened
    assert not play.settle_run(people.workers[1].address, *call[1:], *good).happened
    assert play.settle_run(*call, *good).happened
    play.settled.clear()


def test_a_deal_whose_rest_was_refunded_opens_nothing(play: BatchPlay) -> None:
    timeless = play.create_category(play.people.admin.address, "long", "", 10_000)
    assert timeless.happened
    deal = play.new_deal({"request": {"trust": 1}})
    play.now = play.model.view_deal(deal).start_time + 10 * TIMEREF
    assert play.refund_rest(SOMEBODY, deal).happened
    play.now = play.model.view_deal(deal).start_time
    assert not play.begin(deal, 1).happened
    assert not play.settle(deal, 1, play.people.workers[0]).happened
    assert not play.open(deal, 0).happened
    play.settle_everything()


# --- materialise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8])
def test_each_task_of_a_completed_run_is_proved_once_and_then_looks_like_a_task(play: BatchPlay, count: int) -> None:
    deal = play.new_deal(volume=9)
    task = str(play.open(deal, 0).value)
    run = play.completed_run(deal, count, {0: 1, 1: 0, 2: 0, 3: 0})
    play.now += 10**6
    for position in range(count):
        assert play.prove(run, position).happened
        assert not play.prove(run, position).happened
        proved = ids.task_id(deal, 1 + position)
        assert play.model.view_task(proved).status == TaskStatus.COMPLETED
        play.check_run(proved)
        assert not play.claim(SOMEBODY, proved).happened
        assert not play.finish(proved).happened
        assert not play.reopen(play.people.scheduler.address, proved).happened
        assert not play.contribution(play.people.workers[5], proved).happened
        assert not play.initialize(play.people.scheduler.address, deal, 1 + position).happened
    play.check_task(ids.task_id(deal, 1 + count))
    assert play.claim(SOMEBODY, task).happened
    play.settle_everything()


def test_what_is_not_proved_is_not_materialised(play: BatchPlay) -> None:
    deal = play.new_deal({"request": {"trust": 1}}, volume=7)
    assert play.begin(deal, 1).happened
    run = str(play.settle(deal, 5, play.people.workers[0]).value)
    digests = play.digests(run)
    proof = runs.task_proof(digests, 2)
    last = runs.task_proof(digests, 4)
    wrong: list[dict[str, Any]] = [
        {"index": 0},
        {"index": 4},
        {"index": 6},
        {"index": MAX_UINT256},
        {"digest": digests[1]},
        {"digest": ZERO32},
        {"proof": ()},
        {"proof": proof[:-1]},
        {"proof": (*proof, ZERO32)},
        {"proof": proof[::-1]},
        {"proof": last},
        {"root": ZERO32},
        {"results_hash": ZERO32},
        {"callback": b"unasked"},
        {"run": ZERO32},
        {"run": play.runs[0]},
    ]
    for change in wrong:
        assert not play.prove(run, 2, **change).happened, change
    assert not play.prove(run, 4, proof=(*last, ZERO32)).happened
    assert not play.prove(run, 0, proof=(*runs.task_proof(digests, 0), ZERO32)).happened
    assert not play.prove(run, 5).happened
    assert play.prove(run, 2).happened
    assert play.prove(run, 4, answer(5)).happened
    play.settle_everything()


def test_a_run_that_is_not_completed_proves_nothing(play: BatchPlay) -> None:
    run = str(play.begin(play.new_deal(), 5).value)
    assert not play.prove(run, 0).happened
    play.contribute_versions(run, AGREED)
    play.reveal_all(run, (0, 1), play.run_digest(run))
    assert not play.prove(run, 0).happened
    play.now = play.model.view_task(run).final_deadline
    assert play.claim(SOMEBODY, run).happened
    assert not play.prove(run, 0).happened


def test_a_completed_task_is_no_run_to_prove_from(play: BatchPlay) -> None:
    deal = play.new_deal({"request": {"trust": 1}})
    task = str(play.open(deal, 0).value)
    digest = play.run_digest(task)
    play.contribute_all(task, {0: digest})
    play.reveal_all(task, (0,), digest)
    assert play.finish(task, RESULTS).happened
    assert not play.prove(task, 0).happened
    run = str(play.settle(deal, 3, play.people.workers[0]).value)
    proved = str(play.prove(run, 0).value)
    assert not play.prove(proved, 0).happened
    play.settle_everything()


@pytest.mark.parametrize("size", [1, 31, 32, 33, 2_048])
def test_a_deal_with_a_callback_gets_the_bytes_of_each_digest(play: BatchPlay, size: int) -> None:
    deal = play.new_deal({"request": {"trust": 1, "callback": SOMEBODY}}, volume=3)
    answers = [bytes([number]) * size for number in range(3)]
    digests = tuple(to_hex32(keccak(each)) for each in answers)
    root = runs.tasks_root(digests)
    worker, run = play.people.workers[0], runs.run_id(deal, 0, 3)
    signs = play.signs(worker, run, runs.run_digest(root, RESULTS), None, None)
    assert play.remember(play.settle_run(worker.address, deal, 3, root, RESULTS, *signs)).happened
    for position in (2, 0):
        proof = runs.task_proof(digests, position)
        call = (SOMEBODY, run, position, digests[position], proof, root, to_hex32(keccak(RESULTS)))
        assert not play.materialise(*call, b"").happened
        assert not play.materialise(*call, answers[1]).happened
        assert play.materialise(*call, answers[position]).happened
        task = ids.task_id(deal, position)
        assert play.model.result_for(task) == answers[position]
        play.check_task(task)
    play.settle_everything()


def test_an_enclaves_run_shows_its_challenge_on_each_task(play: BatchPlay) -> None:
    worker, enclave = play.people.workers[0], Actor("enclave")
    deal = play.new_deal({"request": {"trust": 1}})
    run = str(play.settle(deal, 3, worker, enclave=enclave).value)
    task = str(play.prove(run, 1).value)
    assert play.model.view_contribution(task, worker.address).enclave_challenge == enclave.address
    play.check_task(task)


# --- refundRest -------------------------------------------------------------------------------------------------


def test_what_was_never_opened_is_refunded_at_once_and_once(play: BatchPlay) -> None:
    deal = play.new_deal(volume=9, with_dataset=True)
    run = str(play.begin(deal, 2).value)
    play.now = play.model.view_task(run).final_deadline - 1
    assert not play.refund_rest(SOMEBODY, deal).happened
    play.now += 1
    assert play.refund_rest(SOMEBODY, deal).value == 7
    assert not play.refund_rest(SOMEBODY, deal).happened
    assert play.model.frozen_of(play.people.requester.address) == 2 * (APP + DATASET + PRICE)
    assert play.model.frozen_of(play.people.scheduler.address) == 2 * STAKE
    assert play.model.frozen_of(KITTY_ADDRESS) == 7 * STAKE
    assert not play.open(deal, 2).happened
    assert not play.initialize_and_claim_array(SOMEBODY, [deal], [2]).happened
    play.settle_everything()
    assert {name: gain for name, gain in stakes(play).items() if gain} == {"scheduler": -9 * STAKE}
    play.withdraw_everything()


def test_a_sponsor_gets_the_refund_of_runs_and_of_the_rest(play: BatchPlay) -> None:
    orders = play.orders({"workerpool": LANE, "request": {**LANE, "volume": 5}})
    deal = str(play.match(orders, play.people.stranger, sponsored=True).value)
    assert play.begin(deal, 2).happened
    play.completed_run(deal, 1, AGREED)
    play.settle_everything()
    gained = stakes(play)
    assert (gained["stranger"], gained["requester"]) == (-(APP + PRICE), 0)


def test_nothing_is_left_to_refund_when_all_was_opened(play: BatchPlay) -> None:
    deal = play.new_deal(volume=4)
    assert play.begin(deal, 3).happened
    assert play.open(deal, 3).happened
    play.now += 10 * TIMEREF
    assert not play.refund_rest(SOMEBODY, deal).happened
    play.settle_everything()


# --- contributeAndFinalize --------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", [0, 1, 1_009, 10_001])
def test_a_lone_worker_is_paid_to_the_last_nrlc_without_stake_or_score(play: BatchPlay, price: int) -> None:
    task = play.new_task({"workerpool": {"workerpoolprice": price}, "request": {"trust": 1}}, with_dataset=True)
    play.now += 17
    assert play.contribute_alone(play.people.workers[0], task, GOOD, results=b"r" * 70).happened
    gained = stakes(play)
    share = price * 99 // 100
    assert (gained["worker 0"], gained["scheduler"]) == (share, price - share)
    assert (gained["app owner"], gained["dataset owner"]) == (APP, DATASET)
    assert play.model.view_score(play.people.workers[0].address) == 0
    assert not play.contribute_alone(play.people.workers[1], task, GOOD).happened
    play.settle_everything()


def test_only_an_untouched_task_of_trust_one_is_settled_alone_and_in_time(play: BatchPlay) -> None:
    first, second = play.people.workers[:2]
    doubtful = play.new_task({"request": {"trust": 2}})
    assert not play.contribute_alone(first, doubtful, GOOD).happened
    assert play.contribute_alone(first, play.new_task({"request": {"trust": 0}}), GOOD).happened
    begun = play.new_task({"request": {"trust": 1}})
    play.contribute_all(begun, {0: GOOD})
    assert not play.contribute_alone(second, begun, GOOD).happened
    play.now = play.model.view_task(begun).reveal_deadline
    assert play.reopen(play.people.scheduler.address, begun).happened
    assert not play.contribute_alone(second, begun, GOOD).happened
    late = play.new_task({"request": {"trust": 1}})
    play.now = play.model.view_task(late).contribution_deadline
    assert not play.contribute_alone(first, late, GOOD).happened
    play.now -= 1
    assert play.contribute_alone(first, late, GOOD).happened
    assert not play.contribute_alone(first, ZERO32, GOOD).happened
    play.settle_everything()


def test_a_lone_worker_needs_the_schedulers_word_and_an_enclave_where_asked_for(play: BatchPlay) -> None:
    people = play.people
    worker, enclave, broker = people.workers[0], Actor("enclave"), Actor("broker")
    trust: dict[str, Any] = {"trust": 1}
    plain = play.new_task({"request": trust})
    attested = play.new_task({"app": {"tag": TEE}, "workerpool": {"tag": TEE}, "request": trust})
    assert not play.contribute_alone(worker, plain, GOOD, authority=people.stranger).happened
    assert not play.contribute_alone(worker, attested, GOOD).happened
    challenge, signed, authorised = play.signs(worker, attested, GOOD, None, enclave)
    call = (worker.address, attested, GOOD, b"", b"", challenge)
    assert not play.contribute_and_finalize(*call, enclave.sign_message(keccak(b"")), authorised).happened
    assert play.contribute_and_finalize(*call, signed, "0x").revert == "invalid-signature-format"
    assert play.contribute_and_finalize(*call, "0x", authorised).revert == "invalid-signature-format"
    assert not play.contribute_and_finalize(people.workers[1].address, *call[1:], signed, authorised).happened
    assert play.set_tee_broker(people.admin.address, broker.address).happened
    assert not play.contribute_and_finalize(*call, signed, authorised).happened
    assert play.contribute_alone(worker, attested, GOOD, enclave=enclave, authority=broker).happened
    assert not play.contribute_alone(worker, plain, GOOD, authority=broker).happened
    assert play.contribute_alone(worker, plain, GOOD).happened
    play.settle_everything()


def test_a_lone_result_for_a_callback_needs_the_bytes_of_its_digest(play: BatchPlay) -> None:
    digest, worker = to_hex32(keccak(b"callback")), play.people.workers[0]
    task = play.new_task({"request": {"trust": 1, "callback": SOMEBODY}})
    assert not play.contribute_alone(worker, task, digest).happened
    assert not play.contribute_alone(worker, task, digest, b"other").happened
    assert not play.contribute_alone(worker, task, GOOD, b"callback").happened
    assert play.contribute_alone(worker, task, digest, b"callback").happened
    unasked = play.new_task({"request": {"trust": 1}})
    assert not play.contribute_alone(worker, unasked, GOOD, b"callback").happened
    assert play.contribute_alone(worker, unasked, digest, b"callback", results=b"").happened
    play.settle_everything()


# --- arrays -----------------------------------------------------------------------------------------------------


def test_arrays_open_and_claim_all_or_nothing(play: BatchPlay) -> None:
    first = str(play.match(play.orders({"request": {"volume": 3}})).value)
    second = str(play.match(play.orders({"request": {"volume": 2}})).value)
    for deals, indexes in (([first, first], [0, 3]), ([first], [0, 1]), ([first, second], [0]), ([first] * 2, [0, 0])):
        assert not play.initialize_array(SOMEBODY, deals, indexes).happened
    assert play.initialize_array(SOMEBODY, [first, second], [2, 1]).value is True
    tasks = [ids.task_id(first, 2), ids.task_id(second, 1)]
    play.tasks += tasks
    assert play.initialize_array(SOMEBODY, [], []).happened
    assert not play.claim_array(SOMEBODY, tasks).happened
    assert not play.initialize_and_claim_array(SOMEBODY, [first], [0]).happened
    play.now += 10 * TIMEREF
    assert not play.claim_array(SOMEBODY, [*tasks, ZERO32]).happened
    assert not play.claim_array(SOMEBODY, [tasks[0], tasks[0]]).happened
    assert play.claim_array(SOMEBODY, tasks).value is True
    assert play.claim_array(SOMEBODY, []).happened
    for deals, indexes in (([first], [0, 1]), ([first, first], [0, 0]), ([first, first], [0, 2])):
        assert not play.initialize_and_claim_array(SOMEBODY, deals, indexes).happened
    assert play.initialize_and_claim_array(SOMEBODY, [first, second, first], [1, 0, 0]).value is True
    for index in (0, 1):
        play.check_task(ids.task_id(first, index))
    play.settle_everything()
