"""`matchOrders`: every rule and its code, their order, what the deal records, what is locked, what is emitted."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import boa
import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.orders import NULL_DATASET_ORDER
from fairgrid.protocol.typed_data import order_typed_data
from fairgrid.wallet.keys import KeySigner
from tests.contracts.registries import NO_DATA, ChainContract, Log, reverts
from tests.contracts.world import Orders, Person, World, bytes32, mock

Changes = dict[str, Any]

OTHER = Person("other").address
GPU_TAG = bytes32(0x100)

# Each breaks one rule of the specification's table, in the order of the table.
TERMS: list[tuple[str, Changes]] = [
    ("0x00", {"request": {"category": 1}}),
    ("0x01", {"request": {"category": 5}, "workerpool": {"category": 5}}),
    ("0x02", {"request": {"trust": 1_000_001}}),
    ("0x03", {"request": {"appmaxprice": 999}}),
    ("0x04", {"request": {"datasetmaxprice": 299}}),
    ("0x05", {"request": {"workerpoolmaxprice": 10_000}}),
    ("0x06", {"dataset": {"tag": GPU_TAG}}),
    ("0x07", {"request": {"tag": bytes32(1)}, "workerpool": {"tag": bytes32(1)}}),
    ("0x10", {"request": {"app": OTHER}}),
    ("0x11", {"request": {"dataset": OTHER}}),
    ("0x12", {"request": {"workerpool": OTHER}}),
    ("0x13", {"app": {"datasetrestrict": OTHER}}),
    ("0x14", {"app": {"workerpoolrestrict": OTHER}}),
    ("0x15", {"app": {"requesterrestrict": OTHER}}),
    ("0x16", {"dataset": {"apprestrict": OTHER}}),
    ("0x17", {"dataset": {"workerpoolrestrict": OTHER}}),
    ("0x18", {"dataset": {"requesterrestrict": OTHER}}),
    ("0x19", {"workerpool": {"apprestrict": OTHER}}),
    ("0x1a", {"workerpool": {"datasetrestrict": OTHER}}),
    ("0x1b", {"workerpool": {"requesterrestrict": OTHER}}),
]


def _refused(world: World, orders: Orders, code: str) -> None:
    with reverts(f"iExecV5-matchOrders-{code}"):
        world.match(orders)


def _funded(world: World) -> World:
    world.fund(world.requester)
    world.fund(world.scheduler)
    return world


def _events_of_hub(world: World, logs: list[Log]) -> list[tuple[str, dict[str, Any]]]:
    assert {log.address for log in logs} == {world.hub.address}
    return [(log.name, log.arguments) for log in logs]


# --- rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "changes"), TERMS, ids=[code for code, _ in TERMS])
def test_orders_that_break_one_rule_are_refused_with_its_code(world: World, code: str, changes: Changes) -> None:
    _funded(world)
    _refused(world, world.orders(with_dataset=True, **changes), code)


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
def test_orders_at_the_limit_of_every_rule_match(world: World, kind: str) -> None:
    """Restrictions that name the very party, the highest trust, all tags covered."""
    _funded(world)
    exact: Changes = {
        "app": {
            "datasetrestrict": world.dataset,
            "workerpoolrestrict": world.pool,
            "requesterrestrict": world.requester.address,
            "tag": GPU_TAG,
        },
        "dataset": {
            "apprestrict": world.app,
            "workerpoolrestrict": world.pool,
            "requesterrestrict": world.requester.address,
            "tag": GPU_TAG,
        },
        "workerpool": {
            "apprestrict": world.app,
            "datasetrestrict": world.dataset,
            "requesterrestrict": world.requester.address,
        },
        "request": {"workerpool": world.pool, "trust": 1_000_000, "tag": GPU_TAG},
    }
    changes: Changes = {kind: exact[kind]}
    changes["workerpool"] = changes.get("workerpool", {}) | {"tag": GPU_TAG}
    deal = world.view_deal(world.match(world.orders(with_dataset=True, **changes)))
    assert deal.requester == world.requester.address


def test_of_two_broken_rules_the_earlier_is_named(world: World) -> None:
    tried = 0
    for (code, first), (_, second) in combinations(TERMS, 2):
        fields = {(kind, field) for kind, changed in first.items() for field in changed}
        if any((kind, field) in fields for kind, changed in second.items() for field in changed):
            continue
        merged = {kind: first.get(kind, {}) | second.get(kind, {}) for kind in {*first, *second}}
        # Nothing is signed: signatures are looked at after all of these.
        _refused(world, world.unsigned_orders(with_dataset=True, **merged), code)
        tried += 1
    assert tried > 150


@pytest.mark.parametrize("kind", ["app", "request"])
def test_a_tag_bit_that_the_pool_lacks_is_refused(world: World, kind: str) -> None:
    changes: Changes = {kind: {"tag": GPU_TAG}}
    _refused(world, world.orders(**changes), "0x06")


@pytest.mark.parametrize("bit", [255, 32, 31, 16])
def test_every_bit_of_the_tag_counts_and_is_recorded(world: World, bit: int) -> None:
    _funded(world)
    tag = bytes32(1 << bit)
    _refused(world, world.orders(request={"tag": tag}), "0x06")
    deal = world.match(world.orders(request={"tag": tag}, workerpool={"tag": tag}))
    assert world.view_deal(deal).tag == tag


def test_framework_bits_of_the_dataset_order_are_ignored(world: World) -> None:
    _funded(world)
    deal = world.match(world.orders(with_dataset=True, dataset={"tag": bytes32(0x0E)}))
    assert world.view_deal(deal).tag == ZERO32
    _refused(world, world.orders(with_dataset=True, app={"tag": bytes32(0x02)}), "0x06")


def test_tee_demanded_by_the_dataset_needs_a_tee_app(world: World) -> None:
    _funded(world)
    tee = bytes32(1)
    _refused(world, world.orders(with_dataset=True, dataset={"tag": tee}, workerpool={"tag": tee}), "0x07")
    deal = world.match(world.orders(with_dataset=True, app={"tag": tee}, dataset={"tag": tee}, workerpool={"tag": tee}))
    assert world.view_deal(deal).tag == tee


def test_the_unsigned_order_of_no_dataset_still_has_to_fit(world: World) -> None:
    _funded(world)
    cases: list[tuple[str, dict[str, Any]]] = [
        ("0x04", {"datasetprice": 301}),
        ("0x06", {"tag": GPU_TAG}),
        ("0x16", {"apprestrict": OTHER}),
        ("0x17", {"workerpoolrestrict": OTHER}),
        ("0x18", {"requesterrestrict": OTHER}),
    ]
    for code, changes in cases:
        orders = world.orders()
        _refused(world, replace(orders, dataset=replace(NULL_DATASET_ORDER, **changes)), code)
    orders = world.orders()
    deal = world.match(replace(orders, dataset=replace(NULL_DATASET_ORDER, datasetprice=300, volume=0)))
    assert world.view_deal(deal).dataset.price == 0


def test_trust_below_one_is_recorded_as_one(world: World) -> None:
    _funded(world)
    assert world.view_deal(world.match(world.orders(request={"trust": 0}))).trust == 1
    assert world.view_deal(world.match(world.orders(request={"trust": 2}))).trust == 2


# --- groups ---------------------------------------------------------------------------------------------------------


def test_a_member_of_the_group_that_an_order_names_is_admitted(world: World) -> None:
    _funded(world)
    group = str(mock("group", world.requester.address, 0).address)
    deal = world.match(world.orders(app={"requesterrestrict": group}))
    assert world.view_deal(deal).requester == world.requester.address


def test_a_stranger_to_the_group_is_refused(world: World) -> None:
    group = str(mock("group", world.stranger.address, 0).address)
    _refused(world, world.orders(app={"requesterrestrict": group}), "0x15")


def test_a_group_that_fails_admits_nobody(world: World) -> None:
    group = str(mock("group", world.requester.address, 1).address)
    _refused(world, world.orders(workerpool={"requesterrestrict": group}), "0x1b")


def test_a_group_that_answers_too_little_reverts_without_data(world: World) -> None:
    group = str(mock("group", world.requester.address, 2).address)
    with reverts(NO_DATA):
        world.match(world.orders(workerpool={"requesterrestrict": group}))


# --- owners, registration, signatures -------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "code"), [("app", "0x20"), ("dataset", "0x30"), ("workerpool", "0x40")])
def test_an_asset_that_no_registry_knows_is_refused(world: World, kind: str, code: str) -> None:
    thing = str(mock("owned_thing", world.requester.address).address)
    changes: Changes = {kind: {kind: thing}}
    if kind != "workerpool":
        changes["request"] = {kind: thing}
    _refused(world, world.orders(with_dataset=True, **changes), code)


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
def test_an_asset_without_owner_reverts_without_data(world: World, kind: str) -> None:
    changes: Changes = {kind: {kind: OTHER}}
    if kind != "workerpool":
        changes["request"] = {kind: OTHER}
    with reverts(NO_DATA):
        world.match(world.orders(with_dataset=True, **changes))


def test_an_asset_of_another_kind_is_not_registered(world: World) -> None:
    changes: Changes = {"app": {"app": world.pool}, "request": {"app": world.pool}}
    _refused(world, world.orders(**changes), "0x20")


@pytest.mark.parametrize(
    ("kind", "code"), [("app", "0x21"), ("dataset", "0x31"), ("workerpool", "0x41"), ("request", "0x50")]
)
def test_an_order_signed_by_somebody_else_is_refused(world: World, kind: str, code: str) -> None:
    _funded(world)
    orders = world.orders(with_dataset=True)
    forged = replace(orders, **{kind: world.sign(getattr(orders, kind), world.stranger)})
    _refused(world, forged, code)
    assert world.match(orders) != ZERO32


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
def test_a_changed_order_does_not_keep_its_signature(world: World, kind: str) -> None:
    _funded(world)
    codes = {"app": "0x21", "dataset": "0x31", "workerpool": "0x41", "request": "0x50"}
    orders = world.orders(with_dataset=True)
    changed = replace(orders, **{kind: replace(getattr(orders, kind), salt=bytes32(2**200))})
    _refused(world, changed, codes[kind])


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
def test_a_signature_of_another_length_is_named(world: World, kind: str) -> None:
    orders = world.orders(with_dataset=True)
    for sign in ("0x", "0x" + "11" * 66):
        with reverts("invalid-signature-format"):
            world.match(replace(orders, **{kind: getattr(orders, kind).signed(sign)}))


def test_signatures_are_checked_in_the_order_of_the_table(world: World) -> None:
    orders = world.unsigned_orders(with_dataset=True)
    forged = Orders(*(world.sign(order, world.stranger) for order in vars(orders).values()))
    _refused(world, forged, "0x21")
    forged = replace(forged, app=world.sign(orders.app, world.app_owner))
    _refused(world, forged, "0x31")
    forged = replace(forged, dataset=world.sign(orders.dataset, world.dataset_owner))
    _refused(world, forged, "0x41")
    forged = replace(forged, workerpool=world.sign(orders.workerpool, world.scheduler))
    _refused(world, forged, "0x50")


def test_orders_signed_by_a_wallet_as_typed_data_match(world: World) -> None:
    """The whole path of published clients: the EIP-712 document, hashed by an independent library."""
    _funded(world)
    wallet = KeySigner(b"\x07" * 32)
    world.fund(wallet.address)
    orders = world.orders(request={"requester": wallet.address})
    document = order_typed_data(orders.request, world.domain)
    deal = world.match(replace(orders, request=orders.request.signed(wallet.sign_typed_data(document))))
    assert world.view_deal(deal).sponsor == wallet.address


def test_the_owner_of_the_moment_must_sign(world: World) -> None:
    """After a sale the old owner's order is worth nothing, and the new owner is paid."""
    _funded(world)
    orders = world.orders()
    registry: ChainContract = world.registries["app"]
    token = int(world.app, 16)
    registry.call(
        "transferFrom", world.app_owner.address, world.stranger.address, token, sender=world.app_owner.address
    )
    _refused(world, orders, "0x21")
    deal = world.match(replace(orders, app=world.sign(orders.app, world.stranger)))
    assert world.view_deal(deal).app.owner == world.stranger.address


