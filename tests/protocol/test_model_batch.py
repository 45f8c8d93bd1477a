from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.model_batch import NO_LANE, NO_RUN
from fairgrid.protocol.model_tasks import NO_TASK
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import ContributionStatus, Lane, Run, TaskStatus
from tests.protocol.lanes import LANE, Batch, gains
from tests.protocol.scenario import DEPOSIT, TIMEREF, Scenario, refusal

PRICE, STAKE, APP = 1_009, 302, 100
AGREED = {0: 0, 1: 0}


@pytest.fixture
def batch(scenario: Scenario) -> Batch:
    """A deal of ten tasks in the batch lane, trust 3."""
    return Batch(scenario)


# --- lanes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("request_lane", "pool_lane"), [(False, True), (True, True), (False, False)])
def test_a_deal_is_in_the_batch_lane_only_if_request_and_pool_say_so(
    scenario: Scenario, request_lane: bool, pool_lane: bool
) -> None:
    deal = scenario.deal(workerpool=LANE if pool_lane else {}, request=LANE if request_lane else {})
    in_lane = request_lane and pool_lane
    assert scenario.hub.view_lane(deal) == Lane(in_batch_lane=in_lane, cursor=0, refunded=False)
    if not in_lane:
        assert refusal(scenario.hub.open_run, scenario.people.scheduler.address, deal, 1) is None
        scenario.hub.initialize(scenario.people.stranger.address, deal, 1)
        scenario.hub.now += 10 * TIMEREF
        assert refusal(scenario.hub.refund_rest, scenario.people.stranger.address, deal) is None


def test_a_lane_bit_that_only_the_app_brought_opens_no_lane(scenario: Scenario) -> None:
    deal = scenario.deal(app=LANE, workerpool=LANE)
    assert scenario.hub.view_deal(deal).tag == LANE["tag"]
    assert not scenario.hub.view_lane(deal).in_batch_lane


def test_single_tasks_open_only_at_the_frontier_and_only_by_the_pool_until_all_is_late(batch: Batch) -> None:
    hub, stranger = batch.hub, batch.people.stranger.address
    batch.open(3)
    for index in (0, 2, 4, 9, 10):
        assert refusal(hub.initialize, batch.scheduler, batch.deal, index) is None
    assert refusal(hub.initialize, stranger, batch.deal, 3) is None
    task = hub.initialize(batch.scheduler, batch.deal, 3)
    assert task == ids.task_id(batch.deal, 3)
    assert hub.view_lane(batch.deal).cursor == 4
    assert refusal(hub.initialize, batch.scheduler, batch.deal, 3) is None
    assert hub.view_run(batch.open(2)).first == 4
    hub.now = hub.view_task(task).final_deadline - 1
    assert refusal(hub.initialize, stranger, batch.deal, 6) is None
    hub.now += 1
    assert refusal(hub.initialize, stranger, batch.deal, 7) is None
    assert hub.initialize_and_claim_array(stranger, [batch.deal] * 2, [6, 7])
    assert hub.view_lane(batch.deal).cursor == 8


def test_what_is_not_there_shows_zeros(batch: Batch) -> None:
    task = batch.hub.initialize(batch.scheduler, batch.deal, 0)
    assert batch.hub.view_run(ZERO32) == NO_RUN == batch.hub.view_run(task)
    assert batch.hub.view_lane(ZERO32) == NO_LANE


# --- openRun ----------------------------------------------------------------------------------------------------


def test_a_run_opens_at_the_frontier(batch: Batch) -> None:
    hub = batch.hub
    start = hub.now
    hub.now += 7 * TIMEREF - 1
    run = batch.open(4)
    assert run == runs.run_id(batch.deal, 0, 4)
    assert hub.view_run(run) == Run(batch.deal, 0, 4, TaskStatus.ACTIVE)
    assert hub.view_lane(batch.deal) == Lane(in_batch_lane=True, cursor=4, refunded=False)
    assert hub.events[-1].name == "RunOpen"
    assert hub.events[-1].arguments == {"runid": run, "dealid": batch.deal, "first": 0, "count": 4}
    expected = replace(
        NO_TASK,
        status=TaskStatus.ACTIVE,
        deal_id=batch.deal,
        timeref=TIMEREF,
        contribution_deadline=start + 7 * TIMEREF,
        final_deadline=start + 10 * TIMEREF,
    )
    assert hub.view_task(run) == expected
    assert hub.view_task(ids.task_id(batch.deal, 0)) == NO_TASK
    assert hub.view_run(batch.open(6)).first == 4
    assert refusal(batch.open, 1) is None


