"""Known weaknesses of the published protocol that its interface keeps: each is pinned, so that nobody is surprised.

`docs/weaknesses.md` lists all of them, what is mended, and by which test.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import RICH, Orders, Person, World, as_tuple, bytes32, names

DIGEST, LIE = bytes32(99), bytes32(98)
FREE: dict[str, Any] = {
    "app": {"appprice": 0},
    "workerpool": {"workerpoolprice": 0},
    "request": {"appmaxprice": 0, "workerpoolmaxprice": 0},
}


def agree(world: World, task: str, workers: list[Person], digest: str = DIGEST) -> None:
    """The workers contribute the same; those that are in the consensus reveal."""
    for worker in workers:
        world.contribute(task, worker, digest)
    for worker in workers:
        world.reveal(task, worker, digest)


# --- A: cost and scale ----------------------------------------------------------------------------------------------


def test_a4_money_of_one_task_is_told_in_thirteen_events(world: World) -> None:
    *money, last = names(world.complete(world.task(with_dataset=True)))
    kinds = {name: money.count(name) for name in set(money)}
    assert kinds == {"Seize": 1, "Transfer": 6, "Reward": 4, "Unlock": 2}
    assert last == "TaskFinalize"


def test_a9_all_tasks_of_a_bag_share_params_and_deadlines(world: World) -> None:
    deal = world.deal(request={"volume": 3})
    first = world.initialize(deal, 0)
    world.now += 1_000
    last = world.initialize(deal, 2)
    views = [world.view_task(task) for task in (first, last)]
    assert views[0].contributionDeadline == views[1].contributionDeadline == world.view_deal(deal).startTime + 7 * 300
    assert views[0].finalDeadline == views[1].finalDeadline


def test_a10_requester_cannot_have_its_money_back_before_ten_times_the_categorys_time(world: World) -> None:
    task = world.task(request={"category": 4}, workerpool={"category": 4})
    locked = world.frozen(world.requester)
    world.now = world.view_task(task).finalDeadline - 1
    with reverts(NO_DATA):
        world.hub.call("claim", task, sender=world.requester.address)
    assert world.frozen(world.requester) == locked
    world.now += 1
    world.hub.call("claim", task, sender=world.requester.address)
    assert world.frozen(world.requester) == 0
    assert world.view_task(task).finalDeadline - world.view_deal(world.view_task(task).dealid).startTime == 360_000


# --- B: trust, consensus, reputation --------------------------------------------------------------------------------


def test_b1_scheduler_reaches_any_trust_with_addresses_of_its_own(world: World) -> None:
    task = world.task(request={"trust": 1_000}, workerpool={"workerpoolprice": 4})
    puppets = [world.worker(number) for number in range(10)]
    agree(world, task, puppets, LIE)
    world.finalize(task)
    assert world.view_task(task).resultDigest == LIE
    assert all(world.frozen(puppet) == 0 for puppet in puppets), "every stake came back"


def test_b2_newcomer_weighs_as_much_as_a_worker_of_eleven_tasks(world: World) -> None:
    task = world.task(request={"trust": 1_000_000})
    old, new = world.worker(0), world.worker(1)
    world.set_score(old, 11)
    for worker in (old, new):
        world.contribute(task, worker, DIGEST)
    assert world.view_contribution(task, old).weight == world.view_contribution(task, new).weight == 1


def test_b3_score_is_farmed_with_tasks_that_cost_nothing(world: World) -> None:
    workers = [world.worker(0), world.worker(1)]
    payers = (world.requester, world.scheduler)
    for _ in range(3):
        task = world.task(**(FREE | {"request": FREE["request"] | {"trust": 4}}))
        for worker in workers:
            world.contribute(task, worker, DIGEST, fund=False)
        for worker in workers:
            world.reveal(task, worker, DIGEST)
        world.finalize(task)
    assert [world.score(worker) for worker in workers] == [3, 3]
    assert [world.balance(worker) for worker in workers] == [0, 0]
    assert [world.balance(payer) for payer in payers] == [3 * RICH, 3 * RICH], "what the test gave, to the last nRLC"


@pytest.mark.parametrize("trust", [0, 1])
def test_b4_trust_of_zero_or_one_takes_the_word_of_the_first(world: World, trust: int) -> None:
    task = world.task(request={"trust": trust})
    world.complete(task, world.worker(), LIE)
    assert world.view_task(task).resultDigest == LIE


def test_b5_one_transaction_puts_no_stake_of_the_worker_at_risk(world: World) -> None:
    poor, task = world.worker(), world.task(request={"trust": 1})
    _, _, _, challenge, enclave_sign, authorisation = world.contribution(task, poor, LIE)
    world.hub.call(
        *("contributeAndFinalize", task, LIE, b"", b"", challenge, enclave_sign, authorisation), sender=poor.address
    )
    assert world.view_deal(world.view_task(task).dealid).workerStake > 0
    assert world.balance(poor) > 0, "paid, though it had nothing to lose"


def test_b6_majority_that_never_reveals_loses_nothing_when_the_task_is_claimed(world: World) -> None:
    task = world.task(request={"trust": 4})
    cheats = [world.worker(0), world.worker(1)]
    for cheat in cheats:
        world.set_score(cheat, 6)
        world.contribute(task, cheat, LIE)
    before = [world.balance(cheat) + world.frozen(cheat) for cheat in cheats]
    world.now = world.view_task(task).finalDeadline
    world.hub.call("claim", task, sender=world.stranger.address)
    assert [world.balance(cheat) for cheat in cheats] == before
    assert [world.score(cheat) for cheat in cheats] == [6, 6]


def test_b7_honest_worker_that_misses_the_reveal_is_slashed(world: World) -> None:
    task = world.task(request={"trust": 4})
    prompt, late = world.worker(0), world.worker(1)
    world.set_score(late, 9)
    for worker in (prompt, late):
        world.contribute(task, worker, DIGEST)
    world.reveal(task, prompt, DIGEST)
    stake = world.frozen(late)
    world.now = world.view_task(task).revealDeadline
    world.finalize(task)
    assert stake > 0 and world.frozen(late) == 0
    assert world.score(late) == 6


def test_b8_reopening_does_not_extend_the_contribution_deadline(world: World) -> None:
    task = world.task(request={"trust": 2})
    world.contribute(task, world.worker(0), DIGEST)
    before = world.view_task(task).contributionDeadline
    world.now = world.view_task(task).revealDeadline
    world.hub.call("reopen", task, sender=world.scheduler.address)
    assert world.view_task(task).contributionDeadline == before
    with reverts(NO_DATA):
        world.contribute(task, world.worker(0), DIGEST)


def test_b10_results_that_the_scheduler_names_are_any_bytes(world: World) -> None:
    task = world.task()
    world.contribute(task, world.worker(), DIGEST)
    world.reveal(task, world.worker(), DIGEST)
    world.finalize(task, b"nothing that anybody agreed on")
    assert world.view_task(task).results == b"nothing that anybody agreed on"


def test_b11_weights_of_four_and_seven_earn_the_same(world: World) -> None:
    task = world.task(request={"trust": 5})
    four, seven = world.worker(0), world.worker(1)
    for worker, score in ((four, 15), (seven, 26)):
        world.set_score(worker, score)
        world.fund(worker)
    before = world.balance(four)
    assert before == world.balance(seven)
    for worker in (four, seven):
        world.contribute(task, worker, DIGEST, fund=False)
    for worker in (four, seven):
        world.reveal(task, worker, DIGEST)
    world.finalize(task)
    assert world.balance(four) == world.balance(seven) > before


def test_b12_enclave_is_an_address_that_the_scheduler_vouched_for(world: World) -> None:
    tag = bytes32(1)
    task = world.task(app={"tag": tag}, workerpool={"tag": tag}, request={"tag": tag})
    no_enclave = Person("a key on a laptop")
    world.contribute(task, world.worker(), DIGEST, enclave=no_enclave)
    assert world.view_contribution(task, world.worker()).enclaveChallenge == no_enclave.address


def test_b14_minority_that_is_right_is_slashed(world: World) -> None:
    task = world.task(request={"trust": 5})
    right, wrong = world.worker(9), [world.worker(number) for number in range(4)]
    world.contribute(task, right, DIGEST)
    stake = world.frozen(right)
    for worker in wrong:
        world.contribute(task, worker, LIE)
    for worker in wrong:
        world.reveal(task, worker, LIE)
    world.finalize(task)
    assert stake > 0 and world.frozen(right) == 0
    assert world.view_task(task).resultDigest == LIE


# --- C: money flows and griefing ------------------------------------------------------------------------------------


def test_c1_slashed_scheduler_takes_its_stake_back_out_of_the_kitty_with_free_tasks(world: World) -> None:
    price = 20_000_000_000
    world.fund(world.requester, price)
    world.fund(world.scheduler, price)
    task = world.task(
        app={"appprice": 0},
        workerpool={"workerpoolprice": price},
        request={"appmaxprice": 0, "workerpoolmaxprice": price},
    )
    world.now = world.view_task(task).finalDeadline
    world.hub.call("claim", task, sender=world.stranger.address)
    slashed = world.frozen(KITTY_ADDRESS)
    assert slashed == price * 30 // 100
    before, rounds = world.balance(world.scheduler), 0
    while world.frozen(KITTY_ADDRESS):
        funded = world.balance(world.scheduler)
        free = world.task(**FREE)
        before += world.balance(world.scheduler) - funded  # what the test itself gave
        world.complete(free, world.worker(rounds))
        rounds += 1
    assert world.balance(world.scheduler) == before + slashed
    assert rounds == 6, "a tenth of it, and at least 1 RLC, a task"


def test_c2_scheduler_that_does_not_finalize_leaves_workers_unpaid(world: World) -> None:
    task = world.task(request={"trust": 2})
    worker = world.worker()
    world.contribute(task, worker, DIGEST)
    world.reveal(task, worker, DIGEST)
    before = world.balance(worker) + world.frozen(worker)
    for nobody_else in (worker, world.requester, world.stranger):
        with reverts(NO_DATA):
            world.hub.call("finalize", task, b"", b"", sender=nobody_else.address)
    world.now = world.view_task(task).finalDeadline
    world.hub.call("claim", task, sender=worker.address)
    assert world.balance(worker) == before, "the stake came back, and nothing more"


def test_c4_anybody_cuts_a_request_into_small_deals(world: World) -> None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    whole = world.orders(request={"volume": 50})
    mean = world.sign(replace(whole.workerpool, volume=1, salt=bytes32(77)), world.scheduler)
    deal = world.match(Orders(whole.app, whole.dataset, mean, whole.request), world.stranger)
    assert world.view_deal(deal).botSize == 1


def test_c5_order_of_no_dataset_adds_tag_bits_that_nobody_signed_but_not_the_batch_lane(world: World) -> None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    lane = 1 << 16
    orders = world.orders(workerpool={"tag": bytes32(1 << 40 | lane)})
    injected = replace(orders.dataset, tag=bytes32(1 << 40 | lane))
    deal = world.match(Orders(orders.app, injected, orders.workerpool, orders.request), world.stranger)
    assert int(world.view_deal(deal).tag, 16) == 1 << 40 | lane
    assert world.hub.call("viewLane", deal)[0] is False


def test_c6_sponsored_match_is_overtaken_by_a_plain_one_that_the_requester_pays(world: World) -> None:
    sponsor = Person("sponsor")
    for person in (world.requester, world.scheduler, sponsor):
        world.fund(person)
    orders = world.orders()
    world.match(orders, world.stranger)
    assert world.frozen(world.requester) > 0
    with reverts("iExecV5-matchOrders-0x60"):
        world.hub.call("sponsorMatchOrders", *orders.arguments, sender=sponsor.address)


def test_c7_ratios_that_nobody_signed_are_read_when_orders_match(world: World) -> None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    orders = world.orders()
    world.set_policy(world.pool, 100_000, 100)
    view = world.view_deal(world.match(orders))
    assert view.workerStake == orders.workerpool.workerpoolprice * 1_000
    assert view.schedulerRewardRatio == 100


def test_c8_price_below_four_nrlc_puts_nothing_at_stake(world: World) -> None:
    task = world.task(workerpool={"workerpoolprice": 3}, request={"workerpoolmaxprice": 3})
    assert world.frozen(world.scheduler) == 0
    world.now = world.view_task(task).finalDeadline
    world.hub.call("claim", task, sender=world.stranger.address)
    assert world.frozen(KITTY_ADDRESS) == 0


def test_c9_order_is_good_until_it_is_closed(world: World) -> None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    orders = world.orders()
    world.now += 50 * 365 * 86_400
    assert world.view_deal(world.match(orders)).botSize == 1


def test_c10_anybody_deposits_what_somebody_approved_but_only_into_its_account(world: World) -> None:
    careless = Person("careless")
    world.rlc.call("transfer", careless.address, 9, sender=world.owner.address)
    world.rlc.call("approve", world.hub.address, 9, sender=careless.address)
    world.hub.call("receiveApproval", careless.address, 9, world.rlc.address, b"", sender=world.stranger.address)
    assert (world.balance(careless), world.balance(world.stranger)) == (9, 0)


def test_c11_dataset_of_a_bulk_deal_is_checked_and_neither_consumed_nor_paid(world: World) -> None:
    deal = world.deal()
    order = world.orders(with_dataset=True).dataset
    owner = world.balance(world.dataset_owner)
    for _ in range(2):
        world.hub.call(
            "assertDatasetDealCompatibility",
            as_tuple(order),
            deal,
        )
    assert world.hub.call("viewConsumed", world.order_hash(order)) == 0
    assert world.balance(world.dataset_owner) == owner


def test_c12_owner_can_set_a_gas_of_callbacks_that_no_finalize_can_give(world: World) -> None:
    task = world.task(request={"callback": world.stranger.address})
    data = b"answer"
    digest = to_hex32(keccak(data))
    world.contribute(task, world.worker(), digest)
    world.reveal(task, world.worker(), digest)
    world.hub.call("setCallbackGas", 10**12, sender=world.owner.address)
    with reverts(NO_DATA):
        world.finalize(task, b"", data)
    world.hub.call("setCallbackGas", 200_000, sender=world.owner.address)
    world.finalize(task, b"", data)


def test_c13_money_of_all_tasks_is_locked_at_the_match(world: World) -> None:
    world.deal(request={"volume": 20})
    assert world.frozen(world.requester) == 20 * 11_001
    assert world.frozen(world.scheduler) == 20 * (10_001 * 30 // 100)


# --- D: governance and engineering ----------------------------------------------------------------------------------


def test_d2_conditions_of_tasks_fail_without_saying_which(world: World) -> None:
    deal = world.deal()
    task = world.initialize(deal)
    for function, arguments in (
        ("initialize", (deal, 0)),
        ("initialize", (deal, 1)),
        ("reveal", (task, DIGEST)),
        ("reopen", (task,)),
        ("finalize", (task, b"", b"")),
        ("claim", (task,)),
    ):
        with reverts(NO_DATA):
            world.hub.call(function, *arguments, sender=world.scheduler.address)


def test_d3_configuration_changes_without_an_event(world: World) -> None:
    for function, value in (("setTeeBroker", world.stranger.address), ("setCallbackGas", 100_000)):
        _, logs = world.hub.transact(function, value, sender=world.owner.address)
        assert logs == []


def test_d4_flat_views_say_once_more_what_the_others_say(world: World) -> None:
    world.deal()
    for view, arguments in (("viewAccount", (world.requester.address,)), ("viewCategory", (0,))):
        assert world.hub.call(f"{view}ABILegacy", *arguments) == world.hub.call(view, *arguments)


@pytest.mark.parametrize("function", ["initialize", "claim"])
def test_d7_anybody_opens_and_claims_but_only_the_scheduler_ends_a_task_well(world: World, function: str) -> None:
    deal = world.deal()
    task = world.initialize(deal)  # as a stranger
    if function == "claim":
        world.now = world.view_task(task).finalDeadline
        world.hub.call("claim", task, sender=world.stranger.address)
    with reverts(NO_DATA):
        world.hub.call("finalize", task, b"", b"", sender=world.stranger.address)
    assert world.view_task(task).status == (4 if function == "claim" else 1)
    assert world.view_deal(deal).sponsor != ZERO_ADDRESS


@pytest.mark.parametrize(("category", "seconds"), list(enumerate((300, 1_200, 3_600, 10_800, 36_000))))
def test_d9_every_category_and_pool_has_the_same_ratios(world: World, category: int, seconds: int) -> None:
    task = world.task(request={"category": category}, workerpool={"category": category})
    view, start = world.view_task(task), world.now
    assert view.contributionDeadline == start + 7 * seconds and view.finalDeadline == start + 10 * seconds
    world.contribute(task, world.worker(), DIGEST)
    assert world.view_task(task).revealDeadline == start + 2 * seconds
    assert world.frozen(world.scheduler) == 10_001 * 30 // 100
