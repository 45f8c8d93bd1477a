"""`pushResultBoost`: when, by whom, who pays and is paid to the last nRLC, and the callback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import boa
import pytest

from fairgrid.chain.decode import revert_reason
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.boosting import (
    TIMEREF,
    boost_deal,
    boost_orders,
    claim,
    funded,
    match_boost,
    push,
    push_arguments,
)
from tests.contracts.registries import NO_DATA, ChainContract, public_abi, reverts
from tests.contracts.world import RICH, TEE_TAG, Person, World, mock, names

ENCLAVE, BROKER = Person("enclave"), Person("broker")
TEE: dict[str, Any] = {"app": {"tag": TEE_TAG}, "workerpool": {"tag": TEE_TAG}}
BAD_AUTHORISATION = "PocoBoost: Invalid contribution authorization signature"
BAD_ENCLAVE = "PocoBoost: Invalid enclave signature"


# --- when and by whom -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("volume", [1, 3])
def test_tasks_count_from_zero_to_the_size_of_the_deal(world: World, volume: int) -> None:
    deal = boost_deal(world, request={"volume": volume})
    for index in (volume, 2**256 - 1):
        with reverts("PocoBoost: Unknown task"):
            push(world, deal, index=index)
    for index in range(volume):
        push(world, deal, index=index)


def test_tasks_count_from_zero_in_a_deal_that_is_not_its_requests_first(world: World) -> None:
    orders = boost_orders(funded(world), request={"volume": 3}, app={"volume": 1})
    match_boost(world, orders)
    second = match_boost(world, replace(orders, app=boost_orders(world).app))
    view = world.view("viewDealBoost", second)
    assert (view.botFirst, view.botSize) == (1, 2)
    with reverts("PocoBoost: Unknown task"):
        push(world, second, index=2)
    for index in (0, 1):
        push(world, second, index=index)


def test_no_deal_and_no_deal_of_boost_has_tasks_here(world: World) -> None:
    classic = world.deal()
    for deal in (classic, "0x" + "77" * 32):
        with reverts("PocoBoost: Unknown task"):
            push(world, deal)
    alone: ChainContract = ChainContract("hub", world.facets["hub_boost"].address)
    with reverts("PocoBoost: Unknown task"):
        alone.call("pushResultBoost", *push_arguments(world, boost_deal(world), world.worker()))


def test_a_task_is_pushed_once(world: World) -> None:
    deal = boost_deal(world, request={"volume": 2})
    push(world, deal, world.worker(0))
    for number in range(2):
        with reverts("PocoBoost: Task status not unset"):
            push(world, deal, world.worker(number))


def test_not_from_the_deadline_on(world: World) -> None:
    deal = boost_deal(world)
    world.now += 7 * TIMEREF
    with reverts("PocoBoost: Deadline reached"):
        push(world, deal)
    world.now -= 1
    push(world, deal)


def test_a_worker_needs_the_schedulers_word_for_itself_and_this_task(world: World) -> None:
    deal = boost_deal(world, request={"volume": 2})
    worker, other = world.worker(0), world.worker(1)
    good = push_arguments(world, deal, worker)
    with reverts(BAD_AUTHORISATION):
        world.hub.call("pushResultBoost", *good, sender=other.address)
    with reverts(BAD_AUTHORISATION):
        world.hub.call("pushResultBoost", deal, 1, *good[2:], sender=worker.address)
    for authority in (worker, world.requester, world.owner):
        with reverts(BAD_AUTHORISATION):
            push(world, deal, worker, authority=authority)
    with reverts("invalid-signature-format"):
        world.hub.call("pushResultBoost", *good[:4], b"short", *good[5:], sender=worker.address)
    world.hub.call("pushResultBoost", *good, sender=worker.address)


def test_a_scheduler_may_be_a_contract(world: World) -> None:
    wallet = mock("wallet_contract", 0, b"the worker may")
    pool = world.create_workerpool(description="of a contract")
    registry = world.registries["workerpool"]
    sender = world.scheduler.address
    registry.call("transferFrom", sender, str(wallet.address), int(pool, 16), sender=sender)
    world.fund(world.requester)
    world.fund(str(wallet.address))
    orders = boost_orders(world, workerpool={"workerpool": pool})
    signed = orders.workerpool.signed("0x" + b"the worker may".hex())
    deal = match_boost(world, replace(orders, workerpool=signed))
    with reverts(BAD_AUTHORISATION):
        push(world, deal)
    arguments = push_arguments(world, deal, world.worker())
    arguments = (*arguments[:4], b"the worker may", *arguments[5:])
    world.hub.call("pushResultBoost", *arguments, sender=world.worker().address)


# --- enclaves -------------------------------------------------------------------------------------------------------


def test_a_tee_deal_needs_an_enclave(world: World) -> None:
    deal = boost_deal(world, **TEE)
    with reverts("PocoBoost: Tag requires enclave challenge"):
        push(world, deal)
    push(world, deal, enclave=ENCLAVE)


def test_an_enclave_signs_these_results_for_this_worker(world: World) -> None:
    deal = boost_deal(world, request={"volume": 2})
    worker = world.worker()
    good = push_arguments(world, deal, worker, enclave=ENCLAVE)
    with reverts(BAD_ENCLAVE):
        push(world, deal, worker, enclave=ENCLAVE, signed=b"other results")
    with reverts(BAD_ENCLAVE):
        world.hub.call("pushResultBoost", *good[:2], b"other", *good[3:], sender=worker.address)
    # Named by the authorisation, but another enclave signed.
    forged = push_arguments(world, deal, worker, enclave=world.stranger)[6]
    with reverts(BAD_ENCLAVE):
        world.hub.call("pushResultBoost", *good[:6], forged, sender=worker.address)
    # Authorised without an enclave, pushed with one.
    plain = push_arguments(world, deal, worker)
    with reverts(BAD_AUTHORISATION):
        world.hub.call("pushResultBoost", *plain[:5], ENCLAVE.address, good[6], sender=worker.address)
    world.hub.call("pushResultBoost", *good, sender=worker.address)


def test_with_a_callback_the_enclave_signs_what_is_called_back(world: World) -> None:
    deal = boost_deal(world, request={"callback": Person("nobody home").address})
    with reverts(BAD_ENCLAVE):
        push(world, deal, enclave=ENCLAVE, callback=b"data")
    push(world, deal, enclave=ENCLAVE, callback=b"data", signed=b"data")


def test_the_broker_authorises_enclaves_and_nobody_else(world: World) -> None:
    deal = boost_deal(world, request={"volume": 2})
    world.hub.call("setTeeBroker", BROKER.address, sender=world.owner.address)
    with reverts(BAD_AUTHORISATION):
        push(world, deal, enclave=ENCLAVE)
    with reverts(BAD_AUTHORISATION):
        push(world, deal, authority=BROKER)
    push(world, deal, enclave=ENCLAVE, authority=BROKER)
    push(world, deal, index=1)


# --- money ----------------------------------------------------------------------------------------------------------


def test_events_come_in_order_with_all_their_arguments(world: World) -> None:
    deal = boost_deal(world, with_dataset=True)
    task, worker = ids.task_id(deal, 0), world.worker()
    hub, scheduler = world.hub.address, world.scheduler.address
    logs = push(world, deal, worker, results=b"here it is")
    assert {log.address for log in logs} == {hub}
    expected: list[tuple[str, dict[str, Any]]] = [
        ("Seize", {"owner": world.requester.address, "amount": 11_301, "ref": task}),
        ("Transfer", {"from": hub, "to": worker.address, "value": 9_900}),
        ("Reward", {"owner": worker.address, "amount": 9_900, "ref": task}),
        ("Transfer", {"from": hub, "to": world.app_owner.address, "value": 1_000}),
        ("Reward", {"owner": world.app_owner.address, "amount": 1_000, "ref": task}),
        ("Transfer", {"from": hub, "to": world.dataset_owner.address, "value": 300}),
        ("Reward", {"owner": world.dataset_owner.address, "amount": 300, "ref": task}),
        ("Transfer", {"from": hub, "to": scheduler, "value": 3_000}),
        ("Unlock", {"owner": scheduler, "amount": 3_000}),
        ("Transfer", {"from": hub, "to": scheduler, "value": 101}),
        ("Reward", {"owner": scheduler, "amount": 101, "ref": task}),
        ("ResultPushedBoost", {"dealId": deal, "index": 0, "results": b"here it is"}),
    ]
    assert [(log.name, log.arguments) for log in logs] == expected
    assert (world.balance(world.requester), world.frozen(world.requester)) == (RICH - 11_301, 0)
    assert (world.balance(world.scheduler), world.frozen(world.scheduler)) == (RICH + 101, 0)
    assert world.balance(hub) == 0


def test_free_assets_are_not_rewarded_but_worker_and_scheduler_are(world: World) -> None:
    free: dict[str, Any] = {
        "app": {"appprice": 0},
        "dataset": {"datasetprice": 0},
        "workerpool": {"workerpoolprice": 0},
    }
    logs = push(world, boost_deal(world, with_dataset=True, **free))
    assert names(logs) == [
        "Seize",
        *["Transfer", "Reward"],
        *["Transfer", "Unlock"],
        "Transfer",
        "Reward",
        logs[-1].name,
    ]


@pytest.mark.parametrize(("ratio", "reward"), [(0, 10_001), (1, 9_900), (50, 5_000), (100, 0)])
def test_the_worker_gets_its_share_rounded_down(world: World, ratio: int, reward: int) -> None:
    world.set_policy(world.pool, 30, ratio)
    deal = boost_deal(world)
    world.set_policy(world.pool, 30, 100 - ratio)
    push(world, deal)
    assert world.balance(world.worker()) == reward
    assert world.balance(world.scheduler) == RICH + 10_001 - reward


def test_the_owners_of_the_match_are_paid(world: World) -> None:
    deal = boost_deal(world, with_dataset=True)
    for kind, entry, owner in (("app", world.app, world.app_owner), ("dataset", world.dataset, world.dataset_owner)):
        address = owner.address
        world.registries[kind].call("transferFrom", address, world.stranger.address, int(entry, 16), sender=address)
    push(world, deal)
    assert (world.balance(world.app_owner), world.balance(world.dataset_owner)) == (1_000, 300)
    assert world.balance(world.stranger) == 0


def test_the_sponsor_pays_and_the_requesters_other_locked_money_is_untouched(world: World) -> None:
    """The published contracts seize the requester: they revert, or take what it had locked for other deals."""
    sponsor = Person("sponsor")
    world.fund(sponsor, 2 * 11_001)
    world.deal(request={"volume": 5})
    locked = world.frozen(world.requester)
    orders = boost_orders(world, request={"volume": 2})
    deal = world.hub.call("sponsorMatchOrdersBoost", *orders.arguments, sender=sponsor.address)
    logs = push(world, deal)
    assert logs[0].arguments["owner"] == sponsor.address
    assert (world.balance(sponsor), world.frozen(sponsor)) == (0, 11_001)
    assert world.frozen(world.requester) == locked == 5 * 11_001
    push(world, deal, index=1)
    assert (world.balance(sponsor), world.frozen(sponsor)) == (0, 0)
    assert world.frozen(world.requester) == locked


def test_a_sponsored_deal_of_a_requester_without_money_is_finished(world: World) -> None:
    sponsor = Person("sponsor")
    world.fund(sponsor)
    world.fund(world.scheduler)
    deal = world.hub.call("sponsorMatchOrdersBoost", *boost_orders(world).arguments, sender=sponsor.address)
    push(world, deal)
    assert world.view_task(ids.task_id(deal, 0)).status == 3
    assert (world.balance(sponsor), world.frozen(sponsor)) == (RICH - 11_001, 0)


@pytest.mark.parametrize(
    ("price", "part"), [(10**9, 3 * 10**8), (10**10, 10**9), (10**12, 3 * 10**10)], ids=["all", "least", "tenth"]
)
def test_a_success_takes_from_the_kitty_in_one_reward(world: World, price: int, part: int) -> None:
    changes: dict[str, Any] = {"workerpool": {"workerpoolprice": price}, "request": {"workerpoolmaxprice": price}}
    failed = boost_deal(world, **changes)
    world.now += 7 * TIMEREF
    claim(world, failed)
    assert world.frozen(KITTY_ADDRESS) == price * 30 // 100
    logs = push(world, match_boost(world, boost_orders(world)))
    assert names(logs)[-4:] == ["Seize", "Transfer", "Reward", "ResultPushedBoost"]
    assert logs[-4].arguments["owner"] == KITTY_ADDRESS
    assert logs[-4].arguments["amount"] == part
    assert logs[-2].arguments["amount"] == part + 101
    assert world.frozen(KITTY_ADDRESS) == price * 30 // 100 - part


def test_no_score_is_earned(world: World) -> None:
    push(world, boost_deal(world))
    assert world.score(world.worker()) == 0


# --- results and callback -------------------------------------------------------------------------------------------


def test_results_beyond_our_bound_revert(world: World) -> None:
    deal = boost_deal(world, request={"volume": 2})
    with reverts(NO_DATA):
        push(world, deal, results=b"x" * 2049)
    with reverts(NO_DATA):
        push(world, deal, callback=b"x" * 2049)
    logs = push(world, deal, results=b"x" * 2048, callback=b"y" * 2048)
    assert logs[-1].arguments["results"] == b"x" * 2048


@pytest.mark.parametrize("size", [1, 100, 2048])
def test_a_callback_gets_the_data_after_everything_else(world: World, size: int) -> None:
    receiver = mock("callback", 0)
    deal = boost_deal(world, request={"callback": str(receiver.address)})
    data = b"\xab" * size
    logs = push(world, deal, callback=data)
    assert logs[-1].name == "ResultPushedBoost"
    assert (to_hex(receiver.task()), receiver.digest()) == (ids.task_id(deal, 0), keccak(data))
    assert 150_000 < receiver.gas_seen() <= 200_000


def test_a_callback_needs_data(world: World) -> None:
    deal = boost_deal(world, request={"callback": str(mock("callback", 0).address)})
    with reverts("PocoBoost: Callback requires data"):
        push(world, deal)
    push(world, deal, callback=b"d")


def test_without_a_callback_data_goes_nowhere(world: World) -> None:
    deal = boost_deal(world)
    push(world, deal, callback=b"data")
    assert world.hub.call("resultFor", ids.task_id(deal, 0)) == b""


def test_a_callback_cannot_make_the_task_fail(world: World) -> None:
    receivers = [str(mock("callback", 1).address), str(mock("callback", 2).address)]
    receivers += [Person("somebody without code").address, world.rlc.address]
    for receiver in receivers:
        deal = boost_deal(world, request={"callback": receiver})
        push(world, deal, callback=b"data")
        assert world.view_task(ids.task_id(deal, 0)).status == 3


def test_a_callback_cannot_be_starved(world: World) -> None:
    """Whatever gas the worker sends: either the callback had what it needs, or nothing happened."""
    receiver = mock("callback", 0)
    deal = boost_deal(world, request={"callback": str(receiver.address)})
    worker = world.worker()
    arguments = push_arguments(world, deal, worker, callback=b"d")
    data = public_abi("hub").encode_call("pushResultBoost", arguments)
    outcomes = set()
    for gas in range(100_000, 420_000, 8_000):
        with world.anchor():
            computation = boa.env.execute_code(to_address=world.hub.address, sender=worker.address, data=data, gas=gas)
            finished = world.view_task(ids.task_id(deal, 0)).status == 3
            assert finished == (not computation.is_error)
            assert finished == (receiver.digest() == keccak(b"d"))
            outcomes.add("done" if finished else revert_reason(computation.output))
    assert outcomes == {"done", "PocoBoost: Not enough gas after callback", NO_DATA}


def test_a_callback_that_calls_again_finds_its_task_over(world: World) -> None:
    """The receiver is a worker of the pool too, and tries to be paid twice; the next task it may push."""
    world.hub.call("setCallbackGas", 1_000_000, sender=world.owner.address)
    receiver = mock("reentering")
    myself = Person("receiver")
    myself.address = str(receiver.address)
    deal = boost_deal(world, request={"volume": 2, "callback": myself.address})
    world.fund(world.requester)
    again = [push_arguments(world, deal, myself, index, callback=b"d") for index in (0, 1)]
    receiver.arm(public_abi("hub").encode_call("pushResultBoost", again[0]))
    receiver.arm(public_abi("hub").encode_call("claimBoost", (deal, 0)))
    push(world, deal, callback=b"d")
    assert [receiver.successes(number) for number in range(2)] == [False, False]
    texts = [revert_reason(receiver.answers(number)) for number in range(2)]
    assert texts == ["PocoBoost: Task status not unset"] * 2
    assert world.balance(myself) == 0
    assert world.frozen(world.requester) == 11_001


@pytest.mark.parametrize("function", ["pushResultBoost", "claimBoost"])
def test_coins_are_refused(world: World, function: str) -> None:
    deal = boost_deal(world)
    arguments = push_arguments(world, deal, world.worker()) if function == "pushResultBoost" else (deal, 0)
    world.now += 0 if function == "pushResultBoost" else 7 * TIMEREF
    boa.env.set_balance(world.worker().address, 10)
    with reverts(NO_DATA):
        world.hub.call(function, *arguments, sender=world.worker().address, value=1)
    world.hub.call(function, *arguments, sender=world.worker().address)


def test_the_zero_address_is_no_enclave(world: World) -> None:
    deal = boost_deal(world, **TEE)
    arguments = push_arguments(world, deal, world.worker(), enclave=ENCLAVE)
    with reverts("PocoBoost: Tag requires enclave challenge"):
        world.hub.call("pushResultBoost", *arguments[:5], ZERO_ADDRESS, arguments[6], sender=world.worker().address)