def test_a_run_of_a_later_slice_counts_from_its_first_index(scenario: Scenario) -> None:
    orders = scenario.orders(
        app={"volume": 2}, workerpool={**LANE, "volume": 9}, request={**LANE, "volume": 5, "trust": 1}
    )
    scenario.hub.match_orders(scenario.people.stranger.address, *orders)
    again = scenario.orders(app={"salt": "0x" + "01" * 32})[0]
    deal = scenario.hub.match_orders(scenario.people.stranger.address, again, *orders[1:])
    assert scenario.hub.view_lane(deal).cursor == 2
    run = scenario.hub.open_run(scenario.people.scheduler.address, deal, 3)
    assert scenario.hub.view_run(run).first == 2
    assert scenario.hub.view_lane(deal).cursor == 5


def test_only_the_pools_owner_opens_runs_of_a_size_that_is_left_before_the_deadline(batch: Batch) -> None:
    hub = batch.hub
    assert refusal(hub.open_run, batch.people.stranger.address, batch.deal, 1) is None
    assert refusal(hub.open_run, batch.scheduler, ZERO32, 1) is None
    assert refusal(hub.open_run, ZERO_ADDRESS, ZERO32, 1) is None
    for count in (0, 11, 2**20):
        assert refusal(batch.open, count) is None
    hub.now += 7 * TIMEREF
    assert refusal(batch.open, 1) is None
    hub.now -= 1
    batch.open(10)


def test_a_run_has_fewer_than_two_to_the_twentieth_tasks(scenario: Scenario) -> None:
    volume = {"volume": 2**21}
    free: dict[str, Any] = {
        "workerpool": {**volume, "workerpoolprice": 0},
        "request": volume,
        "app": {**volume, "appprice": 0},
    }
    batch = Batch(scenario, **free)
    assert refusal(batch.open, 2**20) is None
    batch.open(2**20 - 1)


# --- the classic calls on runs ------------------------------------------------------------------------------------


def test_a_contribution_to_a_run_locks_the_stake_of_all_its_tasks(batch: Batch) -> None:
    worker = batch.people.workers[0]
    batch.hub.withdraw(worker.address, DEPOSIT - 4 * STAKE + 1)
    run = batch.open(4)
    digest = batch.digest(run)
    assert refusal(batch.scenario.contribute, worker, run, digest) == "IexecEscrow: Transfer amount exceeds balance"
    smaller = batch.open(3)
    batch.scenario.contribute(worker, smaller, batch.digest(smaller))
    assert batch.scenario.locked(worker) == 3 * STAKE
    assert batch.scenario.last("TaskContribute").arguments["taskid"] == smaller


def test_a_run_is_not_finalized_like_a_task(batch: Batch) -> None:
    run = batch.contributed(4, AGREED)
    for worker in AGREED:
        batch.scenario.reveal(batch.people.workers[worker], run, batch.digest(run))
    assert refusal(batch.hub.finalize, batch.scheduler, run, b"") is None
    batch.finish(run)


def test_a_run_is_not_contributed_and_finalized_like_a_task(scenario: Scenario) -> None:
    batch = Batch(scenario, request={"trust": 1})
    run = batch.open(4)
    worker = batch.people.workers[0].address
    authorisation = batch.people.scheduler.authorise(worker, run)
    settle = batch.hub.contribute_and_finalize
    assert refusal(settle, worker, run, batch.digest(run), b"", authorisation_sign=authorisation) is None