def test_a_contract_can_be_requester(world: World) -> None:
    _funded(world)
    wallet = mock("wallet_contract", 0, b"let me in")
    world.fund(str(wallet.address))
    orders = world.orders(request={"requester": str(wallet.address)})
    _refused(world, orders, "0x50")
    deal = world.match(replace(orders, request=orders.request.signed("0x" + b"let me in".hex())))
    assert world.view_deal(deal).requester == str(wallet.address)


# --- volume ---------------------------------------------------------------------------------------------------------


def test_a_filled_request_is_refused_and_says_that_it_is_consumed(world: World) -> None:
    _funded(world)
    orders = world.orders(request={"volume": 3})
    request = world.order_hash(orders.request)
    assert world.hub.call("viewConsumed", request) == 0
    world.match(orders)
    assert world.hub.call("viewConsumed", request) == 3
    _refused(world, orders, "0x60")


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
def test_a_used_up_offer_is_refused(world: World, kind: str) -> None:
    _funded(world)
    orders = world.orders(with_dataset=True, request={"volume": 10}, **{kind: {"volume": 4}})
    deal = world.match(orders)
    assert world.view_deal(deal).botSize == 4
    assert world.hub.call("viewConsumed", world.order_hash(getattr(orders, kind))) == 4
    _refused(world, orders, "0x60")


