from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.model_deals import NO_DEAL
from fairgrid.protocol.typed_data import CLOSE, SIGN, order_hash
from fairgrid.protocol.views import Resource
from tests.protocol.scenario import DEPOSIT, Scenario, refusal
from tests.protocol.test_matching import BROKEN_TERMS


def test_a_deal_records_its_terms_and_locks_both_sides(scenario: Scenario) -> None:
    hub, people = scenario.hub, scenario.people
    orders = scenario.orders(with_dataset=True)
    mark = len(hub.events)
    deal_id = hub.match_orders(people.stranger.address, *orders)
    deal = hub.view_deal(deal_id)
    assert deal_id == ids.deal_id(order_hash(orders[3], hub.domain), 0)
    assert deal.app == Resource(scenario.app, people.app_owner.address, 100)
    assert deal.dataset == Resource(scenario.dataset, people.dataset_owner.address, 50)
    assert deal.workerpool == Resource(scenario.pool, people.scheduler.address, 1_000)
    assert (deal.bot_first, deal.bot_size, deal.trust, deal.start_time) == (0, 2, 3, hub.now)
    assert (deal.worker_stake, deal.scheduler_reward_ratio) == (300, 1)
    assert deal.requester == deal.sponsor == people.requester.address
    assert deal.beneficiary == people.stranger.address
    assert scenario.locked(people.requester) == 2 * 1_150
    assert scenario.locked(people.scheduler) == 2 * 300
    assert scenario.names_since(mark) == ["Transfer", "Lock", "Transfer", "Lock", "SchedulerNotice", "OrdersMatched"]
    hashes = [order_hash(order, hub.domain) for order in orders]
    assert list(hub.events[-1].arguments.values()) == [deal_id, *hashes, 2]
    assert [hub.view_consumed(hash_) for hash_ in hashes] == [2, 2, 2, 2]
    scenario.assert_money_adds_up()


def test_a_sponsor_pays_instead_of_the_requester(scenario: Scenario) -> None:
    people = scenario.people
    deal_id = scenario.hub.sponsor_match_orders(people.stranger.address, *scenario.orders())
    assert scenario.hub.view_deal(deal_id).sponsor == people.stranger.address
    assert scenario.locked(people.requester) == 0
    assert scenario.locked(people.stranger) == 2 * 1_100
    assert scenario.hub.events[-1].name == "DealSponsored"
    assert scenario.hub.events[-1].arguments == {"dealId": deal_id, "sponsor": people.stranger.address}


def test_a_deposit_may_come_with_a_match_of_ones_own_request(scenario: Scenario) -> None:
    hub, people = scenario.hub, scenario.people
    requester, stranger = people.requester.address, people.stranger.address
    hub.token.transfer(people.admin.address, requester, 10)
    orders = scenario.orders()
    assert refusal(hub.token.approve_and_call, stranger, hub, 0, orders) == "CallerIsNotTheRequester()"
    free = hub.balance_of(requester)
    hub.token.approve_and_call(requester, hub, 10, orders)
    assert hub.balance_of(requester) == free + 10 - scenario.locked(people.requester)
    assert scenario.locked(people.requester) == 2 * 1_100
    assert hub.view_deal(hub.deal_ids[-1]).sponsor == requester
    assert refusal(hub.token.approve_and_call, requester, hub, 0, orders) == "iExecV5-matchOrders-0x60"
    nobody = {"app": stranger}
    unknown = scenario.orders(app=nobody, request=nobody)
    assert refusal(hub.token.approve_and_call, requester, hub, 0, unknown) == "OperationFailed()"
    assert hub.token.allowance(requester, hub.address) == 0


def test_a_deal_without_dataset_records_none(scenario: Scenario) -> None:
    deal = scenario.hub.view_deal(scenario.deal(dataset={"datasetprice": 50, "volume": 0}))
    assert deal.dataset == Resource(ZERO_ADDRESS, ZERO_ADDRESS, 0)
    assert scenario.last("OrdersMatched").arguments["datasetHash"] == ZERO32
    assert scenario.locked(scenario.people.requester) == 2 * 1_100


@pytest.mark.parametrize(("code", "changes"), BROKEN_TERMS)
def test_each_broken_rule_reverts_with_its_code_and_moves_nothing(
    scenario: Scenario, code: str, changes: dict[str, dict[str, Any]]
) -> None:
    orders = scenario.orders(with_dataset=True, **changes)
    before = len(scenario.hub.events)
    assert refusal(scenario.hub.match_orders, orders[3].requester, *orders) == f"iExecV5-matchOrders-{code}"
    assert len(scenario.hub.events) == before
    assert scenario.locked(scenario.people.requester) == 0


@pytest.mark.parametrize(("index", "code"), [(0, "0x21"), (1, "0x31"), (2, "0x41"), (3, "0x50")])
def test_an_order_signed_by_another_is_refused(scenario: Scenario, index: int, code: str) -> None:
    orders: list[Any] = list(scenario.orders(with_dataset=True))
    orders[index] = scenario.people.stranger.sign_order(orders[index], scenario.hub.domain)
    match = scenario.hub.match_orders
    assert refusal(match, scenario.people.stranger.address, *orders) == f"iExecV5-matchOrders-{code}"
    orders[index] = orders[index].signed("0x")
    assert refusal(match, scenario.people.stranger.address, *orders) == "invalid-signature-format"


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_a_presigned_order_needs_no_signature_and_a_closed_one_has_no_volume(scenario: Scenario, index: int) -> None:
    people, hub = scenario.people, scenario.hub
    owner = (people.app_owner, people.dataset_owner, people.scheduler, people.requester)[index]
    orders: list[Any] = list(scenario.orders(with_dataset=True))
    orders[index] = orders[index].signed("0x")
    hub.manage_order(owner.address, orders[index], SIGN)
    assert hub.compute_deal_volume(*orders) == 2
    hub.match_orders(people.stranger.address, *orders)
    hub.manage_order(owner.address, orders[index], CLOSE)
    assert hub.compute_deal_volume(*orders) == 0
    assert refusal(hub.match_orders, people.stranger.address, *orders) == "iExecV5-matchOrders-0x60"