def test_a_claim_refunds_all_tasks_of_a_run_and_gives_all_stakes_back(batch: Batch) -> None:
    scenario = batch.scenario
    run = batch.contributed(10, {0: 1, 1: 0, 2: 0, 3: 0})
    batch.hub.now = batch.hub.view_task(run).reveal_deadline
    batch.hub.reopen(batch.scheduler, run)
    assert batch.hub.view_contribution(run, batch.people.workers[1].address).status == ContributionStatus.REJECTED
    batch.hub.now = batch.hub.view_task(run).final_deadline - 1
    assert refusal(batch.hub.claim, batch.people.stranger.address, run) is None
    batch.hub.now += 1
    mark = len(batch.hub.events)
    batch.hub.claim(batch.people.stranger.address, run)
    stakes = ["Transfer", "Unlock"] * 4
    assert scenario.names_since(mark) == ["Transfer", "Unlock", "Seize", "Reward", "Lock", *stakes, "TaskClaimed"]
    changed = {name: amount for name, amount in gains(scenario).items() if amount}
    assert changed == {"scheduler": -10 * STAKE}
    assert batch.hub.frozen_of(KITTY_ADDRESS) == 10 * STAKE
    assert refusal(batch.hub.claim, batch.people.stranger.address, run) is None
    assert refusal(batch.hub.refund_rest, batch.people.stranger.address, batch.deal) is None
    scenario.assert_money_adds_up()


# --- splitRun ---------------------------------------------------------------------------------------------------


def test_a_run_that_nobody_agrees_on_is_split_and_stakes_come_back(batch: Batch) -> None:
    scenario, hub = batch.scenario, batch.hub
    run = batch.contributed(5, {0: 0, 1: 1})
    mark = len(hub.events)
    left, right = hub.split_run(batch.scheduler, run, 2)
    assert (left, right) == (runs.run_id(batch.deal, 0, 2), runs.run_id(batch.deal, 2, 3))
    assert scenario.names_since(mark) == [*["Transfer", "Unlock"] * 2, "RunSplit", "RunOpen", "RunOpen"]
    assert scenario.last("RunSplit").arguments == {"runid": run, "leftid": left, "rightid": right}
    assert hub.view_run(run).status == hub.view_task(run).status == TaskStatus.SPLIT
    assert hub.view_run(right) == Run(batch.deal, 2, 3, TaskStatus.ACTIVE)
    assert [scenario.locked(worker) for worker in batch.people.workers[:2]] == [0, 0]
    assert [hub.view_score(worker.address) for worker in batch.people.workers[:2]] == [0, 0]
    scenario.contribute(batch.people.workers[0], left, batch.digest(left))
    scenario.contribute(batch.people.workers[0], right, batch.digest(right))
    assert scenario.locked(batch.people.workers[0]) == 5 * STAKE
    for over in (hub.claim, hub.reopen):
        assert refusal(over, batch.scheduler, run) is None
    assert refusal(scenario.contribute, batch.people.workers[2], run, batch.digest(run)) is None
    assert refusal(hub.split_run, batch.scheduler, run, 2) is None


def test_who_did_not_reveal_is_slashed_when_its_run_is_split(batch: Batch) -> None:
    scenario, hub = batch.scenario, batch.hub
    for salt in (1, 2, 3):
        scenario.completed_task({1: "0x" + "aa" * 32, 2: "0x" + "aa" * 32}, request={"salt": f"0x{salt:064x}"})
    run = batch.contributed(5, {0: 1, 1: 0, 2: 0, 3: 0})
    hub.now = hub.view_task(run).reveal_deadline
    assert refusal(hub.split_run, batch.scheduler, run, 2) is None
    hub.reopen(batch.scheduler, run)
    before = gains(scenario)
    mark = len(hub.events)
    hub.split_run(batch.scheduler, run, 4)
    slashed = ["Seize", "Reward", "Lock", "FaultyContribution"]
    assert scenario.names_since(mark) == ["Transfer", "Unlock", *slashed * 3, "RunSplit", "RunOpen", "RunOpen"]
    assert hub.frozen_of(KITTY_ADDRESS) == 3 * 5 * STAKE
    assert gains(scenario)["worker 0"] - before["worker 0"] == 5 * STAKE
    assert gains(scenario)["worker 1"] == before["worker 1"]
    assert all(scenario.locked(worker) == 0 for worker in batch.people.workers)
    assert [hub.view_score(worker.address) for worker in batch.people.workers[:4]] == [0, 2, 2, 0]
    scenario.assert_money_adds_up()


