"""`matchOrdersBoost`, `sponsorMatchOrdersBoost`: every rule and its text, what is locked, consumed and emitted."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import boa
import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from tests.contracts.boosting import boost_deal, boost_orders, funded, match_boost, push
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Orders, Person, World, bytes32, mock, names

Changes = dict[str, Any]

OTHER = Person("other").address
GPU_TAG = bytes32(0x100)

TERMS: list[tuple[str, Changes]] = [
    ("Bad trust level", {"request": {"trust": 2}}),
    ("Category mismatch", {"request": {"category": 1}}),
    ("Unknown category", {"request": {"category": 5}, "workerpool": {"category": 5}}),
    ("Overpriced app", {"request": {"appmaxprice": 999}}),
    ("Overpriced dataset", {"request": {"datasetmaxprice": 299}}),
    ("Overpriced workerpool", {"request": {"workerpoolmaxprice": 10_000}}),
    ("Workerpool tag does not match demand", {"dataset": {"tag": GPU_TAG}}),
    ("App tag does not match demand", {"request": {"tag": bytes32(1)}, "workerpool": {"tag": bytes32(1)}}),
    ("App mismatch", {"request": {"app": OTHER}}),
    ("Dataset mismatch", {"request": {"dataset": OTHER}}),
    ("Workerpool restricted by request order", {"request": {"workerpool": OTHER}}),
    ("Dataset restricted by app order", {"app": {"datasetrestrict": OTHER}}),
    ("Workerpool restricted by app order", {"app": {"workerpoolrestrict": OTHER}}),
    ("Requester restricted by app order", {"app": {"requesterrestrict": OTHER}}),
    ("App restricted by dataset order", {"dataset": {"apprestrict": OTHER}}),
    ("Workerpool restricted by dataset order", {"dataset": {"workerpoolrestrict": OTHER}}),
    ("Requester restricted by dataset order", {"dataset": {"requesterrestrict": OTHER}}),
    ("App restricted by workerpool order", {"workerpool": {"apprestrict": OTHER}}),
    ("Dataset restricted by workerpool order", {"workerpool": {"datasetrestrict": OTHER}}),
    ("Requester restricted by workerpool order", {"workerpool": {"requesterrestrict": OTHER}}),
]


def _refused(world: World, orders: Orders, text: str) -> None:
    with reverts(f"PocoBoost: {text}"):
        match_boost(world, orders)


# --- rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "changes"), TERMS, ids=[text for text, _ in TERMS])
def test_orders_that_break_one_rule_are_refused_with_its_text(world: World, text: str, changes: Changes) -> None:
    _refused(funded(world), boost_orders(world, with_dataset=True, **changes), text)


def test_of_neighbouring_broken_rules_the_earlier_is_named(world: World) -> None:
    """All orders of two: `test_agreement_on_boost`."""
    for (text, first), (_, second) in pairwise(TERMS):
        merged = {kind: second.get(kind, {}) | first.get(kind, {}) for kind in {*first, *second}}
        if text == "Category mismatch":
            merged = {"request": {"category": 6}, "workerpool": {"category": 5}}
        _refused(world, world.unsigned_orders(with_dataset=True, **merged), text)


def test_the_trust_of_the_pool_does_not_matter(world: World) -> None:
    assert boost_deal(world, workerpool={"trust": 0}) != ZERO32


def test_framework_bits_of_the_dataset_order_count(world: World) -> None:
    """In `matchOrders` they are ignored."""
    framework: Changes = {"dataset": {"tag": bytes32(0x02)}}
    _refused(funded(world), boost_orders(world, with_dataset=True, **framework), "Workerpool tag does not match demand")
    framework["workerpool"] = {"tag": bytes32(0x02)}
    deal = match_boost(world, boost_orders(world, with_dataset=True, **framework))
    assert world.view("viewDealBoost", deal).shortTag == "0x000002"


def test_a_member_of_the_group_that_an_order_names_is_admitted_and_a_stranger_is_not(world: World) -> None:
    member, stranger = (str(mock("group", who.address, 0).address) for who in (world.requester, world.stranger))
    assert boost_deal(world, app={"requesterrestrict": member}) != ZERO32
    _refused(world, boost_orders(world, app={"requesterrestrict": stranger}), "Requester restricted by app order")


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
def test_an_asset_is_looked_up_before_it_is_asked_for_its_owner(world: World, kind: str) -> None:
    """`matchOrders` asks first, and reverts without data where nobody answers."""
    owned = str(mock("owned_thing", world.requester.address).address)
    for thing in (owned, OTHER):
        changes: Changes = {kind: {kind: thing}}
        if kind != "workerpool":
            changes["request"] = {kind: thing}
        orders = boost_orders(world, with_dataset=True, **changes)
        _refused(world, orders, f"{kind.capitalize()} not registered")


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
def test_an_order_signed_by_somebody_else_is_refused(world: World, kind: str) -> None:
    orders = boost_orders(funded(world), with_dataset=True)
    forged = replace(orders, **{kind: world.sign(getattr(orders, kind), world.stranger)})
    _refused(world, forged, f"Invalid {kind} order signature")
    with reverts("invalid-signature-format"):
        match_boost(world, replace(orders, **{kind: getattr(orders, kind).signed("0x")}))
    assert match_boost(world, orders) != ZERO32


def test_a_contract_can_be_requester(world: World) -> None:
    funded(world)
    wallet = mock("wallet_contract", 0, b"let me in")
    world.fund(str(wallet.address))
    orders = boost_orders(world, request={"requester": str(wallet.address)})
    _refused(world, orders, "Invalid request order signature")
    deal = match_boost(world, replace(orders, request=orders.request.signed("0x" + b"let me in".hex())))
    assert world.view("viewDealBoost", deal).requester == str(wallet.address)


# --- units ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
def test_a_used_up_order_is_refused(world: World, kind: str) -> None:
    volumes: Changes = {"request": {"volume": 10}}
    volumes[kind] = {"volume": 4}
    orders = boost_orders(funded(world), with_dataset=True, **volumes)
    deal = match_boost(world, orders)
    assert world.view("viewDealBoost", deal).botSize == 4
    assert world.hub.call("viewConsumed", world.order_hash(getattr(orders, kind))) == 4
    _refused(world, orders, "One or more orders consumed")


def test_a_bag_is_filled_by_both_lanes_and_its_deals_are_numbered_in_one_row(world: World) -> None:
    orders = boost_orders(funded(world), request={"volume": 6}, workerpool={"volume": 2})
    request = world.order_hash(orders.request)
    offers = [world.sign(replace(orders.workerpool, salt=bytes32(10**9 + i)), world.scheduler) for i in range(4)]
    assert match_boost(world, replace(orders, workerpool=offers[0])) == ids.deal_id(request, 0)
    assert world.match(replace(orders, workerpool=offers[1])) == ids.deal_id(request, 2)
    assert match_boost(world, replace(orders, workerpool=offers[2])) == ids.deal_id(request, 4)
    assert world.view_deal(ids.deal_id(request, 2)).botFirst == 2
    assert world.view("viewDealBoost", ids.deal_id(request, 4)).botFirst == 4
    assert world.hub.call("viewConsumed", request) == 6
    last = replace(orders, workerpool=offers[3])
    _refused(world, last, "One or more orders consumed")
    with reverts("iExecV5-matchOrders-0x60"):
        world.match(last)


def test_a_request_that_boost_fills_at_once_is_used_up_for_both_lanes(world: World) -> None:
    """Its deal proves it: no entry was written."""
    orders = boost_orders(funded(world), request={"volume": 3})
    match_boost(world, orders)
    assert world.hub.call("viewConsumed", world.order_hash(orders.request)) == 3
    assert world.hub.call("computeDealVolume", *orders.arguments) == 0
    _refused(world, orders, "One or more orders consumed")
    with reverts("iExecV5-matchOrders-0x60"):
        world.match(orders)


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
def test_a_price_beyond_96_bits_is_named(world: World, kind: str) -> None:
    funded(world)
    for price, error in (
        (2**96, f"SafeCastOverflowedUintDowncast(96, {2**96})"),
        (2**256 - 1, f"SafeCastOverflowedUintDowncast(96, {2**256 - 1})"),
        (2**96 - 1, "IexecEscrow: Transfer amount exceeds balance"),
    ):
        changes: Changes = {kind: {f"{kind}price": price}, "request": {f"{kind}maxprice": price}}
        with reverts(error):
            match_boost(world, boost_orders(world, with_dataset=True, **changes))


def test_a_deal_of_more_than_65535_tasks_is_refused(world: World) -> None:
    """`matchOrders` makes one of up to 2^32 - 1."""
    free: Changes = {
        "app": {"appprice": 0, "volume": 2**256 - 1},
        "workerpool": {"workerpoolprice": 0, "volume": 2**256 - 1},
    }
    for volume in (65_536, 2**256 - 1):
        with reverts(f"SafeCastOverflowedUintDowncast(16, {volume})"):
            match_boost(funded(world), boost_orders(world, request={"volume": volume}, **free))
    deal = match_boost(world, boost_orders(world, request={"volume": 65_535}, **free))
    assert world.view("viewDealBoost", deal).botSize == 65_535


def test_a_deal_that_starts_beyond_65535_is_refused(world: World) -> None:
    free: Changes = {
        "app": {"appprice": 0, "volume": 10**6},
        "workerpool": {"workerpoolprice": 0, "volume": 65_536},
    }
    orders = boost_orders(funded(world), request={"volume": 65_537}, **free)
    world.match(orders)
    rest = world.sign(replace(orders.workerpool, salt=bytes32(10**9)), world.scheduler)
    with reverts("SafeCastOverflowedUintDowncast(16, 65536)"):
        match_boost(world, replace(orders, workerpool=rest))


def test_our_bound_on_params(world: World) -> None:
    funded(world)
    _, logs = world.hub.transact(
        "matchOrdersBoost",
        *boost_orders(world, request={"params": "x" * 4096}).arguments,
        sender=world.stranger.address,
    )
    assert logs[-2].arguments["params"] == "x" * 4096
    with reverts(NO_DATA):
        match_boost(world, boost_orders(world, request={"params": "x" * 4097}))


# --- money ----------------------------------------------------------------------------------------------------------


def test_price_and_stake_are_locked_for_every_task(world: World) -> None:
    world.fund(world.requester, 4 * 11_301)
    world.fund(world.scheduler, 4 * 3_000)
    match_boost(world, boost_orders(world, with_dataset=True, request={"volume": 4}))
    assert (world.balance(world.requester), world.frozen(world.requester)) == (0, 4 * 11_301)
    # 30 % of 10,001 is 3,000.3: rounded down for each task.
    assert (world.balance(world.scheduler), world.frozen(world.scheduler)) == (0, 4 * 3_000)


@pytest.mark.parametrize(("requester", "scheduler"), [(11_300, 3_000), (11_301, 2_999)])
def test_a_match_without_funds_is_refused(world: World, requester: int, scheduler: int) -> None:
    world.fund(world.requester, requester)
    world.fund(world.scheduler, scheduler)
    orders = boost_orders(world, with_dataset=True)
    with reverts("IexecEscrow: Transfer amount exceeds balance"):
        match_boost(world, orders)
    assert world.hub.call("viewConsumed", world.order_hash(orders.app)) == 0


def test_the_sponsor_pays_and_the_requester_nothing(world: World) -> None:
    sponsor = Person("sponsor")
    world.fund(sponsor, 11_001)
    world.fund(world.scheduler)
    orders = boost_orders(world)
    deal, logs = world.hub.transact("sponsorMatchOrdersBoost", *orders.arguments, sender=sponsor.address)
    view = world.view("viewDealBoost", deal)
    assert (view.requester, view.sponsor) == (world.requester.address, sponsor.address)
    assert (world.balance(sponsor), world.frozen(sponsor)) == (0, 11_001)
    assert (world.balance(world.requester), world.frozen(world.requester)) == (0, 0)
    assert names(logs)[-3:] == ["SchedulerNoticeBoost", "OrdersMatched", "DealSponsoredBoost"]
    assert logs[-1].arguments == {"dealId": deal, "sponsor": sponsor.address}


def test_a_sponsor_without_funds_is_refused_and_the_rules_are_the_same(world: World) -> None:
    funded(world)
    with reverts("IexecEscrow: Transfer amount exceeds balance"):
        world.hub.call("sponsorMatchOrdersBoost", *boost_orders(world).arguments, sender=world.stranger.address)
    with reverts("PocoBoost: Bad trust level"):
        orders = boost_orders(world, request={"trust": 2})
        world.hub.call("sponsorMatchOrdersBoost", *orders.arguments, sender=world.stranger.address)


def test_nobody_is_no_requester(world: World) -> None:
    """Deviation: in the peer an unrecoverable signature passes for the zero address."""
    funded(world)
    world.fund(world.stranger)
    signed = boost_orders(world, request={"requester": ZERO_ADDRESS}).arguments
    broken = (*signed[:3], (*signed[3][:-1], b"\x00" * 65))
    with reverts("PocoBoost: Invalid request order signature"):
        world.hub.call("sponsorMatchOrdersBoost", *broken, sender=world.stranger.address)


def test_a_stake_ratio_does_not_matter_because_no_worker_stakes(world: World) -> None:
    world.set_policy(world.pool, 2**24 - 1, 7)
    deal = boost_deal(world)
    assert world.view("viewDealBoost", deal).workerReward == 10_001 * 93 // 100
    push(world, deal)
    assert world.frozen(world.worker()) == 0


# --- events ---------------------------------------------------------------------------------------------------------


def test_events_come_in_order_with_all_their_arguments(world: World) -> None:
    funded(world)
    beneficiary = Person("beneficiary").address
    tag = bytes32(2**255 + 0x1000)
    orders = boost_orders(
        world,
        with_dataset=True,
        request={"volume": 2, "beneficiary": beneficiary, "tag": tag},
        workerpool={"tag": tag},
    )
    deal, logs = world.hub.transact("matchOrdersBoost", *orders.arguments, sender=world.stranger.address)
    hub, requester, scheduler = world.hub.address, world.requester.address, world.scheduler.address
    assert {log.address for log in logs} == {hub}
    assert [(log.name, log.arguments) for log in logs] == [
        ("Transfer", {"from": requester, "to": hub, "value": 2 * 11_301}),
        ("Lock", {"owner": requester, "amount": 2 * 11_301}),
        ("Transfer", {"from": scheduler, "to": hub, "value": 2 * 3_000}),
        ("Lock", {"owner": scheduler, "amount": 2 * 3_000}),
        (
            "SchedulerNoticeBoost",
            {
                "workerpool": world.pool,
                "dealId": deal,
                "app": world.app,
                "dataset": world.dataset,
                "category": 0,
                "tag": tag,
                "params": orders.request.params,
                "beneficiary": beneficiary,
            },
        ),
        (
            "OrdersMatched",
            {
                "dealid": deal,
                "appHash": world.order_hash(orders.app),
                "datasetHash": world.order_hash(orders.dataset),
                "workerpoolHash": world.order_hash(orders.workerpool),
                "requestHash": world.order_hash(orders.request),
                "volume": 2,
            },
        ),
    ]
    assert deal == ids.deal_id(world.order_hash(orders.request), 0)


def test_without_a_dataset_its_address_and_hash_are_zero(world: World) -> None:
    funded(world)
    _, logs = world.hub.transact("matchOrdersBoost", *boost_orders(world).arguments, sender=world.stranger.address)
    assert logs[-2].arguments["dataset"] == ZERO_ADDRESS
    assert logs[-1].arguments["datasetHash"] == ZERO32


@pytest.mark.parametrize("function", ["matchOrdersBoost", "sponsorMatchOrdersBoost"])
def test_coins_are_refused(world: World, function: str) -> None:
    funded(world)
    boa.env.set_balance(world.stranger.address, 10)
    with reverts(NO_DATA):
        world.hub.call(function, *boost_orders(world).arguments, sender=world.stranger.address, value=1)