def test_a_bag_is_filled_by_several_deals_one_after_another(world: World) -> None:
    _funded(world)
    orders = world.orders(request={"volume": 10}, workerpool={"volume": 4})
    request = world.order_hash(orders.request)
    bounds = []
    for salt, size in ((1, 4), (2, 4), (3, 2)):
        pool = world.sign(replace(orders.workerpool, salt=bytes32(10**9 + salt)), world.scheduler)
        deal = world.match(replace(orders, workerpool=pool))
        view = world.view_deal(deal)
        assert deal == ids.deal_id(request, view.botFirst)
        assert view.botSize == size
        bounds.append((view.botFirst, view.botSize))
        assert world.hub.call("viewConsumed", world.order_hash(pool)) == size
    assert bounds == [(0, 4), (4, 4), (8, 2)]
    assert world.hub.call("viewConsumed", request) == 10
    pool = world.sign(replace(orders.workerpool, salt=bytes32(10**9 + 4)), world.scheduler)
    _refused(world, replace(orders, workerpool=pool), "0x60")


def test_volume_zero_is_refused(world: World) -> None:
    _funded(world)
    _refused(world, world.orders(request={"volume": 0}), "0x60")


def test_a_deal_takes_at_most_four_billion_tasks(world: World) -> None:
    """A bound of ours: the rest stays in the orders."""
    free: Changes = {
        "app": {"appprice": 0, "volume": 2**256 - 1},
        "workerpool": {"workerpoolprice": 0, "volume": 2**256 - 1},
        "request": {"volume": 2**256 - 1},
    }
    orders = world.orders(**free)
    first, second = world.match(orders), world.match(orders)
    assert world.view_deal(first).botSize == 2**32 - 1
    assert world.view_deal(second).botFirst == 2**32 - 1
    assert world.hub.call("viewConsumed", world.order_hash(orders.request)) == 2 * (2**32 - 1)


