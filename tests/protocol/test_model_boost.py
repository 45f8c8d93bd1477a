from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, from_hex, keccak, to_hex32
from fairgrid.protocol.model_boost import BOOST_PREFIX, NO_DEAL_BOOST
from fairgrid.protocol.model_deals import NO_DEAL
from fairgrid.protocol.model_tasks import NO_TASK
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.typed_data import order_hash
from fairgrid.protocol.views import DealBoost, TaskStatus
from tests.protocol.actors import Actor
from tests.protocol.scenario import DEPOSIT, TIMEREF, Scenario, refusal

ENCLAVE = Actor("enclave")


def tag(bits: int) -> dict[str, str]:
    return {"tag": f"0x{bits:064x}"}


def boost_orders(scenario: Scenario, *, with_dataset: bool = False, **changes: dict[str, Any]) -> Any:
    """Four signed orders of trust 1."""
    changes["request"] = {"trust": 1, **changes.get("request", {})}
    return scenario.orders(with_dataset=with_dataset, **changes)


def boost(scenario: Scenario, *, with_dataset: bool = False, **changes: dict[str, Any]) -> str:
    """A deal of `boost_orders`; its id."""
    orders = boost_orders(scenario, with_dataset=with_dataset, **changes)
    return scenario.hub.match_orders_boost(scenario.people.stranger.address, *orders)


def push(scenario: Scenario, deal: str, index: int = 0, callback: bytes = b"", enclave: Actor | None = None) -> None:
    """The first worker pushes, authorised."""
    worker, task = scenario.people.workers[0].address, ids.task_id(deal, index)
    challenge = enclave.address if enclave else ZERO_ADDRESS
    has_callback = scenario.hub.view_deal_boost(deal).callback != ZERO_ADDRESS
    digest = to_hex32(keccak(callback if has_callback else b"results"))
    scenario.hub.push_result_boost(
        worker,
        deal,
        index,
        b"results",
        callback,
        scenario.people.scheduler.authorise(worker, task, challenge),
        challenge,
        enclave.sign_message(from_hex(ids.result_seal(worker, task, digest))) if enclave else "0x",
    )


def test_a_deal_records_its_terms_and_locks_both_sides(scenario: Scenario) -> None:
    hub, people = scenario.hub, scenario.people
    orders = boost_orders(scenario, with_dataset=True, request=tag(1 << 30 | 6), workerpool=tag(1 << 30 | 7))
    mark = len(hub.events)
    deal_id = hub.match_orders_boost(people.stranger.address, *orders)
    assert deal_id == ids.deal_id(order_hash(orders[3], hub.domain), 0)
    assert hub.view_deal_boost(deal_id) == DealBoost(
        app_owner=people.app_owner.address,
        app_price=100,
        dataset_owner=people.dataset_owner.address,
        dataset_price=50,
        workerpool_owner=people.scheduler.address,
        workerpool_price=1_000,
        requester=people.requester.address,
        worker_reward=990,
        callback=ZERO_ADDRESS,
        deadline=hub.now + 7 * TIMEREF,
        bot_first=0,
        bot_size=2,
        short_tag="0x000006",
        sponsor=people.requester.address,
    )
    assert (scenario.locked(people.requester), scenario.locked(people.scheduler)) == (2 * 1_150, 2 * 300)
    assert scenario.names_since(mark) == [
        *["Transfer", "Lock"] * 2,
        "SchedulerNoticeBoost",
        "OrdersMatched",
    ]
    assert hub.events[-2].arguments["params"] == "{}"
    assert hub.boost_ids == (deal_id,)
    scenario.assert_money_adds_up()


def test_a_refusal_names_its_rule_and_moves_nothing(scenario: Scenario) -> None:
    orders = boost_orders(scenario, request={"trust": 2})
    before = len(scenario.hub.events)
    refused = refusal(scenario.hub.match_orders_boost, ZERO_ADDRESS, *orders)
    assert refused == BOOST_PREFIX + "Bad trust level"
    assert len(scenario.hub.events) == before