@pytest.mark.parametrize(("kind", "code"), [("app", "0x20"), ("dataset", "0x30"), ("workerpool", "0x40")])
def test_an_asset_of_another_kind_is_not_registered_and_a_person_is_no_asset(
    scenario: Scenario, kind: str, code: str
) -> None:
    people = scenario.people
    wrong_kind = scenario.dataset if kind == "app" else scenario.app
    for address, expected in [(wrong_kind, f"iExecV5-matchOrders-{code}"), (people.stranger.address, None)]:
        changes: dict[str, dict[str, Any]] = {kind: {kind: address}, "request": {kind: address}}
        orders = scenario.orders(with_dataset=True, **changes)
        assert refusal(scenario.hub.match_orders, people.stranger.address, *orders) == expected


def test_an_order_is_consumed_deal_by_deal(scenario: Scenario) -> None:
    hub = scenario.hub
    orders = scenario.orders(app={"volume": 3}, request={"volume": 10})
    first = hub.match_orders(ZERO_ADDRESS, *orders)
    assert refusal(hub.match_orders, ZERO_ADDRESS, *orders) == "iExecV5-matchOrders-0x60"
    more = scenario.people.app_owner.sign_order(replace(orders[0], volume=100, salt="0x" + "01" * 32), hub.domain)
    second = hub.match_orders(ZERO_ADDRESS, more, *orders[1:])
    assert (hub.view_deal(first).bot_first, hub.view_deal(first).bot_size) == (0, 3)
    assert (hub.view_deal(second).bot_first, hub.view_deal(second).bot_size) == (3, 7)
    assert hub.deal_ids == (first, second)


def test_a_payer_or_a_pool_without_money_makes_no_deal(scenario: Scenario) -> None:
    hub, people = scenario.hub, scenario.people
    poor = "IexecEscrow: Transfer amount exceeds balance"
    orders = scenario.orders()
    for actor in (people.requester, people.scheduler):
        hub.transfer(actor.address, people.admin.address, scenario.stake(actor))
        assert refusal(hub.match_orders, people.stranger.address, *orders) == poor
        hub.transfer(people.admin.address, actor.address, DEPOSIT)
    hub.match_orders(people.stranger.address, *orders)


def test_stakes_are_rounded_down_per_task(scenario: Scenario) -> None:
    deal_id = scenario.deal(workerpool={"workerpoolprice": 9})
    assert scenario.locked(scenario.people.scheduler) == 2 * 2
    assert scenario.hub.view_deal(deal_id).worker_stake == 2


def test_the_pools_policy_is_read_when_the_deal_is_made(scenario: Scenario) -> None:
    scheduler = scenario.people.scheduler.address
    pools = scenario.hub.registries.workerpools
    assert refusal(pools.change_policy, scenario.people.stranger.address, scenario.pool, 1, 1) == (
        "caller is not the owner"
    )
    assert refusal(pools.change_policy, scheduler, scenario.pool, 1, 101) is None
    before = scenario.deal()
    pools.change_policy(scheduler, scenario.pool, 50, 20)
    after = scenario.deal(request={"salt": "0x" + "02" * 32})
    assert [scenario.hub.view_deal(deal).worker_stake for deal in (before, after)] == [300, 500]
    assert [scenario.hub.view_deal(deal).scheduler_reward_ratio for deal in (before, after)] == [1, 20]


def test_the_owner_at_the_match_is_the_one_who_earns(scenario: Scenario) -> None:
    people, apps = scenario.people, scenario.hub.registries.apps
    deal_id = scenario.deal()
    apps.transfer(people.app_owner.address, scenario.app, people.stranger.address)
    assert scenario.hub.view_deal(deal_id).app.owner == people.app_owner.address
    assert apps.info(scenario.app).owner == people.stranger.address
    assert refusal(apps.transfer, people.app_owner.address, scenario.app, people.admin.address) is None


def test_a_zero_trust_is_recorded_as_one(scenario: Scenario) -> None:
    assert scenario.hub.view_deal(scenario.deal(request={"trust": 0})).trust == 1


def test_a_group_member_may_use_a_restricted_order(scenario: Scenario) -> None:
    group = scenario.people.stranger.address
    orders = scenario.orders(app={"requesterrestrict": group})
    assert refusal(scenario.hub.match_orders, group, *orders) == "iExecV5-matchOrders-0x15"
    scenario.hub.group_members.add((group, scenario.people.requester.address))
    scenario.hub.match_orders(group, *orders)


def test_an_unknown_deal_is_all_zeros(scenario: Scenario) -> None:
    assert scenario.hub.view_deal(ZERO32) == NO_DEAL


def test_an_asset_is_created_once(scenario: Scenario) -> None:
    scheduler = scenario.people.scheduler.address
    pools = scenario.hub.registries.workerpools
    assert refusal(pools.create, scheduler, "pool") == "Create2: Failed on deploy"
    assert pools.create(scheduler, "another") != scenario.pool
    assert refusal(pools.info, scheduler) is None
