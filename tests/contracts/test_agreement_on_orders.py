"""Plays of escrow, orders and matching, on contracts and model at once: they must agree on everything.

`test_stateful_hub` plays at random; here each play has a name, so that a mutant is killed by it.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol.hexes import MAX_UINT256, ZERO32, ZERO_ADDRESS, from_hex
from fairgrid.protocol.typed_data import CLOSE, SIGN, order_hash
from tests.contracts.play import ESCROWED, GOOD, PRICE, Play
from tests.protocol.actors import Actor, compact, malleable

PREFIX = "iExecV5-matchOrders-"


def tag(bits: int) -> dict[str, str]:
    return {"tag": f"0x{bits:064x}"}


@pytest.fixture
def play() -> Play:
    """Everybody funded, no deal yet."""
    return Play()


def stakes(play: Play) -> dict[str, int]:
    """Free money gained or lost since the start, by name."""
    return {actor.name: play.model.balance_of(actor.address) - ESCROWED for actor in play.people.all}


# --- escrow -----------------------------------------------------------------------------------------------------


def test_deposits_and_withdrawals(play: Play) -> None:
    worker, stranger = play.people.workers[0].address, play.people.stranger.address
    assert play.deposit_for(worker, 7, stranger).happened
    assert play.withdraw_to(worker, 5, stranger).happened
    assert play.withdraw(stranger, ESCROWED + 7).happened
    assert not play.withdraw(stranger, 1).happened
    assert not play.deposit(worker, MAX_UINT256).happened
    assert play.deposit_for(worker, 1, ZERO_ADDRESS).revert == "ERC20: mint to the zero address"
    assert play.approve_and_deposit(worker, 11).happened
    assert not play.approve_and_deposit(worker, 10**15).happened
    assert play.rlc_approve(worker, play.deployed.hub, 5).happened
    assert play.receive_approval(stranger, worker, 3, play.deployed.rlc).happened
    assert play.receive_approval(stranger, worker, 3, stranger).revert == "wrong-token"
    assert not play.receive_approval(stranger, worker, 3, play.deployed.rlc).happened
    play.check_allowance(worker, play.deployed.hub)
    play.check_accounts()
    play.check_money_adds_up()
    play.withdraw_everything()


def test_deposits_of_several_and_by_permit(play: Play) -> None:
    worker, stranger = play.people.workers[0], play.people.stranger.address
    assert play.deposit_for_array(worker.address, (7, 0, 3), (stranger, worker.address, stranger)).happened
    assert play.deposit_for_array(worker.address, (), ()).happened
    assert play.deposit_for_array(worker.address, (1,), ()).revert == "invalid-array-length"
    assert not play.deposit_for_array(worker.address, (1, MAX_UINT256), (stranger, stranger)).happened
    assert play.deposit_with_permit(worker, 11).happened
    assert not play.deposit_with_permit(worker, 1, spoilt=True).happened, "the permit before left no allowance"
    assert play.rlc_approve(worker.address, play.deployed.hub, 5).happened
    assert play.deposit_with_permit(worker, 5, spoilt=True).happened
    assert not play.deposit_with_permit(worker, 10**15).happened
    play.check_accounts()
    play.check_money_adds_up()
    play.withdraw_everything()


def test_a_deposit_with_a_match(play: Play) -> None:
    requester, stranger = play.people.requester.address, play.people.stranger.address
    assert play.withdraw(requester, ESCROWED).happened
    price = 103 + 57 + PRICE
    orders = play.orders(with_dataset=True, changes={"request": {"volume": 2}})
    assert play.pay_and_match(orders, 2 * price - 1).revert == "IexecEscrow: Transfer amount exceeds balance"
    assert play.pay_and_match(orders, 2 * price, play.people.stranger).revert == "CallerIsNotTheRequester()"
    assert play.pay_and_match(orders, 2 * price).happened
    assert play.pay_and_match(orders, 2 * price).revert == f"{PREFIX}0x60"
    assert (play.model.balance_of(requester), play.model.frozen_of(requester)) == (0, 2 * price)
    unknown = {"app": stranger}
    assert play.pay_and_match(play.orders({"app": unknown, "request": unknown}), 1).revert == "OperationFailed()"
    assert play.rlc_approve(requester, play.deployed.hub, price).happened
    again = play.orders(with_dataset=True)
    assert play.receive_approval(stranger, stranger, 0, play.deployed.rlc, again).revert == "CallerIsNotTheRequester()"
    assert play.receive_approval(stranger, requester, price, play.deployed.rlc, again).happened
    play.deals.append(play.model.deal_ids[-1])
    play.settle_everything()
    play.withdraw_everything()


def test_transfers_and_allowances_inside(play: Play) -> None:
    alice, bob = play.people.workers[0].address, play.people.workers[1].address
    assert play.transfer(alice, bob, ESCROWED).happened
    assert not play.transfer(alice, bob, 1).happened
    assert play.transfer(bob, bob, 5).happened
    assert play.transfer(bob, ZERO_ADDRESS, 5).revert == "ERC20: transfer to the zero address"
    assert play.approve(bob, alice, 10).happened
    assert play.increase_allowance(bob, alice, 5).happened
    assert play.decrease_allowance(bob, alice, 3).happened
    assert not play.decrease_allowance(bob, alice, 13).happened
    assert not play.transfer_from(alice, bob, alice, 13).happened
    assert play.transfer_from(alice, bob, alice, 12).happened
    assert play.approve(bob, ZERO_ADDRESS, 1).revert == "ERC20: approve to the zero address"
    assert play.approve(bob, alice, MAX_UINT256).happened
    assert not play.increase_allowance(bob, alice, 1).happened
    assert play.transfer_from(alice, bob, alice, 1).happened
    play.check_allowance(bob, alice)
    play.check_accounts()
    play.check_money_adds_up()


def test_administration_is_the_owners(play: Play) -> None:
    admin, stranger = play.people.admin.address, play.people.stranger.address
    not_owner = "Ownable: caller is not the owner"
    assert play.create_category(stranger, "n", "d", 1).revert == not_owner
    assert play.create_category(admin, "name", "description", 60).value == 5
    assert play.set_tee_broker(stranger, stranger).revert == not_owner
    assert play.set_tee_broker(admin, stranger).happened
    assert play.set_callback_gas(stranger, 1).revert == not_owner
    assert play.set_callback_gas(admin, 1).happened
    assert play.rlc_transfer(stranger, play.deployed.hub, 9).happened
    assert play.recover(stranger).revert == not_owner
    assert play.recover(admin).value == 9
    assert str(play.transfer_ownership(stranger, stranger).revert).startswith("NotContractOwner(")
    assert play.transfer_ownership(admin, stranger).happened
    assert play.create_category(admin, "n", "d", 1).revert == not_owner
    play.check_accounts()


# --- orders -----------------------------------------------------------------------------------------------------


def test_signatures_of_every_form(play: Play) -> None:
    alice, hash_ = Actor("alice"), "0x" + "5a" * 32
    good = alice.sign_hash(from_hex(hash_))
    verdicts = [
        play.check_signature(alice.address, hash_, sign).value
        for sign in (good, compact(good), malleable(good), "0x" + "00" * 65, "0x" + "ff" * 64, good[:-2] + "1d")
    ]
    assert verdicts == [True, True, False, False, False, False]
    assert play.check_signature(alice.address, ZERO32, good).value is False
    assert play.check_signature(ZERO_ADDRESS, hash_, "0x" + "00" * 65).value is False
    assert play.check_signature(play.assets.apps[0], hash_, "0x").value is False
    for sign in ("0x", good[:-4], good + "00"):
        assert play.check_signature(alice.address, hash_, sign).revert == "invalid-signature-format"


@pytest.mark.parametrize("index", range(4))
def test_orders_are_presigned_and_closed(play: Play, index: int) -> None:
    orders: list[Any] = list(play.orders({"request": {"volume": 3}}, with_dataset=True))
    owner, stranger = play.owners[index], play.people.stranger
    orders[index] = order = orders[index].signed("0x")
    hash_ = order_hash(order, play.model.domain)
    refused = "invalid-sender-or-signature"
    assert play.match(tuple(orders)).revert == "invalid-signature-format"
    for operation in (SIGN, CLOSE):
        good = owner.sign_operation(order, operation, play.model.domain)
        assert play.manage_order(stranger.address, order, operation, "0x").revert == "invalid-signature-format"
        assert play.manage_order(stranger.address, order, 1 - operation, good).revert == refused
        assert play.manage_order(stranger.address, order, operation, malleable(good)).revert == refused
        assert play.manage_order(stranger.address, order, operation, good).happened
        play.check_order(hash_)
        matched = play.match(tuple(orders))
        assert matched.revert == (None if operation == SIGN else PREFIX + "0x60")
    assert play.manage_order(owner.address, order, SIGN, "0x").happened
    assert not play.manage_order(owner.address, order, 2, "0x").happened
    play.check_order(hash_)
    play.settle_everything()


def test_an_order_of_no_asset_cannot_be_managed(play: Play) -> None:
    order = play.unsigned({"app": {"app": play.people.stranger.address}})[0]
    assert not play.manage_order(play.people.stranger.address, order, SIGN, "0x").happened


# --- matching ---------------------------------------------------------------------------------------------------

SOMEBODY = Actor("somebody").address

BROKEN: list[tuple[str, dict[str, dict[str, Any]]]] = [
    ("0x00", {"request": {"category": 1}}),
    ("0x01", {"request": {"category": 5}, "workerpool": {"category": 5}}),
    ("0x02", {"request": {"trust": 1_001}}),
    ("0x03", {"request": {"appmaxprice": 102}}),
    ("0x04", {"request": {"datasetmaxprice": 56}}),
    ("0x05", {"request": {"workerpoolmaxprice": 10_000}}),
    ("0x06", {"app": tag(0x100)}),
    ("0x06", {"dataset": tag(0x100)}),
    ("0x06", {"request": tag(1 << 255)}),
    ("0x07", {"request": tag(1), "workerpool": tag(1)}),
    ("0x07", {"dataset": tag(3), "workerpool": tag(1)}),
    ("0x10", {"request": {"app": SOMEBODY}}),
    ("0x11", {"request": {"dataset": SOMEBODY}}),
    ("0x12", {"request": {"workerpool": SOMEBODY}}),
    ("0x13", {"app": {"datasetrestrict": SOMEBODY}}),
    ("0x14", {"app": {"workerpoolrestrict": SOMEBODY}}),
    ("0x15", {"app": {"requesterrestrict": SOMEBODY}}),
    ("0x16", {"dataset": {"apprestrict": SOMEBODY}}),
    ("0x17", {"dataset": {"workerpoolrestrict": SOMEBODY}}),
    ("0x18", {"dataset": {"requesterrestrict": SOMEBODY}}),
    ("0x19", {"workerpool": {"apprestrict": SOMEBODY}}),
    ("0x1a", {"workerpool": {"datasetrestrict": SOMEBODY}}),
    ("0x1b", {"workerpool": {"requesterrestrict": SOMEBODY}}),
    ("0x60", {"app": {"volume": 0}}),
    ("0x60", {"dataset": {"volume": 0}}),
    ("0x60", {"workerpool": {"volume": 0}}),
    ("0x60", {"request": {"volume": 0}}),
]


def test_every_rule_of_matching_is_kept_and_in_order(play: Play) -> None:
    everything: dict[str, dict[str, Any]] = {}
    for code, changes in reversed(BROKEN):
        assert play.match(play.orders(changes, with_dataset=True)).revert == PREFIX + code
        for kind, change in changes.items():
            everything.setdefault(kind, {}).update(change)
        assert play.match(play.orders(everything, with_dataset=True)).revert == PREFIX + code


def test_terms_at_their_edges_match(play: Play) -> None:
    requester, app, dataset = play.people.requester.address, play.assets.apps[0], play.assets.datasets[0]
    pool = play.assets.pools[0]
    edges: list[dict[str, dict[str, Any]]] = [
        {"request": {"category": 4}, "workerpool": {"category": 4}},
        {"request": {"trust": 1_000}},
        {"request": {"trust": 0}},
        {"dataset": tag(0x0E)},
        {"app": tag(0x101), "request": tag(3 << 40 | 3), "workerpool": tag(3 << 40 | 0x1FF)},
        {
            "request": {"workerpool": pool},
            "app": {"datasetrestrict": dataset, "workerpoolrestrict": pool, "requesterrestrict": requester},
            "dataset": {"apprestrict": app, "workerpoolrestrict": pool, "requesterrestrict": requester},
            "workerpool": {"apprestrict": app, "datasetrestrict": dataset, "requesterrestrict": requester},
        },
        {"request": {"beneficiary": requester, "callback": SOMEBODY, "params": "ü" * 50}},
        {"request": {"beneficiary": ZERO_ADDRESS, "params": ""}},
    ]
    for changes in edges:
        assert play.match(play.orders(changes, with_dataset=True)).happened
    play.settle_everything()


@pytest.mark.parametrize(("index", "code"), [(0, "0x21"), (1, "0x31"), (2, "0x41"), (3, "0x50")])
def test_each_order_needs_its_own_owners_signature(play: Play, index: int, code: str) -> None:
    orders: list[Any] = list(play.orders(with_dataset=True))
    good = orders[index].sign
    forged = play.people.stranger.sign_order(orders[index], play.model.domain).sign
    for bad in (forged, malleable(good), orders[index - 1].sign):
        orders[index] = orders[index].signed(bad)
        assert play.match(tuple(orders)).revert == PREFIX + code
    orders[index] = orders[index].signed(compact(good))
    assert play.match(tuple(orders)).happened


@pytest.mark.parametrize(("kind", "code"), [("app", "0x20"), ("dataset", "0x30"), ("workerpool", "0x40")])
def test_assets_must_be_registered_as_what_they_are_sold_for(play: Play, kind: str, code: str) -> None:
    other = play.assets.datasets[0] if kind == "app" else play.assets.apps[0]
    for address, expected in ((other, PREFIX + code), (play.people.stranger.address, None)):
        request = {} if kind == "workerpool" else {"request": {kind: address}}
        outcome = play.match(play.orders({kind: {kind: address}, **request}, with_dataset=True))
        assert not outcome.happened
        assert outcome.revert == expected


def test_without_a_dataset_its_order_still_has_terms(play: Play) -> None:
    assert play.match(play.orders({"dataset": {"datasetprice": 58}})).revert == PREFIX + "0x04"
    assert play.match(play.orders({"dataset": tag(0x100)})).revert == PREFIX + "0x06"
    assert play.match(play.orders({"dataset": {"apprestrict": SOMEBODY}})).revert == PREFIX + "0x16"
    assert play.match(play.orders({"dataset": {"datasetprice": 57, "volume": 0}})).happened


def test_orders_are_consumed_deal_by_deal(play: Play) -> None:
    orders = play.orders({"app": {"volume": 5}, "workerpool": {"volume": 4}, "request": {"volume": 6}})
    assert play.match(orders).happened
    assert play.match(orders).revert == PREFIX + "0x60"
    second = play.match((orders[0], orders[1], play.orders()[2], orders[3]))
    assert second.happened
    deal = play.model.view_deal(second.value)
    assert (deal.bot_first, deal.bot_size) == (4, 1)
    third = play.match((play.orders()[0], orders[1], play.orders()[2], orders[3]))
    assert (play.model.view_deal(third.value).bot_first, play.model.view_deal(third.value).bot_size) == (5, 1)
    assert play.match((play.orders()[0], orders[1], play.orders()[2], orders[3])).revert == PREFIX + "0x60"
    for order in orders:
        play.check_order(order_hash(order, play.model.domain))
    play.settle_everything()


def test_a_request_that_one_deal_fills_is_used_up(play: Play) -> None:
    orders = play.orders({"request": {"volume": 3}})
    assert play.match(orders).happened
    assert play.match(orders).revert == PREFIX + "0x60"
    hash_ = order_hash(orders[3], play.model.domain)
    play.check_order(hash_)
    assert play.model.view_consumed(hash_) == 3
    assert play.manage_order(play.people.requester.address, orders[3], CLOSE, "0x").happened
    play.check_order(hash_)
    assert play.match(orders).revert == PREFIX + "0x60"


def test_both_sides_must_have_the_money(play: Play) -> None:
    poor = "IexecEscrow: Transfer amount exceeds balance"
    for actor in (play.people.requester, play.people.scheduler):
        assert play.transfer(actor.address, play.people.admin.address, ESCROWED - 10).happened
        assert play.match(play.orders()).revert == poor
        assert play.transfer(play.people.admin.address, actor.address, ESCROWED - 10).happened
    assert play.match(play.orders()).happened


def test_policy_and_owner_are_those_at_the_match(play: Play) -> None:
    scheduler, pool = play.people.scheduler.address, play.assets.pools[0]
    assert play.change_policy(play.people.stranger.address, pool, 1, 1).revert == "caller is not the owner"
    assert not play.change_policy(scheduler, pool, 1, 101).happened
    before = play.new_task()
    assert play.change_policy(scheduler, pool, 77, 100).happened
    play.transfer_app(play.people.app_owner.address, play.assets.apps[0], play.people.stranger.address)
    play.contribute_all(before, {0: GOOD, 1: GOOD})
    play.reveal_all(before, (0, 1))
    assert play.finish(before).happened
    assert stakes(play)["app owner"] == 103
    orders: list[Any] = list(play.orders())
    assert play.match(tuple(orders)).revert == PREFIX + "0x21"
    orders[0] = play.people.stranger.sign_order(orders[0], play.model.domain)
    after = play.match(tuple(orders))
    assert play.model.view_deal(after.value).worker_stake == 10_001 * 77 // 100
    task = play.open(after.value, 0).value
    play.contribute_all(task, {0: GOOD, 1: GOOD})
    play.reveal_all(task, (0, 1))
    assert play.finish(task).happened
    assert stakes(play)["stranger"] == 103
    play.settle_everything()


def test_stakes_are_rounded_down_task_by_task(play: Play) -> None:
    cheap = {"workerpool": {"workerpoolprice": 9}, "request": {"volume": 4}}
    assert play.match(play.orders(cheap)).happened
    assert play.model.frozen_of(play.people.scheduler.address) == 4 * 2
    play.check_accounts()
    play.settle_everything()