def test_framework_bits_of_the_dataset_count(scenario: Scenario) -> None:
    orders = boost_orders(scenario, with_dataset=True, dataset=tag(2))
    refused = refusal(scenario.hub.match_orders_boost, ZERO_ADDRESS, *orders)
    assert refused == BOOST_PREFIX + "Workerpool tag does not match demand"
    scenario.hub.match_orders(ZERO_ADDRESS, *orders)


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
def test_somebody_is_no_registered_asset(scenario: Scenario, kind: str) -> None:
    stranger = scenario.people.stranger.address
    changes: dict[str, Any] = {kind: {kind: stranger}, "request": {kind: stranger, "trust": 1}}
    orders = scenario.orders(with_dataset=True, **changes)
    refused = refusal(scenario.hub.match_orders_boost, stranger, *orders)
    assert refused == f"{BOOST_PREFIX}{kind.capitalize()} not registered"


def test_a_number_that_does_not_fit_is_named(scenario: Scenario) -> None:
    orders = boost_orders(scenario, app={"appprice": 2**96}, request={"appmaxprice": 2**96})
    refused = refusal(scenario.hub.match_orders_boost, ZERO_ADDRESS, *orders)
    assert refused == f"SafeCastOverflowedUintDowncast(96, {2**96})"


def test_one_row_of_units_for_both_lanes(scenario: Scenario) -> None:
    hub = scenario.hub
    orders = boost_orders(scenario, app={"volume": 3}, request={"volume": 10})
    first = hub.match_orders(ZERO_ADDRESS, *orders)
    refused = refusal(hub.match_orders_boost, ZERO_ADDRESS, *orders)
    assert refused == BOOST_PREFIX + "One or more orders consumed"
    more = boost_orders(scenario, app={"volume": 100, "salt": "0x" + "01" * 32})[0]
    second = hub.match_orders_boost(ZERO_ADDRESS, more, *orders[1:])
    assert (hub.view_deal(first).bot_first, hub.view_deal_boost(second).bot_first) == (0, 3)
    assert refusal(hub.match_orders, ZERO_ADDRESS, more, *orders[1:]) == "iExecV5-matchOrders-0x60"


def test_the_lanes_do_not_see_each_other(scenario: Scenario) -> None:
    hub = scenario.hub
    fast, classic = boost(scenario), scenario.deal()
    assert hub.view_deal(fast) == NO_DEAL
    assert hub.view_deal_boost(classic) == NO_DEAL_BOOST
    assert refusal(hub.initialize, ZERO_ADDRESS, fast, 0) is None
    assert refusal(push, scenario, classic) == BOOST_PREFIX + "Unknown task"
    assert refusal(hub.claim_boost, ZERO_ADDRESS, classic, 0) == BOOST_PREFIX + "Unknown task"


def test_a_push_pays_everybody_at_once(scenario: Scenario) -> None:
    people = scenario.people
    deal = boost(scenario, with_dataset=True)
    mark = len(scenario.hub.events)
    push(scenario, deal, 1)
    task = ids.task_id(deal, 1)
    assert scenario.hub.view_task(task).status == TaskStatus.COMPLETED
    assert scenario.hub.view_task(task).deal_id == ZERO32
    assert scenario.hub.result_for(task) == b""
    assert scenario.stake(people.workers[0]) == DEPOSIT + 990
    assert scenario.stake(people.app_owner) == DEPOSIT + 100
    assert scenario.stake(people.dataset_owner) == DEPOSIT + 50
    assert (scenario.locked(people.requester), scenario.locked(people.scheduler)) == (1_150, 300)
    assert scenario.names_since(mark) == [
        "Seize",
        *["Transfer", "Reward"] * 3,
        *["Transfer", "Unlock", "Transfer", "Reward"],
        "ResultPushedBoost",
    ]
    assert refusal(push, scenario, deal, 1) == BOOST_PREFIX + "Task status not unset"
    assert refusal(push, scenario, deal, 2) == BOOST_PREFIX + "Unknown task"
    scenario.assert_money_adds_up()