# --- money ----------------------------------------------------------------------------------------------------------


def test_price_and_stake_are_locked_for_every_task(world: World) -> None:
    world.fund(world.requester, 4 * 11_301)
    world.fund(world.scheduler, 4 * 3_000)
    world.match(world.orders(with_dataset=True, request={"volume": 4}))
    assert (world.balance(world.requester), world.frozen(world.requester)) == (0, 4 * 11_301)
    # 30 % of 10,001 is 3,000.3: rounded down for each task.
    assert (world.balance(world.scheduler), world.frozen(world.scheduler)) == (0, 4 * 3_000)
    assert world.balance(world.hub.address) == 4 * (11_301 + 3_000)


@pytest.mark.parametrize(("requester", "scheduler"), [(11_300, 3_000), (11_301, 2_999)])
def test_a_match_without_funds_is_refused(world: World, requester: int, scheduler: int) -> None:
    world.fund(world.requester, requester)
    world.fund(world.scheduler, scheduler)
    orders = world.orders(with_dataset=True)
    with reverts("IexecEscrow: Transfer amount exceeds balance"):
        world.match(orders)
    assert world.hub.call("viewConsumed", world.order_hash(orders.app)) == 0


@pytest.mark.parametrize("price", [2**96, 2**128, 2**200])
def test_a_price_beyond_all_money_is_refused_for_lack_of_funds(world: World, price: int) -> None:
    _funded(world)
    changes: Changes = {"app": {"appprice": price}, "request": {"appmaxprice": price}}
    with reverts("IexecEscrow: Transfer amount exceeds balance"):
        world.match(world.orders(**changes))


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ({"request": {"trust": 2**32 - 1}}, {"request": {"trust": 2**32}}),
        ({"request": {"params": "x" * 4096}}, {"request": {"params": "x" * 4097}}),
    ],
)
def test_our_bounds_on_trust_and_params(world: World, inside: Changes, outside: Changes) -> None:
    _funded(world)
    pool: Changes = {"workerpool": {"trust": 2**256 - 1}}
    deal = world.view_deal(world.match(world.orders(**inside, **pool)))
    assert deal.params == inside["request"].get("params", deal.params)
    with reverts(NO_DATA):
        world.match(world.orders(**outside, **pool))