def test_a_run_is_split_if_nobody_came_or_some_disagree_but_not_while_all_agree(batch: Batch) -> None:
    hub = batch.hub
    empty, agreeing = batch.open(2), batch.contributed(3, {0: 0})
    assert refusal(hub.split_run, batch.scheduler, agreeing, 1) is None
    for left in (0, 2, 3):
        assert refusal(hub.split_run, batch.scheduler, empty, left) is None
    assert refusal(hub.split_run, batch.people.stranger.address, empty, 1) is None
    hub.now = hub.view_task(empty).contribution_deadline
    assert refusal(hub.split_run, batch.scheduler, empty, 1) is None
    hub.now -= 1
    hub.split_run(batch.scheduler, empty, 1)
    batch.scenario.contribute(batch.people.workers[1], agreeing, batch.digest(agreeing, 1))
    hub.split_run(batch.scheduler, agreeing, 2)


def test_what_is_no_run_is_not_split(batch: Batch) -> None:
    task = batch.hub.initialize(batch.scheduler, batch.deal, 0)
    assert refusal(batch.hub.split_run, batch.scheduler, task, 0) is None
    assert refusal(batch.hub.split_run, batch.scheduler, ZERO32, 1) is None


# --- refundRest -------------------------------------------------------------------------------------------------


def test_what_was_never_opened_is_refunded_at_once_and_once(batch: Batch) -> None:
    hub, scenario, stranger = batch.hub, batch.scenario, batch.people.stranger.address
    run = batch.open(3)
    hub.now = hub.view_task(run).final_deadline - 1
    assert refusal(hub.refund_rest, stranger, batch.deal) is None
    hub.now += 1
    mark = len(hub.events)
    assert hub.refund_rest(stranger, batch.deal) == 7
    assert scenario.names_since(mark) == ["Transfer", "Unlock", "Seize", "Reward", "Lock", "DealRefund"]
    assert scenario.last("DealRefund").arguments == {"dealid": batch.deal, "first": 3, "count": 7}
    assert scenario.last("Seize").arguments["ref"] == batch.deal
    assert scenario.locked(batch.people.requester) == 3 * (APP + PRICE)
    assert scenario.locked(batch.people.scheduler) == 3 * STAKE
    assert hub.frozen_of(KITTY_ADDRESS) == 7 * STAKE
    assert hub.view_lane(batch.deal) == Lane(in_batch_lane=True, cursor=3, refunded=True)
    assert refusal(hub.refund_rest, stranger, batch.deal) is None
    assert refusal(hub.initialize, batch.scheduler, batch.deal, 3) is None
    assert refusal(hub.refund_rest, stranger, ZERO32) is None
    hub.claim(stranger, run)
    assert {name for name, gained in gains(scenario).items() if gained} == {"scheduler"}
    assert all(scenario.locked(actor) == 0 for actor in batch.people.all)
    scenario.assert_money_adds_up()


def test_the_sponsor_gets_the_refund(scenario: Scenario) -> None:
    orders = scenario.orders(workerpool=LANE, request={**LANE, "volume": 4})
    stranger = scenario.people.stranger
    deal = scenario.hub.sponsor_match_orders(stranger.address, *orders)
    scenario.hub.now += 10 * TIMEREF
    assert scenario.hub.refund_rest(scenario.people.admin.address, deal) == 4
    assert scenario.stake(stranger) == DEPOSIT


def test_nothing_is_left_to_refund_when_all_was_opened(batch: Batch) -> None:
    batch.open(10)
    batch.hub.now += 10 * TIMEREF
    assert refusal(batch.hub.refund_rest, batch.scheduler, batch.deal) is None