def test_a_sponsor_pays_and_the_requesters_other_money_stays_locked(scenario: Scenario) -> None:
    people, hub = scenario.people, scenario.hub
    scenario.deal()
    locked = scenario.locked(people.requester)
    orders = boost_orders(scenario, request={"salt": "0x" + "03" * 32})
    deal = hub.sponsor_match_orders_boost(people.stranger.address, *orders)
    assert hub.events[-1].arguments == {"dealId": deal, "sponsor": people.stranger.address}
    push(scenario, deal)
    assert scenario.locked(people.requester) == locked
    assert (scenario.stake(people.stranger), scenario.locked(people.stranger)) == (DEPOSIT - 2_200, 1_100)


def test_a_push_needs_an_authorisation_and_an_enclave_where_the_tag_says_so(scenario: Scenario) -> None:
    deal = boost(scenario, app=tag(1), workerpool=tag(1))
    worker = scenario.people.workers[0]
    assert refusal(push, scenario, deal) == BOOST_PREFIX + "Tag requires enclave challenge"
    sign = worker.authorise(worker.address, ids.task_id(deal, 0), ENCLAVE.address)
    forged = (worker.address, deal, 0, b"results", b"", sign, ENCLAVE.address, "0x")
    refused = refusal(scenario.hub.push_result_boost, *forged)
    assert refused == BOOST_PREFIX + "Invalid contribution authorization signature"
    push(scenario, deal, enclave=ENCLAVE)


def test_a_callback_needs_data(scenario: Scenario) -> None:
    deal = boost(scenario, request={"callback": scenario.people.stranger.address})
    assert refusal(push, scenario, deal) == BOOST_PREFIX + "Callback requires data"
    assert scenario.hub.view_task(ids.task_id(deal, 0)) == NO_TASK
    push(scenario, deal, callback=b"data", enclave=ENCLAVE)


def test_pushes_end_where_claims_start(scenario: Scenario) -> None:
    people, hub = scenario.people, scenario.hub
    deal = boost(scenario)
    hub.now = hub.view_deal_boost(deal).deadline - 1
    assert refusal(hub.claim_boost, ZERO_ADDRESS, deal, 0) == BOOST_PREFIX + "Deadline not reached"
    push(scenario, deal)
    hub.now += 1
    assert refusal(push, scenario, deal, 1) == BOOST_PREFIX + "Deadline reached"
    mark = len(hub.events)
    hub.claim_boost(people.stranger.address, deal, 1)
    assert scenario.names_since(mark) == ["Transfer", "Unlock", "Seize", "Reward", "Lock", "TaskClaimed"]
    assert hub.view_task(ids.task_id(deal, 1)).status == TaskStatus.FAILED
    assert (scenario.stake(people.requester), scenario.locked(people.requester)) == (DEPOSIT - 1_100, 0)
    assert scenario.locked(people.scheduler) == 0
    assert hub.frozen_of(KITTY_ADDRESS) == 300
    assert refusal(hub.claim_boost, ZERO_ADDRESS, deal, 1) == BOOST_PREFIX + "Task status not unset"
    scenario.assert_money_adds_up()


def test_the_next_success_takes_from_the_kitty_in_the_schedulers_reward(scenario: Scenario) -> None:
    hub = scenario.hub
    failed = boost(scenario, request={"volume": 1})
    hub.now += 7 * TIMEREF
    hub.claim_boost(ZERO_ADDRESS, failed, 0)
    push(scenario, boost(scenario, request={"salt": "0x" + "04" * 32}))
    assert hub.frozen_of(KITTY_ADDRESS) == 0
    assert scenario.last("Reward").arguments["amount"] == 300 + 10


def test_unknown_deals_show_zeros(scenario: Scenario) -> None:
    assert scenario.hub.view_deal_boost(ZERO32) == NO_DEAL_BOOST