# --- what is recorded and emitted -----------------------------------------------------------------------------------


def test_the_deal_records_every_term(world: World) -> None:
    _funded(world)
    world.set_policy(world.pool, 35, 7)
    changes: Changes = {
        "app": {"tag": bytes32(2**255 + 1)},
        "workerpool": {"tag": bytes32(2**255 + 3), "category": 3},
        "request": {
            "tag": bytes32(2),
            "category": 3,
            "trust": 9,
            "volume": 5,
            "beneficiary": Person("beneficiary").address,
            "callback": Person("callback").address,
        },
    }
    orders = world.orders(with_dataset=True, **changes)
    deal = world.view_deal(world.match(orders))
    assert (deal.app.pointer, deal.app.owner, deal.app.price) == (world.app, world.app_owner.address, 1_000)
    assert (deal.dataset.pointer, deal.dataset.owner) == (world.dataset, world.dataset_owner.address)
    assert deal.dataset.price == 300
    assert (deal.workerpool.pointer, deal.workerpool.owner) == (world.pool, world.scheduler.address)
    assert deal.workerpool.price == 10_001
    assert (deal.trust, deal.category, deal.tag) == (9, 3, bytes32(2**255 + 3))
    assert deal.requester == deal.sponsor == world.requester.address
    assert deal.beneficiary == Person("beneficiary").address
    assert deal.callback == Person("callback").address
    assert deal.params == orders.request.params
    assert (deal.startTime, deal.botFirst, deal.botSize) == (world.now, 0, 5)
    assert (deal.workerStake, deal.schedulerRewardRatio) == (3_500, 7)


def test_a_deal_without_dataset_records_none(world: World) -> None:
    deal = world.view_deal(world.deal(request={"beneficiary": world.requester.address, "params": ""}))
    assert (deal.dataset.pointer, deal.dataset.owner, deal.dataset.price) == (ZERO_ADDRESS, ZERO_ADDRESS, 0)
    assert (deal.beneficiary, deal.callback, deal.params) == (world.requester.address, ZERO_ADDRESS, "")


def test_a_later_policy_does_not_change_the_deal(world: World) -> None:
    deal = world.deal()
    world.set_policy(world.pool, 90, 90)
    view = world.view_deal(deal)
    assert (view.workerStake, view.schedulerRewardRatio) == (3_000, 1)


def test_events_come_in_order_with_all_their_arguments(world: World) -> None:
    _funded(world)
    orders = world.orders(with_dataset=True, request={"volume": 2})
    deal, logs = world.hub.transact("matchOrders", *orders.arguments, sender=world.stranger.address)
    hub, requester, scheduler = world.hub.address, world.requester.address, world.scheduler.address
    assert _events_of_hub(world, logs) == [
        ("Transfer", {"from": requester, "to": hub, "value": 2 * 11_301}),
        ("Lock", {"owner": requester, "amount": 2 * 11_301}),
        ("Transfer", {"from": scheduler, "to": hub, "value": 2 * 3_000}),
        ("Lock", {"owner": scheduler, "amount": 2 * 3_000}),
        ("SchedulerNotice", {"workerpool": world.pool, "dealid": deal}),
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


def test_the_dataset_hash_is_zero_when_there_is_none(world: World) -> None:
    _funded(world)
    _, logs = world.hub.transact("matchOrders", *world.orders().arguments, sender=world.stranger.address)
    assert logs[-1].arguments["datasetHash"] == ZERO32


def test_coins_are_refused(world: World) -> None:
    _funded(world)
    boa.env.set_balance(world.stranger.address, 10)
    with reverts(NO_DATA):
        world.hub.call("matchOrders", *world.orders().arguments, sender=world.stranger.address, value=1)
