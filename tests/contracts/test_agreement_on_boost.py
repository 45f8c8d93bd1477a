"""Plays of boost, alone and beside the classic lane, on contracts and model at once: they must agree on everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import MAX_UINT256, ZERO32, ZERO_ADDRESS
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.typed_data import CLOSE, SIGN, order_hash
from fairgrid.protocol.views import TaskStatus
from tests.contracts.play import ESCROWED, GOOD
from tests.contracts.play_boost import BoostPlay
from tests.protocol.actors import Actor, compact, malleable

PREFIX = "PocoBoost: "
SOMEBODY = Actor("somebody").address
BROKER, ENCLAVE = Actor("broker"), Actor("enclave")
TIMEREF = 300


def tag(bits: int) -> dict[str, str]:
    return {"tag": f"0x{bits:064x}"}


@pytest.fixture
def play() -> BoostPlay:
    """Everybody funded, no deal yet."""
    return BoostPlay()


def stakes(play: BoostPlay) -> dict[str, int]:
    """Free money gained or lost since the start, by name."""
    return {actor.name: play.model.balance_of(actor.address) - ESCROWED for actor in play.people.all}


# --- matching ---------------------------------------------------------------------------------------------------

RULES: list[tuple[str, dict[str, dict[str, Any]]]] = [
    ("Bad trust level", {"request": {"trust": 2}}),
    ("Category mismatch", {"request": {"category": 1}}),
    ("Unknown category", {"request": {"category": 5}, "workerpool": {"category": 5}}),
    ("Overpriced app", {"request": {"appmaxprice": 102}}),
    ("Overpriced dataset", {"request": {"datasetmaxprice": 56}}),
    ("Overpriced workerpool", {"request": {"workerpoolmaxprice": 10_000}}),
    ("Workerpool tag does not match demand", {"app": tag(0x100)}),
    ("Workerpool tag does not match demand", {"dataset": tag(0x02)}),
    ("Workerpool tag does not match demand", {"request": tag(1 << 255)}),
    ("App tag does not match demand", {"request": tag(1), "workerpool": tag(1)}),
    ("App tag does not match demand", {"dataset": tag(1), "workerpool": tag(1)}),
    ("App mismatch", {"request": {"app": SOMEBODY}}),
    ("Dataset mismatch", {"request": {"dataset": SOMEBODY}}),
    ("Workerpool restricted by request order", {"request": {"workerpool": SOMEBODY}}),
    ("Dataset restricted by app order", {"app": {"datasetrestrict": SOMEBODY}}),
    ("Workerpool restricted by app order", {"app": {"workerpoolrestrict": SOMEBODY}}),
    ("Requester restricted by app order", {"app": {"requesterrestrict": SOMEBODY}}),
    ("App restricted by dataset order", {"dataset": {"apprestrict": SOMEBODY}}),
    ("Workerpool restricted by dataset order", {"dataset": {"workerpoolrestrict": SOMEBODY}}),
    ("Requester restricted by dataset order", {"dataset": {"requesterrestrict": SOMEBODY}}),
    ("App restricted by workerpool order", {"workerpool": {"apprestrict": SOMEBODY}}),
    ("Dataset restricted by workerpool order", {"workerpool": {"datasetrestrict": SOMEBODY}}),
    ("Requester restricted by workerpool order", {"workerpool": {"requesterrestrict": SOMEBODY}}),
    ("One or more orders consumed", {"app": {"volume": 0}}),
    ("One or more orders consumed", {"dataset": {"volume": 0}}),
    ("One or more orders consumed", {"workerpool": {"volume": 0}}),
    ("One or more orders consumed", {"request": {"volume": 0}}),
]


def test_every_rule_of_matching_is_kept_and_in_order(play: BoostPlay) -> None:
    everything: dict[str, dict[str, Any]] = {}
    for text, changes in reversed(RULES):
        assert play.boost(play.boost_orders(changes, with_dataset=True)).revert == PREFIX + text
        for kind, change in changes.items():
            everything.setdefault(kind, {}).update(change)
        assert play.boost(play.boost_orders(everything, with_dataset=True)).revert == PREFIX + text


def test_terms_at_their_edges_match(play: BoostPlay) -> None:
    requester, app, dataset = play.people.requester.address, play.assets.apps[0], play.assets.datasets[0]
    pool = play.assets.pools[0]
    edges: list[dict[str, dict[str, Any]]] = [
        {"request": {"category": 4}, "workerpool": {"category": 4}},
        {"request": {"trust": 0}},
        {"workerpool": {"trust": 0}},
        {"app": tag(0x101), "dataset": tag(0x0E), "request": tag(3 << 40 | 3), "workerpool": tag(3 << 40 | 0x1FF)},
        {"request": tag(1 << 16), "workerpool": tag(1 << 16)},
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
        assert play.boost(play.boost_orders(changes, with_dataset=True)).happened
    assert play.model.view_deal_boost(play.boosts[3]).short_tag == "0x00010f"
    play.settle_everything()


@pytest.mark.parametrize(("index", "kind"), list(enumerate(["app", "dataset", "workerpool", "request"])))
def test_each_order_needs_its_own_owners_signature(play: BoostPlay, index: int, kind: str) -> None:
    orders: list[Any] = list(play.boost_orders(with_dataset=True))
    good = orders[index].sign
    forged = play.people.stranger.sign_order(orders[index], play.model.domain).sign
    for bad in (forged, malleable(good), orders[index - 1].sign):
        orders[index] = orders[index].signed(bad)
        assert play.boost(tuple(orders)).revert == f"{PREFIX}Invalid {kind} order signature"
    orders[index] = orders[index].signed("0x")
    assert play.boost(tuple(orders)).revert == "invalid-signature-format"
    assert play.manage_order(play.owners[index].address, orders[index], SIGN, "0x").happened
    assert play.boost(tuple(orders)).happened
    orders = list(play.boost_orders(with_dataset=True))
    orders[index] = orders[index].signed(compact(orders[index].sign))
    assert play.boost(tuple(orders)).happened
    play.settle_everything()


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
def test_assets_must_be_registered_as_what_they_are_sold_for(play: BoostPlay, kind: str) -> None:
    other = play.assets.datasets[0] if kind == "app" else play.assets.apps[0]
    for address in (other, play.people.stranger.address, ZERO_ADDRESS):
        if kind == "dataset" and address == ZERO_ADDRESS:
            continue
        request = {} if kind == "workerpool" else {"request": {kind: address}}
        outcome = play.boost(play.boost_orders({kind: {kind: address}, **request}, with_dataset=True))
        assert outcome.revert == f"{PREFIX}{kind.capitalize()} not registered"


def test_without_a_dataset_its_order_still_has_terms(play: BoostPlay) -> None:
    texts = ("Overpriced dataset", "Workerpool tag does not match demand", "App restricted by dataset order")
    changes: tuple[dict[str, Any], ...] = ({"datasetprice": 58}, tag(2), {"apprestrict": SOMEBODY})
    for text, change in zip(texts, changes, strict=True):
        assert play.boost(play.boost_orders({"dataset": change})).revert == PREFIX + text
    deal = play.new_boost({"dataset": {"datasetprice": 57, "volume": 0}})
    assert play.model.view_deal_boost(deal).dataset_price == 0
    play.settle_everything()


@pytest.mark.parametrize("width", [96, 100, 256])
def test_numbers_that_do_not_fit_are_named(play: BoostPlay, width: int) -> None:
    price = 2**width - (width == 256)
    error = "SafeCastOverflowedUintDowncast({}, {})"
    prices: dict[str, dict[str, Any]] = {
        "app": {"appprice": price},
        "workerpool": {"workerpoolprice": price},
        "dataset": {"datasetprice": price},
    }
    for kind, change in prices.items():
        request = {f"{kind}maxprice": price}
        outcome = play.boost(play.boost_orders({kind: change, "request": request}, with_dataset=True))
        assert outcome.revert == error.format(96, price)
    largest = {"app": {"appprice": 2**96 - 1}, "request": {"appmaxprice": 2**96 - 1}}
    assert play.boost(play.boost_orders(largest)).revert == "IexecEscrow: Transfer amount exceeds balance"


def test_a_deal_has_at_most_65535_tasks_and_starts_below_65536(play: BoostPlay) -> None:
    free: dict[str, dict[str, Any]] = {
        "app": {"appprice": 0, "volume": MAX_UINT256},
        "workerpool": {"workerpoolprice": 0, "volume": MAX_UINT256},
        "request": {"volume": MAX_UINT256},
    }
    error = "SafeCastOverflowedUintDowncast(16, {})"
    app, dataset, pool, request = play.boost_orders(free)
    assert play.boost((app, dataset, pool, request)).revert == error.format(MAX_UINT256)

    def offer(volume: int, salt: int) -> Any:
        return play.people.app_owner.sign_order(
            replace(app, volume=volume, salt=f"0x{2**200 + salt:064x}"), play.model.domain
        )

    assert play.boost((offer(65_536, 1), dataset, pool, request)).revert == error.format(65_536)
    first = play.match_orders_boost(SOMEBODY, (offer(65_535, 2), dataset, pool, request))
    second = play.match_orders_boost(SOMEBODY, (offer(1, 3), dataset, pool, request))
    assert play.model.view_deal_boost(first.value).bot_size == 65_535
    assert play.model.view_deal_boost(second.value).bot_first == 65_535
    assert play.boost((offer(1, 4), dataset, pool, request)).revert == error.format(65_536)
    assert play.push(play.people.workers[0], first.value, 65_534).happened
    assert play.push(play.people.workers[0], first.value, 65_535).revert == PREFIX + "Unknown task"


def test_both_sides_must_have_the_money(play: BoostPlay) -> None:
    poor = "IexecEscrow: Transfer amount exceeds balance"
    for actor in (play.people.requester, play.people.scheduler):
        assert play.transfer(actor.address, play.people.admin.address, ESCROWED - 10).happened
        assert play.boost(play.boost_orders()).revert == poor
        assert play.transfer(play.people.admin.address, actor.address, ESCROWED - 10).happened
    assert play.boost(play.boost_orders()).happened


# --- one row of units for both lanes ----------------------------------------------------------------------------


@pytest.mark.parametrize("boost_first", [True, False])
def test_orders_serve_both_lanes_in_turn(play: BoostPlay, boost_first: bool) -> None:
    orders = play.boost_orders({"app": {"volume": 9}, "request": {"volume": 6}})
    offers = [play.orders({"workerpool": {"volume": volume}})[2] for volume in (1, 2, 3)]
    ways = (play.boost, play.match, play.boost) if boost_first else (play.match, play.boost, play.match)
    sizes = []
    for way, offer in zip(ways, offers, strict=True):
        deal = way((orders[0], orders[1], offer, orders[3])).value
        classic, boost = play.model.view_deal(deal), play.model.view_deal_boost(deal)
        sizes.append((classic.bot_first + boost.bot_first, classic.bot_size + boost.bot_size))
        for order in (orders[0], offer, orders[3]):
            play.check_order(order_hash(order, play.model.domain))
    assert sizes == [(0, 1), (1, 2), (3, 3)]
    more = (orders[0], orders[1], play.orders()[2], orders[3])
    assert play.boost(more).revert == PREFIX + "One or more orders consumed"
    assert play.match(more).revert == "iExecV5-matchOrders-0x60"
    play.settle_everything()
    play.withdraw_everything()


@pytest.mark.parametrize("boost_first", [True, False])
def test_a_request_that_one_deal_fills_is_used_up_for_both(play: BoostPlay, boost_first: bool) -> None:
    orders = play.boost_orders({"request": {"volume": 3}})
    assert (play.boost if boost_first else play.match)(orders).happened
    request = order_hash(orders[3], play.model.domain)
    play.check_order(request)
    assert play.model.view_consumed(request) == 3
    assert play.boost(orders).revert == PREFIX + "One or more orders consumed"
    assert play.match(orders).revert == "iExecV5-matchOrders-0x60"
    assert play.manage_order(play.people.requester.address, orders[3], CLOSE, "0x").happened
    play.check_order(request)
    play.settle_everything()


def test_a_closed_order_is_closed_for_both(play: BoostPlay) -> None:
    orders = play.boost_orders({"request": {"volume": 3}})
    assert play.manage_order(play.people.requester.address, orders[3], CLOSE, "0x").happened
    assert play.boost(orders).revert == PREFIX + "One or more orders consumed"
    assert play.match(orders).revert == "iExecV5-matchOrders-0x60"


def test_the_lanes_do_not_touch_each_others_tasks(play: BoostPlay) -> None:
    boost = play.new_boost()
    classic = play.match(play.boost_orders()).value
    stranger, worker = play.people.stranger.address, play.people.workers[0]
    assert not play.open(boost, 0).happened
    for act in (play.push(worker, classic), play.claim_boost(stranger, classic, 0)):
        assert act.revert == PREFIX + "Unknown task"
    task = ids.task_id(boost, 0)
    assert play.push(worker, boost).happened
    assert not play.open(boost, 0).happened
    play.now += 10 * TIMEREF
    assert not play.contribution(worker, task).happened
    assert not play.finish(task).happened
    assert not play.reopen(play.people.scheduler.address, task).happened
    assert not play.claim(stranger, task).happened
    play.settle_everything()


# --- pushing ----------------------------------------------------------------------------------------------------


def test_the_happy_path_pays_everybody_to_the_last_nrlc(play: BoostPlay) -> None:
    deal = play.new_boost({"request": {"volume": 2}}, with_dataset=True)
    assert play.model.frozen_of(play.people.requester.address) == 2 * (103 + 57 + 10_001)
    assert play.model.frozen_of(play.people.scheduler.address) == 2 * 3_000
    for index in (1, 0):
        assert play.push(play.people.workers[index], deal, index).happened
    gained = stakes(play)
    assert gained["requester"] == -2 * (103 + 57 + 10_001)
    assert (gained["app owner"], gained["dataset owner"]) == (2 * 103, 2 * 57)
    assert [gained[f"worker {index}"] for index in range(3)] == [9_900, 9_900, 0]
    assert gained["scheduler"] == 2 * 101
    assert sum(gained.values()) == 0
    assert play.model.view_task(ids.task_id(deal, 0)).status == TaskStatus.COMPLETED
    play.settle_everything()
    play.withdraw_everything()


def test_free_things_are_logged_as_the_protocol_says(play: BoostPlay) -> None:
    free = {"app": {"appprice": 0}, "dataset": {"datasetprice": 0}, "workerpool": {"workerpoolprice": 0}}
    assert play.push(play.people.workers[0], play.new_boost(free, with_dataset=True)).happened
    assert set(stakes(play).values()) == {0}


def test_a_sponsor_is_charged_and_the_requesters_other_money_is_not(play: BoostPlay) -> None:
    other = play.match(play.orders({"request": {"volume": 2}}))
    locked = play.model.frozen_of(play.people.requester.address)
    deal = play.boost(play.boost_orders({"request": {"volume": 2}}), play.people.stranger, sponsored=True).value
    assert play.push(play.people.workers[0], deal).happened
    assert play.model.frozen_of(play.people.requester.address) == locked == 2 * 10_104
    assert play.model.frozen_of(play.people.stranger.address) == 10_104
    play.now += 7 * TIMEREF
    assert play.claim_boost(SOMEBODY, deal, 1).happened
    assert play.model.frozen_of(play.people.stranger.address) == 0
    assert stakes(play)["stranger"] == -10_104
    assert other.happened
    play.settle_everything()
    assert stakes(play)["requester"] == 0


def test_conditions_of_a_push_are_named_in_their_order(play: BoostPlay) -> None:
    deal = play.new_boost({"app": tag(1), "workerpool": tag(1)})
    worker, stranger = play.people.workers[0], play.people.stranger
    late = play.model.view_deal_boost(deal).deadline

    def refused(index: int = 0, **options: Any) -> str | None:
        return str(play.push(worker, deal, index, **options).revert).removeprefix(PREFIX)

    play.now = late
    assert refused(1, authority=stranger) == "Unknown task"
    assert refused(authority=stranger) == "Deadline reached"
    play.now = late - 1
    assert refused(authority=stranger) == "Tag requires enclave challenge"
    assert refused(authority=stranger, enclave=ENCLAVE, enclave_digest=ZERO32) == (
        "Invalid contribution authorization signature"
    )
    assert refused(enclave=ENCLAVE, enclave_digest=ZERO32) == "Invalid enclave signature"
    assert play.push(worker, deal, enclave=ENCLAVE).happened
    play.now = late
    assert refused(authority=stranger) == "Task status not unset"
    assert play.push(worker, ZERO32).revert == PREFIX + "Unknown task"


def test_an_authorisation_is_for_one_worker_task_and_enclave(play: BoostPlay) -> None:
    deal = play.new_boost({"request": {"volume": 2}})
    worker, other = play.people.workers[:2]
    task, scheduler = ids.task_id(deal, 0), play.people.scheduler
    good = scheduler.authorise(worker.address, task)
    refused = PREFIX + "Invalid contribution authorization signature"
    tries: list[tuple[str, int, str, str]] = [
        (other.address, 0, good, ZERO_ADDRESS),
        (worker.address, 1, good, ZERO_ADDRESS),
        (worker.address, 0, good, ENCLAVE.address),
        (worker.address, 0, malleable(good), ZERO_ADDRESS),
        (worker.address, 0, worker.authorise(worker.address, task), ZERO_ADDRESS),
    ]
    for who, index, sign, challenge in tries:
        assert play.push_result_boost(who, deal, index, b"", b"", sign, challenge, "0x").revert == refused
    for sign in ("0x", good + "00"):
        outcome = play.push_result_boost(worker.address, deal, 0, b"", b"", sign, ZERO_ADDRESS, "0x")
        assert outcome.revert == "invalid-signature-format"
    assert play.push_result_boost(worker.address, deal, 0, b"", b"", compact(good), ZERO_ADDRESS, "0x").happened


def test_enclaves_sign_and_the_broker_authorises_them(play: BoostPlay) -> None:
    deal = play.new_boost({"request": {"volume": 3}})
    worker = play.people.workers[0]
    refused = PREFIX + "Invalid contribution authorization signature"
    assert play.push(worker, deal, 0, enclave=ENCLAVE).happened
    assert play.set_tee_broker(play.people.admin.address, BROKER.address).happened
    assert play.push(worker, deal, 1, enclave=ENCLAVE).revert == refused
    assert play.push(worker, deal, 1, authority=BROKER).revert == refused
    assert play.push(worker, deal, 1, enclave=ENCLAVE, authority=BROKER).happened
    assert play.push(worker, deal, 2).happened


def test_a_callback_needs_data_and_the_enclave_signs_it(play: BoostPlay) -> None:
    deal = play.new_boost({"request": {"callback": SOMEBODY, "volume": 2}})
    worker = play.people.workers[0]
    assert play.push(worker, deal, 0, b"results", b"").revert == PREFIX + "Callback requires data"
    assert play.push(worker, deal, 0, b"results", b"data").happened
    forged = ids.result_hash(ZERO32, GOOD)
    wrong = play.push(worker, deal, 1, b"results", b"data", enclave=ENCLAVE, enclave_digest=forged)
    assert wrong.revert == PREFIX + "Invalid enclave signature"
    assert play.push(worker, deal, 1, b"results", b"data", enclave=ENCLAVE).happened
    unasked = play.new_boost()
    assert play.push(worker, unasked, 0, b"results", b"data").happened
    play.settle_everything()


def test_the_policy_is_the_one_at_the_match(play: BoostPlay) -> None:
    scheduler, pool = play.people.scheduler.address, play.assets.pools[0]
    rewards = []
    for stake_ratio, ratio in ((1, 0), (2**24 - 1, 37), (1, 100)):
        assert play.change_policy(scheduler, pool, stake_ratio, ratio).happened
        deal = play.new_boost()
        rewards.append(play.model.view_deal_boost(deal).worker_reward)
    assert rewards == [10_001, 6_300, 0]
    for number, deal in enumerate(play.boosts):
        assert play.push(play.people.workers[number], deal).happened
    assert [stakes(play)[f"worker {number}"] for number in range(3)] == rewards
    play.settle_everything()


# --- claims and kitty -------------------------------------------------------------------------------------------


def test_claims_start_where_pushes_end(play: BoostPlay) -> None:
    deal = play.new_boost({"request": {"volume": 3}}, with_dataset=True)
    stranger, worker = play.people.stranger.address, play.people.workers[0]
    assert play.model.view_deal_boost(deal).deadline == play.now + 7 * TIMEREF
    play.now += 7 * TIMEREF - 1
    assert play.claim_boost(stranger, deal, 0).revert == PREFIX + "Deadline not reached"
    assert play.claim_boost(stranger, deal, 3).revert == PREFIX + "Unknown task"
    assert play.push(worker, deal, 0).happened
    play.now += 1
    assert play.push(worker, deal, 1).revert == PREFIX + "Deadline reached"
    assert play.claim_boost(stranger, deal, 1).happened
    assert play.claim_boost(stranger, deal, 1).revert == PREFIX + "Task status not unset"
    assert play.claim_boost(stranger, deal, 0).revert == PREFIX + "Task status not unset"
    assert play.push(worker, deal, 1).revert == PREFIX + "Task status not unset"
    assert play.model.view_task(ids.task_id(deal, 1)).status == TaskStatus.FAILED
    assert play.model.frozen_of(KITTY_ADDRESS) == 3_000
    play.settle_everything()


@pytest.mark.parametrize("price", [1, 3 * 10**9, 7 * 10**10])
def test_the_kitty_keeps_stakes_of_failed_pools_and_rewards_the_next(play: BoostPlay, price: int) -> None:
    deal = play.new_boost({"workerpool": {"workerpoolprice": price}, "request": {"workerpoolmaxprice": price}})
    play.now += 7 * TIMEREF
    assert play.claim_boost(SOMEBODY, deal, 0).happened
    assert play.model.frozen_of(KITTY_ADDRESS) == price * 30 // 100
    for boost in (True, False):
        kitty = play.model.frozen_of(KITTY_ADDRESS)
        before = stakes(play)["scheduler"]
        if boost:
            assert play.push(play.people.workers[0], play.new_boost()).happened
        else:
            play.completed({0: GOOD}, {"request": {"trust": 1}})
        part = min(max(kitty // 10, 10**9), kitty)
        assert play.model.frozen_of(KITTY_ADDRESS) == kitty - part
        assert stakes(play)["scheduler"] - before == part + 101
    play.settle_everything()
    play.withdraw_everything()


def test_unknown_things_look_alike(play: BoostPlay) -> None:
    deal = play.new_boost()
    play.check_deal(ZERO32)
    play.check_deal(deal[:34] + ("0" if deal[34] != "0" else "1") + deal[35:])
    play.check_task(ids.task_id(deal, 0))
